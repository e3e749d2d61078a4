;;; Gorget --- 'write' for the builders of derivations, faster and with the same results.
;;; SPDX-License-Identifier: GPL-3.0-or-later
;;;
;;; Every builder is a large S-expression that Guix writes to a string.  The usual kinds of objects
;;; in it are written here; anything else, and each name and number the first time, is left to
;;; Guile.

(define-module (gorget writer)
  #:use-module (ice-9 binary-ports)
  #:use-module (rnrs bytevectors)
  #:export (write-builders-faster!))

;; An object whose text is longer than this may be endless: it is left to Guile.
(define %longest (expt 2 25))
(define %deepest 5000)

(define slow-write write)
(define slow-call-with-output-string call-with-output-string)
(define %usual-options (print-options))

(include "buffer.scm")

(define (slowly-written object)
  (string->utf8 (slow-call-with-output-string
                 (lambda (port)
                   (slow-write object port)))))

;; Names, numbers and their like, as Guile writes them.
(define written (make-hash-table 5000))

(define (put-atom! atom)
  (put! (or (hashv-ref written atom)
            (let ((bytes (slowly-written atom)))
              (hashv-set! written atom bytes)
              bytes))))

(define (put-string! string)
  "Write STRING; leave it to Guile if it has anything but printable ASCII and newlines."
  (let* ((bytes (string->utf8 string))
         (count (bytevector-length bytes)))
    (reserve! (+ 2 (* 2 count)))
    (let ((buffer buffer)
          (start  size))
      (bytevector-u8-set! buffer start 34)
      (let loop ((from 0) (to (+ start 1)))
        (if (= from count)
            (begin
              (bytevector-u8-set! buffer to 34)
              (set! size (+ to 1)))
            (let ((byte (bytevector-u8-ref bytes from)))
              (cond ((or (> byte 126) (and (< byte 32) (not (= byte 10))))
                     (put! (slowly-written string)))
                    ((or (= byte 34) (= byte 92) (= byte 10))
                     (bytevector-u8-set! buffer to 92)
                     (bytevector-u8-set! buffer (+ to 1) (if (= byte 10) 110 byte))
                     (loop (+ from 1) (+ to 2)))
                    (else
                     (bytevector-u8-set! buffer to byte)
                     (loop (+ from 1) (+ to 1))))))))))

(define (put-tail! tail depth)
  (cond ((pair? tail)
         (put-byte! 32)
         (and (put-object! (car tail) depth)
              (put-tail! (cdr tail) depth)))
        ((null? tail)
         (put-byte! 41)
         #t)
        (else
         (put! #vu8(32 46 32))
         (and (put-object! tail depth)
              (begin
                (put-byte! 41)
                #t)))))

(define (put-object! object depth)
  "Write OBJECT; return #f when it may be without an end."
  (cond ((pair? object)
         (and (< depth %deepest)
              (< size %longest)
              (begin
                (put-byte! 40)
                (and (put-object! (car object) (+ depth 1))
                     (put-tail! (cdr object) (+ depth 1))))))
        ((string? object)
         (put-string! object)
         #t)
        ((or (symbol? object) (null? object) (keyword? object) (boolean? object) (char? object)
             (and (integer? object) (exact? object)))
         (put-atom! object)
         #t)
        (else
         (put! (slowly-written object))
         #t)))

(define (write-builders-faster!)
  "Make 'write' faster where it writes lists to the port of 'call-with-output-string'."
  (define string-port #f)

  (define* (fast-write object #:optional (port (current-output-port)))
    (set! size 0)
    (if (and (eq? port string-port)
             (pair? object)
             (equal? (print-options) %usual-options)
             (put-object! object 0))
        ;; The encoding of such ports is UTF-8.
        (put-bytevector port buffer 0 size)
        (slow-write object port)))

  (define (call-with-known-port proc)
    (slow-call-with-output-string
     (lambda (port)
       (set! string-port port)
       (proc port))))

  (define (replace! name value)
    (variable-set! (module-variable (resolve-module '(guile)) name) value))

  (replace! 'write fast-write)
  (replace! 'call-with-output-string call-with-known-port))
