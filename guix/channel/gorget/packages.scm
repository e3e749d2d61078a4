;;; Gorget as a package of Guix, made of the checkout that has this file.

(define-module (gorget packages)
  #:use-module (gnu packages)
  #:use-module (gnu packages base)
  #:use-module (gnu packages gnupg)
  #:use-module (gnu packages pkg-config)
  #:use-module (gnu packages rust)
  #:use-module (gnu packages tls)
  #:use-module (gorget crates)
  #:use-module (guix base16)
  #:use-module (guix build-system cargo)
  #:use-module (guix download)
  #:use-module (guix gexp)
  #:use-module ((guix licenses) #:prefix license:)
  #:use-module (guix packages)
  #:use-module (guix utils)
  #:use-module (ice-9 match)
  #:use-module (srfi srfi-1))

;; Gorget takes Rust 1.94; of later ones, this many are looked for.
(define %newest-minor-version 193)
(define %minor-versions 100)

(define (newest-rust)
  "Return the newest Rust of this Guix that can build Gorget, or its default one, which then
says that it is too old."
  (let ((module (resolve-interface '(gnu packages rust))))
    (define (rust-of minor)
      (module-variable module (string->symbol (format #f "rust-1.~a" minor))))
    (match (filter-map rust-of (iota %minor-versions %newest-minor-version -1))
      ((newest . _) (variable-ref newest))
      (() rust))))

(define crate->origin
  (match-lambda
    ((name version hash)
     (origin
       (method url-fetch)
       (uri (crate-uri name version))
       (file-name (string-append "rust-" (string-replace-substring name "_" "-")
                                 "-" version ".tar.gz"))
       (sha256 (base16-string->bytevector hash))))))

(define %checkout
  (dirname (dirname (dirname (dirname (search-path %load-path "gorget/packages.scm"))))))

(define (source-file? file stat)
  (not (member (basename file) '(".git" "target"))))

(define-public gorget
  (package
    (name "gorget")
    (version "0.1.0")
    (source (local-file %checkout "gorget-checkout" #:recursive? #t #:select? source-file?))
    (build-system cargo-build-system)
    (arguments
     (list
      #:rust (newest-rust)
      #:install-source? #f
      ;; The stories take a Guix that they can run.
      #:tests? #f
      #:phases
      #~(modify-phases %standard-phases
          (replace 'install
            (lambda _
              (setenv "CC" "gcc")
              (invoke "make" "install" (string-append "PREFIX=" #$output)
                      "PROGRAM=./target/release/gorget"))))))
    (native-inputs (list pkg-config))
    (inputs (append (list libgcrypt openssl) (map crate->origin %crates)))
    (home-page "https://guix.gnu.org/")
    (synopsis "Evaluator and scheduler of a Guix build farm")
    (description
     "Gorget polls Git branches of Guix channels, evaluates each new revision in a
sandbox, and queues exactly the new derivations at a build coordinator.")
    (license license:gpl3+)))
