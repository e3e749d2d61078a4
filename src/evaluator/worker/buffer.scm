;;; Gorget --- a growing buffer of bytes.  Included by modules that write texts.
;;; SPDX-License-Identifier: GPL-3.0-or-later

(define buffer (make-bytevector (expt 2 17)))
(define size 0)

(define (reserve! count)
  (when (> (+ size count) (bytevector-length buffer))
    (let ((larger (make-bytevector (* 2 (+ size count)))))
      (bytevector-copy! buffer 0 larger 0 size)
      (set! buffer larger))))

(define (put-byte! byte)
  (reserve! 1)
  (bytevector-u8-set! buffer size byte)
  (set! size (+ size 1)))

(define (put! bytes)
  (let ((count (bytevector-length bytes)))
    (reserve! count)
    (bytevector-copy! bytes 0 buffer size count)
    (set! size (+ size count))))
