;;; Gorget --- modules that cannot be loaded, and packages with fields that cannot be read.
;;; SPDX-License-Identifier: GPL-3.0-or-later
;;;
;;; Neither affects anything else when code looks for packages.

;; The subset to evaluate.
(define asked #f)

(define (matters? file)
  "Whether jobs that are asked for may be missing because FILE cannot be loaded."
  (define (module?)
    ;; Scripts, manifests and lists of channels have no packages.
    (false-if-exception
     (string-contains (call-with-input-file file get-string-all) "define-module")))

  (and (match asked
         (('channels names ...)
          (or (member "guix" names) (member (file-channel file) names)))
         ((or 'all 'hello 'system-tests ('packages _ ...)) #t)
         (_ #f))
       (module?)))

;; Modules that were reported, by file.  Guix loads all of them again each time code looks for
;; packages.
(define reported (make-hash-table))

(define (being-loaded? module)
  "Whether the file of MODULE, a name, is being loaded: it looks for packages itself, hence for itself."
  (let ((loading (module-variable the-root-module 'autoloads-in-progress))
        (names   (map symbol->string module)))
    (and loading
         (member (cons (string-concatenate
                        (map (lambda (name) (string-append name "/")) (drop-right names 1)))
                       (last names))
                 (variable-ref loading)))))

(define (report-module-error file module args)
  (match args
    ((key . args)
     (unless (or worker? (hash-ref reported file) (being-loaded? module))
       (hash-set! reported file #t)
       (call-with-values (lambda () (cause-and-text key args (said-since-last-time)))
         (lambda (cause text)
           (send (if (matters? file) 'module-error 'module-warning)
                 (object->string module) cause
                 (shorten (string-append file ": " text)))))))))

(define (tolerate-faulty-modules!)
  "Have a module that cannot be loaded, or a package with a faulty field, cost nothing else when
evaluated code looks for packages.  What Guix says about such modules raises an exception itself when one
calls 'exit', or lacks what another imports."
  (define hidden?
    (optional-binding '(guix packages) 'hidden-package?))

  (when (optional-binding '(guix ui) 'warn-about-load-error)
    (replace! '(guix ui) 'warn-about-load-error report-module-error))
  (when hidden?
    (replace! '(guix packages) 'hidden-package?
              (lambda (package)
                (catch #t
                  (lambda () (hidden? package))
                  (const #f))))))

;; Packages with a field that raises an exception or is not of the type that enumerating expects.
;; Each becomes an error of its own.
(define flawed (make-hash-table))

(define (flawed? package)
  (hashq-ref flawed package))

;; These are called for each package.  They make no closures, which are expensive in interpreted
;; code.

(define (check field value right? what)
  (unless (right? value)
    (error (string-append "the field '" field "' of this package is not " what ":") value)))

(define (filled-string? value)
  (and (string? value) (not (string-null? value))))

(define (location-or-false? value)
  (or (not value)
      (and (location? value)
           (string? (location-file value))
           (exact-integer? (location-line value)))))

(define (association-list? value)
  (and (list? value) (every pair? value)))

(define (package-or-false? value)
  (or (not value) (package? value)))

(define (examine package)
  "Raise an exception if a field of PACKAGE that enumerating reads does, or is of a wrong type."
  (check "name" (package-name package) filled-string? "a string that is not empty")
  (check "version" (package-version package) string? "a string")
  (check "location" (package-location package) location-or-false? "a location or #f")
  (check "properties" (package-properties package) association-list? "an association list")
  (check "replacement" (package-replacement package) package-or-false? "a package or #f"))

(define examined #f)

(define (examine-it)
  (examine examined)
  #t)

(define (note-flaw . _)
  (hashq-set! flawed examined #t)
  #f)

(define (sound? package)
  "Whether all is well with the fields of PACKAGE that enumerating reads; note if not."
  (set! examined package)
  (catch #t examine-it note-flaw))

(define (name-of package)
  "Return the name of PACKAGE, or something in its place if that is none."
  (let ((name (package-name package)))
    (if (and (string? name) (not (string-null? name)))
        name
        (or (package-text package) "unnamed"))))
