;;; Gorget --- the units of an evaluation.
;;; SPDX-License-Identifier: GPL-3.0-or-later
;;;
;;; A unit of work has a label, by which a job is known before it is lowered, and a procedure that
;;; returns the list of its jobs: most often one, none when (gnu ci) has none.

(define-record-type <unit>
  (%make-unit label proc package)
  unit?
  (label   unit-label)
  (proc    unit-proc)
  (package unit-package))               ;#f where it is not known before

(define* (make-unit label proc #:optional package)
  (%make-unit label proc package))

;; An association list: what the spec leaves out, cross builds beside (gnu ci), and so on.
(define options '())

(define (option name)
  (assq-ref options name))

(define excluded?
  (let ((regexps #f))
    (lambda (name)
      "Whether NAME matches one of the patterns of what is to be left out."
      (unless regexps
        (set! regexps
              (map (lambda (pattern)
                     (make-regexp (string-append
                                   "^"
                                   (string-join (map regexp-quote (string-split pattern #\*)) ".*")
                                   "$")))
                   (option 'exclude))))
      (any (lambda (regexp) (regexp-exec regexp name)) regexps))))

;; What is the same for all systems is computed once, by the loader.
(define-syntax-rule (define-once (name) body ...)
  (define name
    (let ((result (delay (let () body ...))))
      (lambda () (force result)))))

;; All package modules that load; the others are reported.
(define-once (loadable-modules)
  (all-modules (%package-module-path) #:warn report-module-error))

(define (takes-arguments? proc)
  (match (procedure-minimum-arity proc)
    ((required optional rest?)
     (or rest? (> (+ required optional) 0)))))

(define (final-inputs system)
  (let ((inputs (module-ref (resolve-interface '(gnu packages base)) '%final-inputs)))
    ;; Until 1.3, they were the same for all systems.
    (match (if (and system (takes-arguments? inputs)) (inputs system) (inputs))
      (((labels packages _ ...) ...) packages))))

(define (flawed-unit package system)
  "Return a unit that raises what is wrong with PACKAGE."
  (make-unit (string-append (name-of package) "." system)
             (lambda ()
               (set! lowering package)
               (examine package)
               (error "a field of this package could not be read before"))
             package))

(define (by-place packages)
  "Return PACKAGES in the order in which they are defined.  Neighbours there share dependencies, and
the order is the same in every process."
  (define (place package)
    (let ((location (package-location package)))
      (string-append (if location
                         (string-append (location-file location) ":"
                                        (string-pad (number->string (location-line location)) 7))
                         "")
                     " " (package-full-name package))))

  (define (place-or-name package)
    (if (flawed? package)
        (string-append " " (name-of package))
        (place package)))

  (map cdr
       (stable-sort (map (lambda (package) (cons (place-or-name package) package))
                         packages)
                    (lambda (one other)
                      (string<? (car one) (car other))))))

(define (wanted packages)
  (remove (lambda (package) (excluded? (name-of package)))
          packages))

;; The packages to build: those of (gnu ci), except the excluded ones.
(define-once (all-packages)
  (define (adjust package result)
    (let ((replacement (and (sound? package) (package-replacement package))))
      (cond ((flawed? package) (cons package result))
            (replacement
             (hashq-set! replacements replacement #t)
             (sound? replacement)
             (cons* replacement package result))
            ((package-superseded package) result)
            (else (cons package result)))))

  (wanted (by-place (fold-packages adjust
                                   (fold adjust '() (final-inputs #f))
                                   (loadable-modules)
                                   #:select? (const #t)))))

(define (base-package? system)
  "Return a predicate for the packages that the rest of the distribution is built with."
  (let ((table (make-hash-table)))
    (for-each (lambda (package)
                (for-each (match-lambda
                            ((_ (? package? input) _ ...)
                             (let ((name (package-name input)))
                               (hash-set! table name
                                          (cons input (hash-ref table name '())))))
                            (_ #f))
                          (package-transitive-inputs package)))
              (final-inputs system))
    (lambda (package)
      ;; Equal packages have equal names.
      (member package (hash-ref table (package-name package) '())))))

;; The decision of 'package->job' of (gnu ci): packages of the base are always built, others where
;; they are supported and worth substituting.
(define (package-job-derivation package system base)
  (and (or base (supported-package? package system))
       (let ((drv (lower package system #f)))
         (and (or base (substitutable-derivation? drv))
              drv))))

(define (package-unit package system base)
  (let ((label (string-append (if base "base." "") (package-name package) "." system)))
    (make-unit label
               (lambda ()
                 (let ((drv (package-job-derivation package system base)))
                   (if drv (list (package-job label package drv)) '())))
               package)))

(define (tuned-unit package system base micro-architecture)
  (define tuned-package
    (optional-binding '(guix transformations) 'tuned-package))
  (define label
    (string-append (package-name package) "." system "." micro-architecture))

  (make-unit label
             (lambda ()
               (let ((drv (and (package-job-derivation package system base)
                               (package-job-derivation (tuned-package package micro-architecture)
                                                       system #f))))
                 (if drv (list (package-job label package drv)) '())))
             package))

(define micro-architectures
  ;; The list changes with the compilers, so it is taken from the revision.
  (delay (or (ci-binding '%x86-64-micro-architectures)
             (error "the (gnu ci) of this Guix has no list of micro-architectures"))))

(define (package-units package system base?)
  "Return the units for PACKAGE on SYSTEM: itself, and its tuned variants where there are any."
  (define tunable?
    (or (optional-binding '(guix transformations) 'tunable-package?) (const #f)))
  (define base
    (and (not (flawed? package)) (base? package)))

  (if (flawed? package)
      (list (flawed-unit package system))
      (cons (package-unit package system base)
            (if (and (option 'tuned) (string=? system "x86_64-linux") (tunable? package))
                (map (lambda (micro-architecture)
                       (tuned-unit package system base micro-architecture))
                     (force micro-architectures))
                '()))))

(define (cross-targets system)
  "Return the targets that (gnu ci) cross-builds for on SYSTEM."
  (define platform-targets
    (optional-binding '(guix platform) 'targets))

  (define left-out
    ;; Until 1.4, (gnu ci) listed its targets, and left none of them out.
    (if platform-targets
        (append (or (ci-binding '%bare-platform-triplets) '())
                (or (ci-binding '%unsupported-platform-triplets) '()))
        '()))

  (define (from-32-to-64? target)
    (and (any (lambda (prefix) (string-prefix? prefix system)) '("i686-" "i586-" "armhf-"))
         (string-contains target "64")))

  (define (same? target)
    (or (and (string-contains target system)
             (not (string=? "x86_64-linux-gnux32" target)))
        (and (string-prefix? "armhf" system) (string-prefix? "arm" target))))

  (define (pointless? target)
    (or (member target left-out)
        (not (member system '("x86_64-linux" "i686-linux")))
        (and (string-contains target "mingw")
             (not (string=? "x86_64-linux" system)))))

  (remove (lambda (target)
            (or (from-32-to-64? target) (same? target) (pointless? target)))
          (if platform-targets
              (platform-targets)
              (or (ci-binding '%cross-targets) '()))))

(define (plain-unit label find system target)
  "Return a unit that lowers the package that FIND returns, supported or not."
  (make-unit label
             (lambda ()
               ;; A package that supersedes the requested one has another name; the job keeps the
               ;; requested name.
               (let ((package (find)))
                 (list (package-job label
                                    package
                                    (lower package system target)
                                    #:target target))))))

(define (job-label name system target)
  (string-append (if target (string-append target ".") "") name "." system))

(define (core-packages)
  (or (ci-binding '%core-packages) '()))

(define (core-unit package system target)
  (plain-unit (job-label (package-name package) system target) (const package) system target))

(define (cross-units system)
  (append-map (lambda (target)
                (map (lambda (package)
                       (core-unit package system target))
                     (wanted (if (string-contains target "mingw")
                                 (drop-right (core-packages) 6)
                                 (core-packages)))))
              (delete-duplicates
               (append (if (option 'cross) (cross-targets system) '())
                       (option 'cross-targets)))))

(define (commencement-units system)
  "Return units for the packages that everything is bootstrapped with, if (gnu ci) has them built."
  (define packages
    (filter package?
            (module-map (lambda (_ variable)
                          (and (variable-bound? variable) (variable-ref variable)))
                        (resolve-module '(gnu packages commencement)))))

  (map (lambda (package)
         (let ((unit (core-unit package system #f)))
           (make-unit (unit-label unit)
                      (lambda ()
                        (if (supported-package? package system) ((unit-proc unit)) '())))))
       (if (ci-binding 'commencement-packages)
           (wanted (by-place packages))
           '())))

(define (core-units system)
  (append (commencement-units system)
          (map (lambda (package) (core-unit package system #f))
               (wanted (core-packages)))
          (cross-units system)))

(define (specification-unit specification system target)
  ;; The job is called by the name alone, whatever version is requested, also when it fails.
  (define name
    (match (string-rindex specification #\@)
      (#f specification)
      (at (string-take specification at))))

  (plain-unit (job-label name system target)
              (lambda () (specification->package specification))
              system target))

;; Guix loads all modules to find one package.
(define-once (index-packages)
  (loadable-modules)
  (find-packages-by-name "hello"))

(define (specification-units specifications system)
  (index-packages)
  (append-map (lambda (target)
                (map (lambda (specification)
                       (specification-unit specification system target))
                     specifications))
              (cons #f (option 'cross-targets))))

(define (channel-units names system)
  "Return units for the packages of the channels called NAMES.  To (gnu ci), all packages are of the
channel 'guix'."
  (define (wanted? package)
    (or (member "guix" names)
        (match (false-if-exception (list (location-channel (package-location package))))
          ((channel) (member channel names))
          ;; The channel of this package is unknown.
          (#f #t))))

  (let ((base? (base-package? system)))
    (filter-map (lambda (package)
                  (and (wanted? package)
                       (if (flawed? package)
                           (flawed-unit package system)
                           (package-unit package system (base? package)))))
                (all-packages))))

;; (gnu ci) has what (core-packages) returns, and imports what computes most other jobs.
(define (load-for subset)
  "Load, and compute, what all systems need to enumerate SUBSET."
  (match subset
    ('all
     (popular-packages)
     (say-uses)
     (core-packages))
    ('core
     (resolve-module '(gnu packages commencement))
     (core-packages))
    ((or 'hello ('packages _ ...)) (index-packages))
    (('channels _ ...) (all-packages))
    (('manifests files ...) (manifests-entries files))
    (_ (core-packages))))

(define (enumerate subset system)
  (match subset
    ('all
     (let ((base? (base-package? system)))
       (append (append-map (lambda (package)
                             (package-units package system base?))
                           (all-packages))
               (cross-units system))))
    ('core (core-units system))
    ('hello (specification-units '("hello") system))
    (('packages specifications ...)
     (specification-units specifications system))
    (('channels names ...)
     (channel-units names system))
    (('manifests files ...)
     (manifest-units files system))
    (_ (ci-units subset system))))
