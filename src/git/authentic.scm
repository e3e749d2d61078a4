;;; Says whether a commit is authentic, as Guix sees it.  Run by 'guix repl'.
;;;
;;; Arguments: repository, introductory commit, its signer, the commit, the branch of the keyring,
;;; and commits that are known to be authentic.  The last line of output is the answer.

(use-modules (git)
             (guix base16)
             ((guix diagnostics) #:select (formatted-message?
                                           formatted-message-string
                                           formatted-message-arguments))
             (guix git-authenticate)
             ((guix openpgp) #:select (openpgp-format-fingerprint
                                       openpgp-public-key-fingerprint))
             (ice-9 exceptions)
             (ice-9 match)
             (rnrs bytevectors))

(define (answer . words)
  (newline)
  (write words)
  (newline)
  (force-output)
  (primitive-exit 0))

(define (reason exception)
  "What a person reads about EXCEPTION."
  (cond ((formatted-message? exception)
         (apply format #f (formatted-message-string exception)
                (formatted-message-arguments exception)))
        (else
         (call-with-output-string
           (lambda (port)
             (print-exception port #f (exception-kind exception)
                              (exception-args exception)))))))

(define (trying thunk failed)
  "The value of THUNK, or that of FAILED, applied to the exception that THUNK raised."
  (with-exception-handler failed thunk #:unwind? #t))

(define (from-git? exception)
  (eq? 'git-error (exception-kind exception)))

(define (signer-of repository commit keyring)
  (openpgp-public-key-fingerprint
   (commit-signing-key repository (string->oid commit) keyring)))

(define (judge repository start signer end keyring-reference known)
  (define keyring
    (trying (lambda () (load-keyring-from-reference repository keyring-reference))
            (lambda (exception)
              (answer 'unknown (string-append "the keyring cannot be read: "
                                              (reason exception))))))
  (define expected
    (base16-string->bytevector (string-downcase signer)))

  (define (check-introduction)
    ;; Guix does that itself, but not when there is no commit after the introductory one.
    (let ((actual (signer-of repository start keyring)))
      (unless (bytevector=? expected actual)
        (answer 'bad (string-append "the introductory commit " start " is signed by "
                                    (openpgp-format-fingerprint actual)
                                    ", not by "
                                    (openpgp-format-fingerprint expected))))))

  (trying (lambda () (commit-lookup repository (string->oid start)))
          (lambda (exception)
            (answer 'bad (string-append "the introductory commit " start
                                        " is not in its history"))))
  (trying (lambda ()
            (when (null? known)
              (check-introduction))
            (authenticate-repository repository (string->oid start) expected
                                     #:end (string->oid end)
                                     #:keyring-reference keyring-reference
                                     #:cache-key "gorget"
                                     #:authentic-commits known)
            (answer 'good (base16-from (signer-of repository end keyring))))
          (lambda (exception)
            (answer (cond ((missing-key-error? exception) 'unknown)
                          ((from-git? exception) 'damaged)
                          (else 'bad))
                    (reason exception)))))

(define (base16-from fingerprint)
  (string-upcase (bytevector->base16-string fingerprint)))

(match (command-line)
  ((_ repository start signer end keyring known ...)
   (judge (repository-open repository) start signer end keyring known)))
