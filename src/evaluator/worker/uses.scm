;;; Gorget --- what packages use, so that those that use the same are lowered by the same worker.
;;; SPDX-License-Identifier: GPL-3.0-or-later

;; Most uses that are sent for one package or build system.
(define %most-used 5000)

;; How many popular packages are named to the supervisor.
(define %most-popular 100)

;; Everything that packages use has a number: first the packages, in this order, with those to build
;; before others; then the build systems; then the rest.
(define-once (known-packages)
  (distinct (append (all-packages)
                    (fold-packages cons '() #:select? (const #t)))))

;; The first package of each build system represents the others.
(define-once (representatives)
  (distinct (known-packages) package-build-system))

(define-once (number)
  (numberer (append (known-packages)
                    (map package-build-system (representatives)))))

(define (source-and-inputs package)
  (cons (list "source" (package-source package))
        (package-direct-inputs package)))

(define-once (inputs)
  (numbers-of-inputs (known-packages) (number) source-and-inputs))

(define (implicit-inputs package)
  "Return the inputs that the build system of PACKAGE adds to its own."
  (define own
    (filter-map (match-lambda ((_ input . _) input) (_ #f))
                (package-direct-inputs package)))

  (remove (match-lambda ((_ input . _) (memq input own)) (_ #t))
          (bag-direct-inputs (package->bag package))))

;; The packages that most others have among their inputs, most popular first.
(define-once (popular-packages)
  (most-used (known-packages) (inputs) %most-popular))

(define (say-uses)
  "Say of all that has a number which file defines it, and what it uses."
  (define file-number (numberer '()))
  (define (file package)
    (match (and (not (flawed? package)) (package-location package))
      (#f #f)
      (location (string->symbol (location-file location)))))

  (let* ((packages (map (lambda (package inputs)
                          (cons* (file-number (file package))
                                 ((number) (package-build-system package))
                                 inputs))
                        (known-packages)
                        (inputs)))
         (systems (map (lambda (inputs)
                         (cons 0 inputs))
                       (numbers-of-inputs (representatives) (number) implicit-inputs)))
         (others (- ((number)) (length packages) (length systems))))
    (say-some 'uses
              (map (lambda (numbers)
                     (if (> (length numbers) %most-used)
                         (take numbers %most-used)
                         numbers))
                   (append packages systems (make-list others '(0))))
              %most-numbers
              length)))

(define (popular-units units system)
  "Return the indexes of those of UNITS, a list, that lower the popular packages, most popular first."
  (define places
    (let ((table (make-hash-table (length units))))
      (fold (lambda (unit index)
              (hash-set! table (unit-label unit) index)
              (+ index 1))
            0
            units)
      table))

  (filter-map (lambda (package)
                (hash-ref places (string-append (name-of package) "." system)))
              (popular-packages)))
