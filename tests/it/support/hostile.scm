(define-module (evil packages)
  #:use-module (gnu packages base)
  #:use-module (guix build-system trivial)
  #:use-module (guix derivations)
  #:use-module (guix gexp)
  #:use-module (guix packages)
  #:use-module (guix store)
  #:use-module (ice-9 binary-ports)
  #:use-module (ice-9 ftw)
  #:use-module (ice-9 match)
  #:use-module (ice-9 rdelim)
  #:use-module (ice-9 threads)
  #:use-module (rnrs bytevectors)
  #:use-module (srfi srfi-1)
  #:use-module (system foreign))

;; A package that does what BODY says whenever it is lowered.
(define-syntax-rule (define-bad variable body ...)
  (define-public variable
    (package
      (name (symbol->string 'variable))
      (version "1")
      (source #f)
      (build-system trivial-build-system)
      (arguments (begin body ... (list #:builder #~(mkdir #$output))))
      (home-page "https://example.org")
      (synopsis "Bad")
      (description "Bad.")
      (license #f))))

(define-public good
  (package (inherit hello) (name "good")))

(define-public fine
  (package (inherit hello) (name "fine")))
