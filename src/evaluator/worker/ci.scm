;;; Gorget --- jobs that are not packages by name: manifests, and what (gnu ci) itself has to compute.
;;; SPDX-License-Identifier: GPL-3.0-or-later

(define (load-file path)
  "Return what the last form in the file PATH returns.  For the file, '(current-filename)' is PATH: as
Guile opens files, it would be the name relative to a directory of the load path."
  (let ((port (with-fluids ((%file-port-name-canonicalization #f))
                (open-input-file path))))
    (let loop ((result #f))
      (match (read port)
        ((? eof-object?)
         (close-port port)
         result)
        (form (loop (primitive-eval form)))))))

(define (load-manifest file)
  "Return the entries of the manifest FILE, which is in one of the channels."
  (let ((path (any (match-lambda
                     ((_ directory _)
                      (let ((path (string-append directory "/" file)))
                        (and (file-exists? path) path))))
                   channels)))
    (unless path
      (error "no channel has this manifest file:" file))
    (save-module-excursion
     (lambda ()
       (set-current-module (make-user-module '((guix profiles) (gnu))))
       (match (load-file path)
         ((? manifest? manifest) (manifest-entries manifest))
         (other
          (error (string-append "the file does not return a manifest\n\
hint: its last form must return one, as 'specifications->manifest' does; it returns:")
                 (in-short other))))))))

(define (in-short object)
  "Return the beginning of OBJECT as 'write' writes it; it may have no end."
  (call-with-output-string
    (lambda (port)
      (truncated-print object port #:width 200))))

(define (units-or-error name thunk)
  "Return what THUNK returns; when it raises, report that nothing of NAME can be had."
  (call-with-diagnosis thunk
                       (lambda (cause message)
                         (send 'module-error name cause message)
                         '())))

(define (manifest-unit entry system)
  (define (field get)
    (let ((value (get entry)))
      (if (string? value) value "unnamed")))

  (let ((label (string-append (field manifest-entry-name) "-" (field manifest-entry-version)))
        (item  (manifest-entry-item entry)))
    (make-unit label
               (lambda ()
                 (unless (and (string? (manifest-entry-name entry))
                              (string? (manifest-entry-version entry)))
                   (error "name and version of this entry must be strings:"
                          (in-short (list (manifest-entry-name entry)
                                          (manifest-entry-version entry)))))
                 (when (package? item)
                   (set! lowering item))
                 (let ((drv (run-with-store store
                              (lower-object item system)
                              #:system system)))
                   (unless (derivation? drv)
                     (error "there is nothing to build about this entry:" drv))
                   (list (if (package? item)
                             (package-job label item drv #:timeout %timeout)
                             (other-job label (derivation-file-name drv)
                                        #:package (manifest-entry-name entry)
                                        #:version (manifest-entry-version entry)))))))))

(define manifests-entries
  (let ((loaded (make-hash-table)))
    (lambda (files)
      "Return the entries of the manifests FILES, which are loaded once for all systems."
      (define (load)
        (delete-duplicates
         (append-map (lambda (file)
                       (units-or-error file (lambda () (load-manifest file))))
                     files)
         manifest-entry=?))

      (or (hash-ref loaded files)
          (hash-set! loaded files (load))))))

(define (manifest-units files system)
  (filter-map (lambda (entry)
                (and (not (and=> (text (manifest-entry-name entry)) excluded?))
                     (manifest-unit entry system)))
              (manifests-entries files)))


;;;
;;; Jobs that (gnu ci) computes.
;;;

(define (own-ci)
  "Return the module (gnu ci), as its source has it: what is private to it can have been sealed when
it was compiled."
  (let ((file (%search-load-path "gnu/ci.scm")))
    (unless file
      (error "this Guix has no gnu/ci.scm"))
    (save-module-excursion
     (lambda ()
       (primitive-load file)))
    (resolve-module '(gnu ci))))

(define (ci-binding name)
  "Return the value of NAME in (gnu ci), private or not, or #f where that has no such thing."
  (let ((variable (or (module-variable (resolve-module '(gnu ci)) name)
                      (module-variable (own-ci) name))))
    (and variable (variable-ref variable))))

(define (ci-procedure name)
  (let ((variable (module-variable (own-ci) name)))
    (unless variable
      (error "the (gnu ci) of this Guix does not have what computes these jobs:" name))
    (variable-ref variable)))

(define (ci-job job)
  "Return JOB, which is as (gnu ci) describes jobs, as we do."
  (match job
    ;; The (gnu ci) of Guix 1.2 describes a job by its name and a procedure that computes the rest.
    (((? symbol? name) . (? procedure? compute))
     (let ((rest (compute)))
       (ci-job `((#:job-name . ,name)
                 (#:derivation . ,(assq-ref rest 'derivation))
                 (#:max-silent-time . ,(assq-ref rest 'max-silent-time))
                 (#:timeout . ,(assq-ref rest 'timeout))))))
    (_
     (match (list (assq-ref job #:job-name) (assq-ref job #:derivation))
       (((and (or (? string?) (? symbol?)) name) (? string? derivation))
        (other-job (if (symbol? name) (symbol->string name) name)
                   derivation
                   #:max-silent-time (assq-ref job #:max-silent-time)
                   #:timeout (assq-ref job #:timeout)))
       (_ (error "this describes no job:" job))))))

(define (ci-unit label proc)
  "Return a unit for the jobs that PROC returns as (gnu ci) describes them."
  (make-unit label
             (lambda ()
               (map ci-job (proc)))))

(define (guix-channel)
  "Return the directory and the commit of the channel that brings Guix."
  (match (assoc "guix" channels)
    ((_ directory commit) (list directory commit))
    (#f (error "no channel is called 'guix'\nhint: add it to the spec's channels"))))

(define (channels-with-guix)
  "Return the channels, among them the installed Guix unless another is called so.  Its commit is
zeros where nobody knows it."
  (define known
    (find (lambda (channel)
            (eq? 'guix ((optional-binding '(guix channels) 'channel-name) channel)))
          (or (false-if-exception ((optional-binding '(guix describe) 'current-channels))) '())))

  (if (assoc "guix" channels)
      channels
      (cons (list "guix"
                  (dirname (dirname (%search-load-path "guix/packages.scm")))
                  (or (and known ((optional-binding '(guix channels) 'channel-commit) known))
                      (make-string 40 #\0)))
            channels)))

(define (call-with-guix-channel proc . arguments)
  "Call PROC with the store, ARGUMENTS, and the channel that brings Guix unless PROC does without."
  (match (guix-channel)
    ((directory commit)
     (apply proc store
            (append arguments
                    (if (null? (assq-ref (procedure-arguments proc) 'keyword))
                        '()
                        (list #:source directory #:commit commit)))))))

(define (image-units system)
  "Return a unit for each image; a single one where (gnu ci) can only compute all of them together."
  (define image-jobs (ci-procedure 'image-jobs))

  (if (ci-binding 'image->job)
      (units-of-images image-jobs system)
      (list (ci-unit (string-append "images." system)
                     (lambda () (call-with-guix-channel image-jobs system))))))

(define (units-of-images image-jobs system)
  "Return a unit for each of the images of IMAGE-JOBS: what would compute it is kept for later."
  (define current-guix-package
    (optional-binding '(gnu packages package-management) 'current-guix-package))
  (define image-name (optional-binding '(gnu image) 'image-name))
  (define image->job (module-ref (resolve-module '(gnu ci)) 'image->job))

  (define* (later store image #:key name system)
    (let ((name (or name (symbol->string (image-name image))))
          (guix (current-guix-package)))
      (ci-unit (string-append name "." system)
               (lambda ()
                 (parameterize ((current-guix-package guix))
                   (list (image->job store image #:name name #:system system)))))))

  (module-define! (resolve-module '(gnu ci)) 'image->job later)
  (call-with-guix-channel image-jobs system))

(define (system-test-units system)
  "Return a unit for each test."
  (define tests
    (begin
      (module-set! (resolve-module '(guix ui)) 'warn-about-load-error report-module-error)
      ((optional-binding '(gnu tests) 'all-system-tests))))
  (define test-name (optional-binding '(gnu tests) 'system-test-name))
  (define system-test-jobs (ci-procedure 'system-test-jobs))

  (map (lambda (test)
         (ci-unit (string-append "test." (test-name test) "." system)
                  (lambda ()
                    (module-define! (resolve-module '(gnu ci)) 'all-system-tests
                                    (const (list test)))
                    (call-with-guix-channel system-test-jobs system))))
       tests))

(define (custom-unit module system)
  "Return a unit for what the procedure 'cuirass-jobs' of MODULE, a text such as \"(my ci)\", returns."
  (define arguments
    `((subset . (custom ,(call-with-input-string module read)))
      (systems . (,system))
      (channels . ,(map (match-lambda
                          ((name directory commit)
                           ;; The branch makes no difference to anything.
                           `(repository (version 0) (url ,directory) (branch "master")
                                        (commit ,commit) (name ,(string->symbol name)))))
                        (channels-with-guix)))))

  (define (job-or-problem job)
    "Return what JOB describes as a list: nothing for #f, a text if it is no job."
    (catch #t
      (lambda ()
        (if job (list (ci-job job)) '()))
      (lambda (key . args)
        (list (string-append "what 'cuirass-jobs' returns has an element that is no job: "
                             (in-short job))))))

  (make-unit module
             (lambda ()
               (match ((module-ref (resolve-interface (call-with-input-string module read))
                                   'cuirass-jobs)
                       store arguments)
                 ((? list? jobs) (append-map job-or-problem jobs))
                 (other (error "'cuirass-jobs' does not return a list:" (in-short other)))))))

(define (ci-units subset system)
  (units-or-error
   (object->string subset)
   (lambda ()
     (match subset
       ('guix
        (let ((guix-jobs (ci-procedure 'guix-jobs)))
          (list (ci-unit (string-append "guix." system)
                         (lambda ()
                           (call-with-guix-channel guix-jobs (list system)))))))
       ('images (image-units system))
       ('system-tests (system-test-units system))
       ('tarball
        (let ((tarball-jobs (ci-procedure 'tarball-jobs)))
          (list (ci-unit (string-append "binary-tarball." system)
                         (lambda () (tarball-jobs store system))))))
       (('custom modules ...)
        (map (lambda (module) (custom-unit module system)) modules))))))
