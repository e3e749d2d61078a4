;;; Gorget --- work on lists that evaluations spend much time on, faster and with the same results.
;;; SPDX-License-Identifier: GPL-3.0-or-later

(define-module (gorget lists)
  #:use-module ((srfi srfi-1) #:select (delete-duplicates take))
  #:export (use-hashing-delete-duplicates! most-used))

;; Fewer elements than this are compared with each other faster than they are hashed.
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

(define (most-used packages package? direct-inputs count)
  "Return those COUNT packages that most of PACKAGES have among their DIRECT-INPUTS, most used first."
  (define users (make-hash-table 50000))

  (define (count! input)
    (when (and (pair? input) (pair? (cdr input)) (package? (cadr input)))
      (hashq-set! users (cadr input)
                  (+ 1 (hashq-ref users (cadr input) 0)))))

  (for-each (lambda (package)
              (for-each count! (or (false-if-exception (direct-inputs package)) '())))
            packages)
  (let ((ranking (sort (hash-map->list cons users)
                       (lambda (one other) (> (cdr one) (cdr other))))))
    (map car (take ranking (min count (length ranking))))))
