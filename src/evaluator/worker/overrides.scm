;;; Gorget --- replacements for Guix's own procedures.
;;; SPDX-License-Identifier: GPL-3.0-or-later

(define (replace! module name value)
  (variable-set! (module-variable (resolve-module module) name) value))

(define sha256
  (or (optional-binding '(gcrypt hash) 'sha256)
      (optional-binding '(guix hash) 'sha256)))

(define (use-faster-sha256!)
  "Have everybody use our SHA-256, where there is what it needs."
  (let ((libgcrypt->procedure (optional-binding '(gcrypt internal) 'libgcrypt->procedure)))
    (when (and libgcrypt->procedure (optional-binding '(gcrypt hash) 'sha256))
      (set! sha256
            (make-sha256 (libgcrypt->procedure void "gcry_md_hash_buffer" (list int '* '* size_t))
                         sha256))
      (replace! '(gcrypt hash) 'sha256 sha256))))

(define (lower-alike-packages-once!)
  "Have packages that are alike lowered once."
  (let ((mcached (module-variable (resolve-module '(guix store)) '%mcached)))
    (when mcached
      (variable-set! mcached (lower-alike-once (variable-ref mcached) package?)))))

;; How many regular expressions are kept.
(define %most-regexps 1000)

(define (compile-regexps-once!)
  "Have regular expressions kept.  Each has a finalizer, and the collector runs whenever its table of
them is full, however much memory there is."
  (define compile make-regexp)
  (define regexps (make-hash-table))
  (define kept 0)

  (replace! '(guile) 'make-regexp
            (lambda arguments
              (or (hash-ref regexps arguments)
                  (let ((regexp (apply compile arguments)))
                    (when (< kept %most-regexps)
                      (set! kept (+ kept 1))
                      (hash-set! regexps arguments regexp))
                    regexp)))))

;; Digests of the source that 'derivations.scm' replaces, in the versions of Guix whose results were
;; compared with ours.  Other versions make derivations with their own code.
(define %known-derivations
  '("9f599019c86c7ad7264c548e03480c5b594330296f150383c04259c0cbb1d8ab"))

(define (derivations-digest)
  "Return a digest of how this Guix makes derivations, comments excepted."
  (define names
    '(derivation raw-derivation write-derivation derivation->bytevector derivation-base16-hash
      derivation/masked-inputs derivation-hash coalesce-duplicate-inputs derivation-input<?
      derivation-input-path escaped-string %escape-char-set write-sequence write-list write-tuple))

  (define (form-name form)
    (match form
      (((or 'define 'define*) (name . _) . _) name)
      (((or 'define 'define*) name . _) name)
      (_ #f)))

  (call-with-input-file (search-path %load-path "guix/derivations.scm")
    (lambda (port)
      (let loop ((forms '()))
        (match (read port)
          ((? eof-object?)
           (bytevector->base16-string (sha256 (string->utf8 (object->string (reverse forms))))))
          (form
           (loop (if (memq (form-name form) names) (cons form forms) forms))))))))

;; Whether 'derivations.scm' makes the derivations.
(define faster-derivations? #f)

(define (make-derivations-faster! add)
  "Make derivations with 'derivations.scm' if this Guix is one that it was written for."
  (define (guix name)
    (variable-ref (module-variable (resolve-module '(guix derivations)) name)))

  (when (member (false-if-exception (derivations-digest)) %known-derivations)
    (set! faster-derivations? #t)
    (replace! '(guix derivations) 'raw-derivation
              (make-derivation-maker (guix 'raw-derivation)
                                     #:<derivation> (guix '<derivation>)
                                     #:<derivation-output> (guix '<derivation-output>)
                                     #:<derivation-input> (guix '<derivation-input>)
                                     #:cache (guix '%derivation-cache)
                                     #:sha256 sha256
                                     #:bytevector->base16-string bytevector->base16-string
                                     #:output-path output-path
                                     #:fixed-output-path fixed-output-path
                                     #:add add))))
