;;; Gorget --- the metadata of a job.
;;; SPDX-License-Identifier: GPL-3.0-or-later
;;;
;;; A job is a list of its name, the file name of its derivation, and facts: (PACKAGE VERSION FILE
;;; LINE TARGET CHANNEL MAX-SILENT-TIME TIMEOUT FLAG ...), with #f for a missing value.  All of it
;;; goes to the supervisor with each result, so it must be cheap to compute.

;; The channels: a name, a directory and a commit each.
(define channels '())

;; Packages that are the replacement of another package.
(define replacements (make-hash-table))

(define %max-silent-time 3600)
(define %package-timeout 72000)
(define %timeout (* 5 3600))

;; The sender of a message that is too long is killed.  Names and facts are cut to this length; the
;; rest makes no difference.
(define %longest-text 2000)

(define (cut text)
  (if (> (string-length text) %longest-text)
      (string-take text %longest-text)
      text))

(define (text object)
  (and (string? object) (cut object)))

(define (seconds object default)
  (if (and (real? object) (< 0 object (expt 2 31)))
      (inexact->exact (round object))
      default))

(define file-channel
  (let ((known (make-hash-table)))
    (define (find-channel file)
      (let ((file (if (string-prefix? "/" file) file (%search-load-path file))))
        (and file
             (any (match-lambda
                    ((name . _)
                     (and (string-prefix? (string-append "/gorget/channels/" name "/") file)
                          name)))
                  channels))))

    (lambda (file)
      "Return the name of the channel that FILE is of, or #f."
      (match (hash-get-handle known file)
        ((_ . channel) channel)
        (#f (hash-set! known file (find-channel file)))))))

(define (location-channel location)
  (let ((file (and location (text (location-file location)))))
    (and file (file-channel file))))

(define (package-facts package target default-timeout)
  (let* ((location   (package-location package))
         (properties (package-properties package))
         (line       (and location (location-line location))))
    `(,(text (package-name package))
      ,(text (package-version package))
      ,(and location (text (location-file location)))
      ,(and (exact-integer? line) (< 0 line (expt 2 31)) line)
      ,target
      ,(location-channel location)
      ,(seconds (assq-ref properties 'max-silent-time) %max-silent-time)
      ,(seconds (assq-ref properties 'timeout) default-timeout)
      ,@(if (assq-ref properties 'hidden?) '(hidden) '())
      ,@(if (hashq-ref replacements package) '(replacement) '()))))

(define* (package-job name package drv #:key target (timeout %package-timeout))
  "Return the job NAME that builds DRV, which is PACKAGE's, for TARGET unless that is #f."
  (list (cut name) (derivation-file-name drv) (package-facts package target timeout)))

(define* (other-job name derivation #:key package version
                    (max-silent-time %max-silent-time) (timeout %timeout))
  "Return the job NAME for the file name DERIVATION, of which not much is known."
  (list (cut name) (cut derivation)
        (list (text package) (text version) #f #f #f #f
              (seconds max-silent-time %max-silent-time)
              (seconds timeout %timeout))))
