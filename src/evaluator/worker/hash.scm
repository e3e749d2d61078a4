;;; Gorget --- SHA-256 as fast as libgcrypt has it.
;;; SPDX-License-Identifier: GPL-3.0-or-later
;;;
;;; Guile keeps a weak reference from each pointer to its bytevector.  The collector keeps a table of
;;; these, and collects whenever that is full: with two pointers for each hash it would run for a
;;; quarter of the time of an evaluation, its heap half empty.  So the pointers are made once.

(define-module (gorget hash)
  #:use-module (rnrs bytevectors)
  #:use-module (system foreign)
  #:export (make-sha256))

(define %sha256 8)                           ; number of the algorithm in libgcrypt
(define %longest (expt 2 17))

(define (make-sha256 hash-buffer sha256)
  "Return a procedure with the results of SHA256 that calls HASH-BUFFER, the 'gcry_md_hash_buffer' of
libgcrypt."
  (define input (make-bytevector %longest))
  (define digest (make-bytevector 32))
  (define input-pointer (bytevector->pointer input))
  (define digest-pointer (bytevector->pointer digest))

  (lambda (bytes)
    (let ((length (bytevector-length bytes)))
      (if (> length %longest)
          (sha256 bytes)
          (begin
            (bytevector-copy! bytes 0 input 0 length)
            (hash-buffer %sha256 digest-pointer input-pointer length)
            (bytevector-copy digest))))))
