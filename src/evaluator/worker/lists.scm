;;; Gorget --- list operations that take much of an evaluation's time, faster and with the same
;;; results.
;;; SPDX-License-Identifier: GPL-3.0-or-later

(define-module (gorget lists)
  #:use-module ((ice-9 textual-ports) #:select (put-char put-string))
  #:use-module ((srfi srfi-1) #:select (delete-duplicates filter-map take))
  #:export (use-hashing-delete-duplicates! put-datum numberer distinct in-pieces numbers-of-inputs most-used))

;; With fewer elements than this, comparing them with each other is faster than hashing them.
(define %worth-hashing 8)

(define (use-hashing-delete-duplicates!)
  "Make the 'delete-duplicates' of all modules linear where it compares with 'equal?'.  Guix calls
it for the inputs of every derivation."
  (define comparing delete-duplicates)

  (define (hashing lst)
    (let ((seen (make-hash-table)))
      (let loop ((lst lst) (result '()))
        (if (null? lst)
            (reverse! result)
            (let ((handle (hash-create-handle! seen (car lst) #f)))
              (if (cdr handle)
                  (loop (cdr lst) result)
                  (begin
                    (set-cdr! handle #t)
                    (loop (cdr lst) (cons (car lst) result)))))))))

  (define* (either lst #:optional (= equal?))
    (if (and (eq? = equal?) (list? lst) (>= (length lst) %worth-hashing))
        (hashing lst)
        (comparing lst =)))

  (variable-set! (module-variable (resolve-module '(srfi srfi-1)) 'delete-duplicates) either))

;; 'write' takes 10 µs for each number.
(define (put-datum datum port)
  "Write DATUM to PORT as 'write' does, lists of numbers in a tenth of the time."
  (cond
   ((and (integer? datum) (exact? datum))
    (put-string port (number->string datum)))
   ((and (pair? datum) (list? datum))
    (put-char port #\()
    (put-datum (car datum) port)
    (for-each (lambda (datum)
                (put-char port #\space)
                (put-datum datum port))
              (cdr datum))
    (put-char port #\)))
   (else (write datum port))))

(define (numberer things)
  "Return a procedure that gives whatever it is called with a number from 0 on, THINGS first, and
says without an argument how many have one."
  (define numbers (make-hash-table 100000))
  (define known 0)

  (define number
    (case-lambda
      (() known)
      ((thing)
       (or (hashq-ref numbers thing)
           (let ((new known))
             (set! known (+ new 1))
             (hashq-set! numbers thing new)
             new)))))

  (for-each number things)
  number)

(define* (distinct things #:optional (key identity))
  "Return the first of THINGS with each KEY."
  (define seen (make-hash-table 50000))

  (filter (lambda (thing)
            (let ((handle (hashq-create-handle! seen (key thing) #f)))
              (and (not (cdr handle))
                   (begin (set-cdr! handle #t) #t))))
          things))

(define (in-pieces items most size)
  "Return ITEMS in lists of them: in each, the sum of their SIZEs and of one for each item is MOST at most,
unless that is a single item."
  (let loop ((items items) (piece '()) (sum 0) (pieces '()))
    (if (null? items)
        (reverse! (cons (reverse! piece) pieces))
        (let ((new (+ sum 1 (size (car items)))))
          (if (and (pair? piece) (> new most))
              (loop items '() 0 (cons (reverse! piece) pieces))
              (loop (cdr items) (cons (car items) piece) new pieces))))))

(define (numbers-of-inputs packages number direct-inputs)
  "Return for each of PACKAGES the numbers of its DIRECT-INPUTS."
  (define (input-number input)
    (and (pair? input) (pair? (cdr input)) (struct? (cadr input))
         (number (cadr input))))

  (map (lambda (package)
         (filter-map input-number (or (false-if-exception (direct-inputs package)) '())))
       packages))

(define (most-used packages inputs count)
  "Return those COUNT of PACKAGES, which have the first numbers, that are most often among INPUTS,
most used first."
  (define users (make-vector (length packages) 0))

  (for-each (lambda (numbers)
              (for-each (lambda (number)
                          (when (< number (vector-length users))
                            (vector-set! users number (+ 1 (vector-ref users number)))))
                        numbers))
            inputs)
  (let ((ranking (stable-sort (map cons (vector->list users) packages)
                              (lambda (one other) (> (car one) (car other))))))
    (map cdr (take ranking (min count (length ranking))))))
