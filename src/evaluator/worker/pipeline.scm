;;; Gorget --- adding texts to the store without waiting for each answer.
;;; SPDX-License-Identifier: GPL-3.0-or-later
;;;
;;; The path of a text can be computed here, so requests are sent many at a time, and the answers
;;; are compared with the computed paths later.

(define-module (gorget pipeline)
  #:use-module (ice-9 binary-ports)
  #:use-module (rnrs bytevectors)
  #:use-module ((srfi srfi-1) #:select (fold))
  #:export (make-pipeline))

(define %add-text-to-store 8)                ; number of the request
(define %last #x616c7473)                    ; begins an answer that is no error
(define %error #x63787470)                   ; begins one that is

;; The daemon must never wait for us to take answers while we wait for it to take requests.
(define %most-unanswered 100)
(define %buffer-size (expt 2 17))

(define (padding size)
  (logand (- size) 7))

(define* (make-pipeline port #:key sha256 store-path add-and-wait owner? mark refused)
  "Return two procedures: one that adds a text, given as NAME, BYTES and REFERENCES, to the store
behind PORT, and one that waits for all answers.  (STORE-PATH TYPE HASH NAME) is Guix's; (ADD-AND-WAIT NAME BYTES REFERENCES) adds one that is too large for us; (OWNER?) says
whether this process may use PORT; (REFUSED MARK MESSAGE) is called for each answer that is an
error, with what (MARK) returned when the text was added."
  (define buffer (make-bytevector %buffer-size))
  (define size 0)
  (define unanswered '())                    ; (PATH . MARK), latest first
  (define count 0)
  (define known (make-hash-table 1000))

  (define (path-of name bytes references)
    "Return the path that the store gives to BYTES."
    (let ((references (if (sorted? references string<?)
                          references
                          (sort references string<?))))
      (store-path (string-join (cons "text" references) ":")
                  (sha256 bytes)
                  name)))

  (define (integer! number)
    (bytevector-u64-native-set! buffer size number)
    (set! size (+ size 8)))

  (define (bytes! bytes)
    (let* ((length (bytevector-length bytes))
           (end    (+ size 8 length)))
      (integer! length)
      (bytevector-copy! bytes 0 buffer size length)
      (bytevector-copy! #vu8(0 0 0 0 0 0 0 0) 0 buffer end (padding length))
      (set! size (+ end (padding length)))))

  (define (read-integer)
    (bytevector-u64-native-ref (get-bytevector-n port 8) 0))

  (define (read-text)
    (let* ((length (read-integer))
           (bytes  (get-bytevector-n port (+ length (padding length))))
           (text   (make-bytevector length)))
      (bytevector-copy! bytes 0 text 0 length)
      (utf8->string text)))

  (define (take-answer path mark)
    (define (failed message)
      (hash-remove! known path)
      (refused mark message))

    (let ((kind (read-integer)))
      (cond ((= kind %last)
             (let ((answer (read-text)))
               (unless (string=? answer path)
                 (failed (string-append path " is " answer " for the store")))))
            ((= kind %error)
             (let ((message (read-text)))
               (read-integer)                ; a status
               (failed message)))
            (else
             (error "an answer of the store that is none:" kind)))))

  (define (wait)
    (when (and (> count 0) (owner?))
      (put-bytevector port buffer 0 size)
      (force-output port)
      (let ((open (reverse unanswered)))
        (set! size 0)
        (set! count 0)
        (set! unanswered '())
        (for-each (lambda (entry)
                    (take-answer (car entry) (cdr entry)))
                  open))))

  (define (request! path name bytes references)
    (integer! %add-text-to-store)
    (bytes! name)
    (bytes! bytes)
    (integer! (length references))
    (for-each bytes! references)
    (set! unanswered (acons path (mark) unanswered))
    (set! count (+ count 1))
    (hash-set! known path #t))

  (define (add-later name bytes references)
    (let ((path (path-of name bytes references)))
      (unless (hash-ref known path)
        (let* ((texts (cons* (string->utf8 name) bytes (map string->utf8 references)))
               (need  (fold (lambda (text sum) (+ 16 (bytevector-length text) sum)) 16 texts)))
          (if (> need %buffer-size)
              (begin
                (wait)
                (add-and-wait name bytes references))
              (begin
                (when (or (>= count %most-unanswered) (> (+ size need) %buffer-size))
                  (wait))
                (request! path (car texts) bytes (cddr texts))))))
      path))

  (values add-later wait))
