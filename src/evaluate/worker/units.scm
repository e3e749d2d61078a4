;;; Gorget --- what there is to evaluate.
;;; SPDX-License-Identifier: GPL-3.0-or-later
;;;
;;; Units of work: a label, by which a job is known before it is lowered, and a procedure that
;;; returns the job's name and derivation, or #f when there is no such job.

(define-record-type <unit>
  (make-unit label proc)
  unit?
  (label unit-label)
  (proc  unit-proc))

;; So many popular packages are named to the supervisor.
(define %most-popular 100)

(define (report-module-error file module args)
  (match args
    ((key . args)
     (let ((text (exception-text key args)))
       (send 'module-error
             (object->string module)
             (exception-cause key args text)
             (shorten (string-append file ": " text)))))))

(define (loadable-modules)
  "Return all package modules that load; report the others."
  (all-modules (%package-module-path) #:warn report-module-error))

(define (final-inputs system)
  (let ((inputs (module-ref (resolve-interface '(gnu packages base)) '%final-inputs)))
    (match (if system (inputs system) (inputs))
      (((labels packages _ ...) ...) packages))))

(define (all-packages)
  "Return the packages to build: those of (gnu ci), in the order in which they are defined.
Neighbours there share dependencies, and the order is the same in every process."
  (define (adjust package result)
    (cond ((package-replacement package)
           (cons* (package-replacement package) package result))
          ((package-superseded package) result)
          (else (cons package result))))

  (define (place package)
    (let ((location (package-location package)))
      (string-append (if location
                         (string-append (location-file location) ":"
                                        (string-pad (number->string (location-line location)) 7))
                         "")
                     " " (package-full-name package))))

  (let ((packages (fold-packages adjust
                                 (fold adjust '() (final-inputs #f))
                                 (loadable-modules)
                                 #:select? (const #t))))
    (map cdr
         (stable-sort (map (lambda (package) (cons (place package) package))
                           packages)
                      (lambda (one other)
                        (string<? (car one) (car other)))))))

(define (base-package? system)
  "Return a predicate for the packages that the rest of the distribution is built with."
  (let ((table (make-hash-table)))
    (for-each (lambda (package)
                (for-each (match-lambda
                            ((_ (? package? input) _ ...)
                             (let ((name (package-name input)))
                               (hash-set! table name
                                          (cons input (hash-ref table name '())))))
                            (_ #f))
                          (package-transitive-inputs package)))
              (final-inputs system))
    (lambda (package)
      ;; Equal packages have equal names.
      (member package (hash-ref table (package-name package) '())))))

;; What 'package->job' of (gnu ci) decides: packages of the base are always built, others where they
;; are supported and worth substituting.
(define (package-job-derivation package system base)
  (and (or base (supported-package? package system))
       (let ((drv (lower package system #f)))
         (and (or base (substitutable-derivation? drv))
              drv))))

(define (package-unit package system base)
  (let ((label (string-append (if base "base." "") (package-name package) "." system)))
    (make-unit label
               (lambda ()
                 (let ((drv (package-job-derivation package system base)))
                   (and drv (cons label drv)))))))

(define (tuned-unit package system base micro-architecture)
  (define tuned-package
    (optional-binding '(guix transformations) 'tuned-package))
  (define label
    (string-append (package-name package) "." system "." micro-architecture))

  (make-unit label
             (lambda ()
               (and (package-job-derivation package system base)
                    (let ((drv (package-job-derivation (tuned-package package micro-architecture)
                                                       system #f)))
                      (and drv (cons label drv)))))))

(define %micro-architectures
  '("haswell" "skylake" "x86-64-v2" "x86-64-v3" "x86-64-v4"))

(define (package-units package system base?)
  "Return the units for PACKAGE on SYSTEM: itself, and its tuned variants where there are any."
  (define tunable?
    (or (optional-binding '(guix transformations) 'tunable-package?) (const #f)))
  (define base
    (base? package))

  (cons (package-unit package system base)
        (if (and (string=? system "x86_64-linux") (tunable? package))
            (map (lambda (micro-architecture)
                   (tuned-unit package system base micro-architecture))
                 %micro-architectures)
            '())))

(define (cross-targets system)
  "Return the targets that (gnu ci) cross-builds for on SYSTEM."
  (define (from-32-to-64? target)
    (and (any (lambda (prefix) (string-prefix? prefix system)) '("i686-" "i586-" "armhf-"))
         (string-contains target "64")))

  (define (same? target)
    (or (and (string-contains target system)
             (not (string=? "x86_64-linux-gnux32" target)))
        (and (string-prefix? "armhf" system) (string-prefix? "arm" target))))

  (define (pointless? target)
    (or (member target '("avr" "or1k-elf" "xtensa-ath9k-elf"
                         "mips64el-linux-gnu" "powerpc-linux-gnu" "powerpc64-linux-gnu"))
        (not (member system '("x86_64-linux" "i686-linux")))
        (and (string-contains target "mingw")
             (not (string=? "x86_64-linux" system)))))

  (remove (lambda (target)
            (or (from-32-to-64? target) (same? target) (pointless? target)))
          ((or (optional-binding '(guix platform) 'targets)
               (const '())))))

(define (cross-units system)
  (define core-packages
    (or (optional-binding '(gnu ci) '%core-packages) '()))

  (append-map (lambda (target)
                (map (lambda (package)
                       (let ((label (string-append target "." (package-name package)
                                                   "." system)))
                         (make-unit label
                                    (lambda ()
                                      (cons label (lower package system target))))))
                     (if (string-contains target "mingw")
                         (drop-right core-packages 6)
                         core-packages)))
              (cross-targets system)))

(define (specification-unit specification system)
  ;; Whatever version is asked for, the job is called by the name alone, also when it fails.
  (define name
    (match (string-rindex specification #\@)
      (#f specification)
      (at (string-take specification at))))

  (make-unit (string-append name "." system)
             (lambda ()
               (let ((package (specification->package specification)))
                 (cons (string-append (package-name package) "." system)
                       (lower package system #f))))))

(define (specification-units specifications system)
  ;; Guix loads all modules to find one package.  Those that do not load are reported here; what it
  ;; would say about them raises an exception itself when a module lacks what another imports.
  (when (optional-binding '(guix ui) 'warn-about-load-error)
    (module-set! (resolve-module '(guix ui)) 'warn-about-load-error (const #f)))
  (loadable-modules)
  ;; Has Guix index all packages once, not in every worker.
  (find-packages-by-name "hello")
  (map (lambda (specification)
         (specification-unit specification system))
       specifications))

(define (load-manifest file channels)
  "Return the entries of the manifest FILE, which is in one of CHANNELS."
  (let ((path (any (lambda (directory)
                     (let ((path (string-append directory "/" file)))
                       (and (file-exists? path) path)))
                   channels)))
    (unless path
      (error "no channel has this manifest file:" file))
    (save-module-excursion
     (lambda ()
       (set-current-module (make-user-module '((guix profiles) (gnu))))
       (manifest-entries (primitive-load path))))))

(define (manifest-units files channels system)
  (define entries
    (append-map (lambda (file)
                  (call-with-diagnosis
                   (lambda () (load-manifest file channels))
                   (lambda (cause message)
                     (send 'module-error file cause message)
                     '())))
                files))

  (map (lambda (entry)
         (let ((label (string-append (manifest-entry-name entry) "-"
                                     (manifest-entry-version entry))))
           (make-unit label
                      (lambda ()
                        (cons label
                              (run-with-store store
                                (lower-object (manifest-entry-item entry) system)
                                #:system system))))))
       (delete-duplicates entries manifest-entry=?)))

(define (popular-units units system)
  "Return the indexes of those of UNITS, a list, that lower the packages which most others have among
their inputs, most popular first."
  (define places
    (let ((table (make-hash-table (length units))))
      (fold (lambda (unit index)
              (hash-set! table (unit-label unit) index)
              (+ index 1))
            0
            units)
      table))

  (filter-map (lambda (package)
                (hash-ref places (string-append (package-name package) "." system)))
              (most-used (fold-packages cons '() #:select? (const #t))
                         package? package-direct-inputs %most-popular)))

(define (enumerate build system channels)
  (match build
    ('all
     (let ((base? (base-package? system)))
       (append (append-map (lambda (package)
                             (package-units package system base?))
                           (all-packages))
               (cross-units system))))
    ('hello (specification-units '("hello") system))
    (('packages specifications ...)
     (specification-units specifications system))
    (('manifests files ...)
     (manifest-units files channels system))))
