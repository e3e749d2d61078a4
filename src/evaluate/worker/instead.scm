;;; Gorget --- what takes the place of Guix's own procedures.
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

(define (compile-regexps-once!)
  "Have regular expressions kept.  Each has a finalizer, and the collector runs whenever its table of
them is full, however much memory there is."
  (replace! '(guile) 'make-regexp (memoized make-regexp)))
