;;; What Guix itself computes: prints "JOB DERIVATION" for each job of (gnu ci).
;;; Usage: guix repl -- oracle.scm SUBSET SYSTEM DIRECTORY
;;; SUBSET is an S-expression such as all, (packages "hello") or (manifests "file").
;;; SPDX-License-Identifier: GPL-3.0-or-later

(use-modules (gnu ci) (guix store) (ice-9 match) (srfi srfi-1))

(match (take-right (command-line) 3)
  ((subset system directory)
   (let ((subset (call-with-input-string subset read)))
     (with-store store
       (for-each (lambda (job)
                   (format #t "~a ~a~%"
                           (assq-ref job #:job-name) (assq-ref job #:derivation)))
                 (cuirass-jobs store
                               `((subset . ,subset)
                                 (systems . (,system))
                                 (channels . ((repository
                                               (version 0)
                                               (url ,directory)
                                               (branch "master")
                                               (commit "0000000000000000000000000000000000000000")
                                               (name guix)))))))))))
