;;; Gorget --- packages that are created anew each time they are requested.
;;; SPDX-License-Identifier: GPL-3.0-or-later
;;;
;;; The inputs of a package are code, which often creates other packages: a compiler for a target,
;;; for example, and likewise each of its inputs.  Guix caches what it lowered by identity, so it
;;; lowers such packages again and again, to the same derivations: with all cross builds, a third of
;;; its work.  Here the result for the first package is cached for all that are alike.
;;;
;;; Packages are alike if their fields are.  Fields that are code are alike if they have the same
;;; code and alike variables, so that they can only do the same.  Where one package has the same
;;; object twice, so must the other, because Guix drops identical inputs.  When in doubt, packages
;;; are not alike.

(define-module (gorget alike)
  #:use-module (rnrs bytevectors)
  #:use-module (system vm program)
  #:use-module ((srfi srfi-1) #:select (find every))
  #:export (lower-alike-once))

;; Packages that take more steps to compare count as different.
(define %most-steps 10000)

;; Most packages with the same name, version and code that are compared.
(define %most-compared 10)

;; Records that are compared by their fields, except the fields that say where they were written.
(define %compared-records
  '(<package> <origin> <gexp> <gexp-input> <content-hash> <search-path-specification>))
(define %uncompared-fields '(location definition-location))

(define compared-fields (make-hash-table))     ; indexes of fields, by type of record

(define (fields-of type)
  "Return the indexes of the fields of TYPE by which records are compared, or #f."
  (let ((known (hashq-ref compared-fields type 'unknown)))
    (if (eq? known 'unknown)
        (let ((indexes (and (eq? (struct-vtable type) record-type-vtable)
                            (memq (record-type-name type) %compared-records)
                            (let loop ((names (record-type-fields type)) (index 0))
                              (cond ((null? names) '())
                                    ((memq (car names) %uncompared-fields)
                                     (loop (cdr names) (+ index 1)))
                                    (else
                                     (cons index (loop (cdr names) (+ index 1)))))))))
          (hashq-set! compared-fields type indexes)
          indexes)
        known)))

(define (alike? one other)
  "Whether ONE and OTHER, and all that they consist of, are alike, each with its own counterpart."
  (define counterparts (make-hash-table))
  (define taken (make-hash-table))
  (define steps 0)

  (define (same-code? one other)
    (and (= (program-code one) (program-code other))
         (let ((count (program-num-free-variables one)))
           (and (= count (program-num-free-variables other))
                (let loop ((index 0))
                  (or (= index count)
                      (and (same? (program-free-variable-ref one index)
                                  (program-free-variable-ref other index))
                           (loop (+ index 1)))))))))

  (define (same-fields? one other)
    (let ((indexes (and (eq? (struct-vtable one) (struct-vtable other))
                        (fields-of (struct-vtable one)))))
      (and indexes
           (every (lambda (index)
                    (same? (struct-ref one index) (struct-ref other index)))
                  indexes))))

  (define (counterpart? one other same-contents?)
    "Whether OTHER is what ONE was compared with before, or neither was compared and they are alike."
    (let ((former (hashq-ref counterparts one)))
      (cond (former (eq? former other))
            ((hashq-ref taken other) #f)
            (else
             (hashq-set! counterparts one other)
             (hashq-set! taken other #t)
             (or (eq? one other) (same-contents? one other))))))

  (define (same? one other)
    (set! steps (+ steps 1))
    (and (< steps %most-steps)
         (cond ((pair? one)
                (or (eq? one other)
                    (and (pair? other)
                         (same? (car one) (car other))
                         (same? (cdr one) (cdr other)))))
               ((struct? one)
                (and (struct? other) (counterpart? one other same-fields?)))
               ((program? one)
                (and (program? other) (counterpart? one other same-code?)))
               ((eq? one other) #t)
               ((promise? one)
                (and (promise? other) (same? (force one) (force other))))
               (else
                (and (or (string? one) (number? one) (bytevector? one) (char? one))
                     (equal? one other))))))

  (same? one other))

(define (make-representative)
  "Return a procedure that returns, for a package, the first that it was given that is alike."
  (define representatives (make-hash-table 50000)) ; by identity
  (define families (make-hash-table 50000))        ; lists, by name, version and code

  (define (family-of package)
    (map (lambda (index)
           (let ((value (struct-ref package index)))
             (cond ((string? value) value)
                   ((program? value) (program-code value))
                   (else #f))))
         (fields-of (struct-vtable package))))

  (define (find-representative package)
    (let* ((family  (family-of package))
           (members (hash-ref families family '()))
           (first   (find (lambda (member) (alike? package member)) members)))
      (unless (or first (>= (length members) %most-compared))
        (hash-set! families family (cons package members)))
      (or first package)))

  (lambda (package)
    (or (hashq-ref representatives package)
        ;; Forcing a field may raise any exception; it will do so again.
        (let ((first (catch #t
                       (lambda () (find-representative package))
                       (lambda _ package))))
          (hashq-set! representatives package first)
          first))))

(define (lower-alike-once mcached package?)
  "Return a procedure like MCACHED, which computes or remembers what belongs to an object, but has one
result for packages that are alike."
  (define representative (make-representative))

  (lambda (compute object . rest)
    (apply mcached compute (if (package? object) (representative object) object) rest)))
