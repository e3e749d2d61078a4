;;; What Guix itself computes: prints "JOB DERIVATION" for each job of (gnu ci).
;;; Usage: guix repl -- oracle.scm SUBSET SYSTEM DIRECTORY
;;; SUBSET is an S-expression such as all, (packages "hello") or (manifests "file").  Images and system
;;; tests are computed one by one, for (gnu ci) ends at the first that raises; what does is said on
;;; standard error.
;;; SPDX-License-Identifier: GPL-3.0-or-later

(use-modules (gnu ci) (guix grafts) (guix store) (ice-9 match) (ice-9 rdelim) (srfi srfi-1))

(define ci (resolve-module '(gnu ci)))

(define (read-ci-from-source!)
  "Make what is private to (gnu ci) and sealed by the compiler accessible."
  (save-module-excursion
   (lambda ()
     (primitive-load (%search-load-path "gnu/ci.scm")))))

;; What Guix 1.2 has instead of 'cuirass-jobs', or #f: each job is a name, and what computes the rest.
(define hydra-jobs (and=> (module-variable ci 'hydra-jobs) variable-ref))

(define (show-job job)
  (match job
    (#f #f)
    (((? symbol? name) . compute)
     (format #t "~a ~a~%" name (assq-ref (compute) 'derivation)))
    (_
     (format #t "~a ~a~%" (assq-ref job #:job-name) (assq-ref job #:derivation)))))

(define (old-jobs store subset system directory)
  "Return the jobs of SUBSET where 'cuirass-jobs' is not there yet."
  (define (hydra subset . rest)
    (hydra-jobs store
                `((subset . ,subset)
                  (systems . (,system))
                  (guix . ((file-name . ,directory)
                           (revision . "0000000000000000000000000000000000000000")))
                  ,@rest)))

  (match subset
    ('tarball
     (read-ci-from-source!)
     (parameterize ((%graft? #f))
       ((module-ref ci 'tarball-jobs) store system)))
    (('packages . names) (hydra names))
    (('manifests . files)
     (hydra "manifests" `(manifests . ,(map (lambda (file) (cons "guix" file)) files))))
    ((? symbol? subset) (hydra (symbol->string subset)))))

(define (show-jobs subset system directory)
  (with-store store
    (for-each show-job
              (if hydra-jobs
                  (old-jobs store subset system directory)
                  (new-jobs store subset system directory)))))

(define (new-jobs store subset system directory)
  (cuirass-jobs store
                `((subset . ,subset)
                  (systems . (,system))
                  (channels . ((repository
                                (version 0)
                                (url ,directory)
                                (branch "master")
                                (commit "0000000000000000000000000000000000000000")
                                (name guix)))))))

(define (or-say-so proc)
  "Return a procedure like PROC that returns #f where PROC raises."
  (lambda arguments
    (catch #t
      (lambda () (apply proc arguments))
      (lambda (key . args)
        (format (current-error-port) "raises ~a: ~s~%" key args)
        #f))))

(define (show-peak)
  "Say on standard error how much memory this process held at most, in KiB."
  (call-with-input-file "/proc/self/status"
    (lambda (port)
      (let loop ((line (read-line port)))
        (unless (eof-object? line)
          (if (string-prefix? "VmHWM:" line)
              (format (current-error-port) "peak ~a~%" (cadr (string-tokenize line)))
              (loop (read-line port))))))))

(match (take-right (command-line) 3)
  ((subset system directory)
   (let ((subset (call-with-input-string subset read)))
     (match subset
       ('images
        (read-ci-from-source!)
        (module-define! ci 'image->job (or-say-so (module-ref ci 'image->job)))
        (show-jobs subset system directory))
       ('system-tests
        (let ((tests ((module-ref (resolve-interface '(gnu tests)) 'all-system-tests))))
          (read-ci-from-source!)
          (for-each (lambda (test)
                      (module-define! ci 'all-system-tests (const (list test)))
                      ((or-say-so show-jobs) subset system directory))
                    tests)))
       (('custom . _)
        (set! %load-path (append %load-path (list directory)))
        (show-jobs subset system directory))
       (_ (show-jobs subset system directory)))
     (show-peak))))
