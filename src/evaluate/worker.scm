;;; Gorget --- evaluates packages, told to by its supervisor.
;;; SPDX-License-Identifier: GPL-3.0-or-later
;;;
;;; One process (the parent) loads the modules, enumerates the units of work and lowers some of
;;; them, so that what everything needs is there; then it forks workers that lower the rest.
;;; Every process talks with the supervisor over a socket of its own, one S-expression a line.
;;; 'src/evaluate/protocol.rs' has the other side and lists the messages.  Standard output and
;;; standard error belong to the evaluated code: nothing is read from them but diagnostics.

(use-modules (ice-9 match)
             (srfi srfi-1)
             (srfi srfi-9))

(define %control-socket "/run/gorget/control")
(define %store-uri "unix:///run/store")

;; Where the kernel minds, this ends fork bombs at once; the supervisor counts in any case.
(define %most-processes 512)
(false-if-exception (setrlimit 'nproc %most-processes %most-processes))

(define (connect-control)
  (let ((port (socket AF_UNIX SOCK_STREAM 0)))
    (connect port AF_UNIX %control-socket)
    (set-port-encoding! port "UTF-8")
    (set-port-conversion-strategy! port 'substitute)
    (setvbuf port 'block 65536)
    port))

(define control (connect-control))

(define (send . message)
  (write message control)
  (newline control)
  (force-output control))


;;;
;;; Telling what went wrong.
;;;

(define %longest-message 4000)

(define (shorten text)
  (if (> (string-length text) %longest-message)
      (string-append (string-take text %longest-message) "…")
      text))

(define (optional-binding module name)
  "Return the value of NAME in MODULE, or #f where this Guix has no such thing."
  (let ((interface (false-if-exception (resolve-interface module))))
    (and interface
         (module-variable interface name)
         ;; Accessors of records are syntax that stands for a procedure: 'eval' gives that.
         (eval name (resolve-module module)))))

(define (condition-text object)
  "Return what the condition OBJECT says, or #f."
  (define (when-it-is module predicate text)
    (let ((is? (optional-binding module predicate)))
      (and is? (is? object) (text))))

  (or (when-it-is '(guix store) 'store-protocol-error?
                  (lambda ()
                    ((optional-binding '(guix store) 'store-protocol-error-message) object)))
      (when-it-is '(guix diagnostics) 'formatted-message?
                  (lambda ()
                    (apply format #f
                           ((optional-binding '(guix diagnostics) 'formatted-message-string) object)
                           ((optional-binding '(guix diagnostics) 'formatted-message-arguments)
                            object))))
      (when-it-is '(srfi srfi-35) 'message-condition?
                  (lambda ()
                    ((optional-binding '(srfi srfi-35) 'condition-message) object)))))

(define (exception-text key args)
  (define object
    (and (memq key '(%exception srfi-34 guile-exception)) (pair? args) (car args)))

  (or (and object (false-if-exception (condition-text object)))
      (false-if-exception
       (string-trim-both
        (call-with-output-string
          (lambda (port)
            (print-exception port #f key args)))))
      (object->string (cons key args))))

(define (exception-cause key args text)
  (cond ((eq? key 'unbound-variable) 'unbound-variable)
        ((eq? key 'quit) 'exit)
        ((eq? key 'stack-overflow) 'stack-overflow)
        ((eq? key 'out-of-memory) 'memory)
        ((string-contains text "a build was asked for while evaluating") 'build)
        ((string-contains text "no code for module") 'missing-module)
        (else 'exception)))

(define (uninteresting-file? file)
  (any (lambda (prefix) (string-contains file prefix))
       '("ice-9/" "srfi/" "system/" "guix/store.scm" "guix/monads.scm" "worker.scm")))

;; The package that was lowered last: says where to look when the code that failed is interpreted,
;; for the frames of such code have no location.
(define lowering #f)

(define (stack-location stack)
  "Return \"FILE:LINE\" of the innermost frame of STACK that is not Guile's own, or #f."
  (let loop ((index 0))
    (and (< index (stack-length stack))
         (match (frame-source (stack-ref stack index))
           ((_ (? string? file) line . _)
            (if (uninteresting-file? file)
                (loop (+ index 1))
                (string-append file ":" (number->string (+ line 1)))))
           (_ (loop (+ index 1)))))))

(define (package-text package)
  "Return where PACKAGE is defined, as \"FILE:LINE\", or #f."
  (let ((where (false-if-exception ((optional-binding '(guix packages) 'package-location) package)))
        (field (lambda (name) (optional-binding '(guix diagnostics) name))))
    (and where
         (string-append ((field 'location-file) where) ":"
                        (number->string ((field 'location-line) where))))))

(define (best-location frame)
  "Return FRAME, a location, unless that is in Guix's own machinery and the package is known."
  (or (and lowering
           (or (not frame) (string-prefix? "guix/" frame))
           (false-if-exception (package-text lowering)))
      frame))

(define (call-with-diagnosis thunk failed)
  "Return what THUNK returns.  When it raises anything, return what FAILED returns for the cause,
a symbol, and the message."
  (define said (open-output-string))
  (define location #f)

  (catch #t
    (lambda ()
      (let ((warning-port (optional-binding '(guix diagnostics) 'guix-warning-port)))
        (if warning-port
            (parameterize ((warning-port said)) (thunk))
            (thunk))))
    (lambda (key . args)
      (let* ((text   (exception-text key args))
             (cause  (exception-cause key args text))
             (said   (string-trim-both (get-output-string said)))
             (detail (cond ((not (eq? cause 'exit)) text)
                           ((string-null? said) (object->string (cons 'exit args)))
                           (else said)))
             (location (best-location location)))
        (failed cause
                (shorten (if location
                             (string-append location ": " detail)
                             detail)))))
    (lambda _
      (set! location
            (false-if-exception (stack-location (make-stack #t)))))))


;;;
;;; Guix.
;;;

(define %needed-modules
  '((guix store) (guix packages) (guix derivations) (guix profiles) (guix monads) (guix gexp)
    (guix grafts) (guix discovery) (guix diagnostics) (guix modules) (gnu packages)))

(define (give-up cause message)
  (send 'fatal cause message)
  (primitive-_exit 0))

;; Said before anything else: to a stranger the supervisor does not listen.
(send 'parent (version)
      (or (optional-binding '(guix config) '%guix-version) "unknown"))

(call-with-diagnosis
 (lambda ()
   (for-each resolve-interface %needed-modules))
 give-up)

(use-modules (guix store)
             (guix packages)
             (guix derivations)
             ((guix profiles) #:select (manifest-entries manifest-entry-item manifest-entry-name
                                        manifest-entry-version manifest-entry=?))
             (guix monads)
             (guix gexp)
             ((guix ui) #:select (make-user-module))
             ((gnu packages) #:select (fold-packages find-packages-by-name specification->package %package-module-path))
             ((guix discovery) #:select (all-modules)))

(define %graft?*
  (or (optional-binding '(guix grafts) '%graft?)
      (optional-binding '(guix packages) '%graft?)))

(define (lower package system target)
  "Return the derivation that builds PACKAGE on SYSTEM, for TARGET unless that is #f."
  (set! lowering package)
  (if target
      (package-cross-derivation store package target system #:graft? #f)
      (package-derivation store package system #:graft? #f)))

(define store #f)

(define (move-port! port new)
  "Make PORT, which a fork inherited, use the connection of NEW, which is then closed."
  (dup2 (fileno new) (fileno port))
  (close-port new))


;;;
;;; Units of work: a label, by which a job is known before it is lowered, and a procedure that
;;; returns the job's name and derivation, or #f when there is no such job.
;;;

(define-record-type <unit>
  (make-unit label proc)
  unit?
  (label unit-label)
  (proc  unit-proc))

(define (report-module-error file module args)
  (match args
    ((key . args)
     (let ((text (exception-text key args)))
       (send 'module-error
             (object->string module)
             (exception-cause key args text)
             (shorten (string-append file ": " text)))))))

(define (loadable-modules)
  "Return all package modules that load; report the others."
  (all-modules (%package-module-path) #:warn report-module-error))

(define (final-inputs system)
  (let ((inputs (module-ref (resolve-interface '(gnu packages base)) '%final-inputs)))
    (match (if system (inputs system) (inputs))
      (((labels packages _ ...) ...) packages))))

(define (all-packages)
  "Return the packages to build, in the order of (gnu ci)."
  (define (adjust package result)
    (cond ((package-replacement package)
           (cons* (package-replacement package) package result))
          ((package-superseded package) result)
          (else (cons package result))))

  (fold-packages adjust
                 (fold adjust '() (final-inputs #f))
                 (loadable-modules)
                 #:select? (const #t)))

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

;; What 'package->job' of (gnu ci) decides: packages of the base are always built, others where they
;; are supported and worth substituting.
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
                   (and drv (cons label drv)))))))

(define (tuned-unit package system base micro-architecture)
  (define tuned-package
    (optional-binding '(guix transformations) 'tuned-package))
  (define label
    (string-append (package-name package) "." system "." micro-architecture))

  (make-unit label
             (lambda ()
               (and (package-job-derivation package system base)
                    (let ((drv (package-job-derivation (tuned-package package micro-architecture)
                                                       system #f)))
                      (and drv (cons label drv)))))))

(define %micro-architectures
  '("haswell" "skylake" "x86-64-v2" "x86-64-v3" "x86-64-v4"))

(define (package-units package system base?)
  "Return the units for PACKAGE on SYSTEM: itself, and its tuned variants where there are any."
  (define tunable?
    (or (optional-binding '(guix transformations) 'tunable-package?) (const #f)))
  (define base
    (base? package))

  (cons (package-unit package system base)
        (if (and (string=? system "x86_64-linux") (tunable? package))
            (map (lambda (micro-architecture)
                   (tuned-unit package system base micro-architecture))
                 %micro-architectures)
            '())))

(define (cross-targets system)
  "Return the targets that (gnu ci) cross-builds for on SYSTEM."
  (define (from-32-to-64? target)
    (and (any (lambda (prefix) (string-prefix? prefix system)) '("i686-" "i586-" "armhf-"))
         (string-contains target "64")))

  (define (same? target)
    (or (and (string-contains target system)
             (not (string=? "x86_64-linux-gnux32" target)))
        (and (string-prefix? "armhf" system) (string-prefix? "arm" target))))

  (define (pointless? target)
    (or (member target '("avr" "or1k-elf" "xtensa-ath9k-elf"
                         "mips64el-linux-gnu" "powerpc-linux-gnu" "powerpc64-linux-gnu"))
        (not (member system '("x86_64-linux" "i686-linux")))
        (and (string-contains target "mingw")
             (not (string=? "x86_64-linux" system)))))

  (remove (lambda (target)
            (or (from-32-to-64? target) (same? target) (pointless? target)))
          ((or (optional-binding '(guix platform) 'targets)
               (const '())))))

(define (cross-units system)
  (define core-packages
    (or (optional-binding '(gnu ci) '%core-packages) '()))

  (append-map (lambda (target)
                (map (lambda (package)
                       (let ((label (string-append target "." (package-name package)
                                                   "." system)))
                         (make-unit label
                                    (lambda ()
                                      (cons label (lower package system target))))))
                     (if (string-contains target "mingw")
                         (drop-right core-packages 6)
                         core-packages)))
              (cross-targets system)))

(define (specification-unit specification system)
  ;; Whatever version is asked for, the job is called by the name alone, also when it fails.
  (define name
    (match (string-rindex specification #\@)
      (#f specification)
      (at (string-take specification at))))

  (make-unit (string-append name "." system)
             (lambda ()
               (let ((package (specification->package specification)))
                 (cons (string-append (package-name package) "." system)
                       (lower package system #f))))))

(define (specification-units specifications system)
  ;; Guix loads all modules to find one package.  Those that do not load are reported here; what it
  ;; would say about them raises an exception itself when a module lacks what another imports.
  (when (optional-binding '(guix ui) 'warn-about-load-error)
    (module-set! (resolve-module '(guix ui)) 'warn-about-load-error (const #f)))
  (loadable-modules)
  ;; Has Guix index all packages once, not in every worker.
  (find-packages-by-name "hello")
  (map (lambda (specification)
         (specification-unit specification system))
       specifications))

(define (load-manifest file channels)
  "Return the entries of the manifest FILE, which is in one of CHANNELS."
  (let ((path (any (lambda (directory)
                     (let ((path (string-append directory "/" file)))
                       (and (file-exists? path) path)))
                   channels)))
    (unless path
      (error "no channel has this manifest file:" file))
    (save-module-excursion
     (lambda ()
       (set-current-module (make-user-module '((guix profiles) (gnu))))
       (manifest-entries (primitive-load path))))))

(define (manifest-units files channels system)
  (define entries
    (append-map (lambda (file)
                  (call-with-diagnosis
                   (lambda () (load-manifest file channels))
                   (lambda (cause message)
                     (send 'module-error file cause message)
                     '())))
                files))

  (map (lambda (entry)
         (let ((label (string-append (manifest-entry-name entry) "-"
                                     (manifest-entry-version entry))))
           (make-unit label
                      (lambda ()
                        (cons label
                              (run-with-store store
                                (lower-object (manifest-entry-item entry) system)
                                #:system system))))))
       (delete-duplicates entries manifest-entry=?)))

(define (enumerate build system channels)
  (match build
    ('all
     (let ((base? (base-package? system)))
       (append (append-map (lambda (package)
                             (package-units package system base?))
                           (all-packages))
               (cross-units system))))
    ('hello (specification-units '("hello") system))
    (('packages specifications ...)
     (specification-units specifications system))
    (('manifests files ...)
     (manifest-units files channels system))))


;;;
;;; Working.
;;;

(define units #f)

;; The process that evaluates, so that what it forks does not.
(define evaluator (getpid))

(define (leave-unless-evaluator)
  "End this process if a unit forked it."
  (unless (= (getpid) evaluator)
    (primitive-_exit 0)))

(define (evaluate-unit index)
  (set! lowering #f)
  (send 'begin index)
  (call-with-diagnosis
   (lambda ()
     (match (let ((result ((unit-proc (vector-ref units index)))))
              (leave-unless-evaluator)
              result)
       ((name . drv) (send 'job index name (derivation-file-name drv)))
       (#f (send 'none index))))
   (lambda (cause message)
     (leave-unless-evaluator)
     (send 'error index cause message))))

(define (serve-worker id token)
  "Do what the supervisor says, as the worker ID that was just forked; TOKEN proves that."
  (set! evaluator (getpid))
  (move-port! control (connect-control))
  (send 'worker id token)
  (move-port! (store-connection-socket store)
              (store-connection-socket (open-connection %store-uri)))
  (let loop ()
    (match (read control)
      (('units indexes ...)
       (for-each evaluate-unit indexes)
       (send 'idle)
       (loop))
      (_ (primitive-_exit 0)))))

(define (serve-parent)
  (match (read control)
    (('warm indexes ...)
     (for-each evaluate-unit indexes)
     (send 'idle)
     (serve-parent))
    (('fork id token)
     (match (primitive-fork)
       (0 (serve-worker id token))
       (pid (send 'forked id pid)
            (serve-parent))))
    (('reap pid)
     ;; It may have closed its connection and live on.
     (false-if-exception (kill pid SIGKILL))
     (match (waitpid pid)
       ((_ . status)
        (send 'reaped pid
              (or (status:exit-val status) -1)
              (or (status:term-sig status) 0))
        (serve-parent))))
    (_ (primitive-_exit 0))))

(match (read control)
  (('evaluate build system (channels ...))
   (call-with-diagnosis
    (lambda ()
      (%graft?* #f)
      (set! store (open-connection %store-uri))
      (set! units (list->vector (enumerate build system channels)))
      (send 'enumerated (map unit-label (vector->list units))))
    give-up)
   (serve-parent)))
