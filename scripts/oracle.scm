;;; What Guix itself computes: prints "JOB DERIVATION" for each job of (gnu ci).
;;; Usage: guix repl -- oracle.scm SUBSET SYSTEM DIRECTORY
;;; SUBSET is an S-expression such as all, (packages "hello") or (manifests "file").  Images and system
;;; tests are computed one by one, for (gnu ci) ends at the first that raises; what does is said on
;;; standard error.
;;; SPDX-License-Identifier: GPL-3.0-or-later

(use-modules (gnu ci) (guix store) (ice-9 match) (ice-9 rdelim) (srfi srfi-1))

(define ci (resolve-module '(gnu ci)))

(define (read-ci-from-source!)
  "Make what is private to (gnu ci) and sealed by the compiler accessible."
  (save-module-excursion
   (lambda ()
     (primitive-load (%search-load-path "gnu/ci.scm")))))

(define (show-jobs subset system directory)
  (with-store store
    (for-each (lambda (job)
                (when job
                  (format #t "~a ~a~%"
                          (assq-ref job #:job-name) (assq-ref job #:derivation))))
              (cuirass-jobs store
                            `((subset . ,subset)
                              (systems . (,system))
                              (channels . ((repository
                                            (version 0)
                                            (url ,directory)
                                            (branch "master")
                                            (commit "0000000000000000000000000000000000000000")
                                            (name guix)))))))))

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
