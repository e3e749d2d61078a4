;;; Gorget --- evaluates packages as its supervisor requests.
;;; SPDX-License-Identifier: GPL-3.0-or-later
;;;
;;; One process (the loader) loads the modules.  For each system it forks a process (the parent),
;;; which enumerates the units of work, lowers some of them, so that what everything needs is there,
;;; and forks workers, which lower the rest.  The memory of a system is freed when its parent ends.
;;; Every process talks with the supervisor over its own socket, one S-expression per line.
;;; 'src/evaluator/protocol.rs' has the other side and lists the messages.  Standard output and
;;; standard error belong to the evaluated code: only diagnostics are read from them.

(use-modules (ice-9 binary-ports)
             (ice-9 match)
             ((ice-9 pretty-print) #:select (truncated-print))
             ((ice-9 regex) #:select (regexp-quote))
             ((ice-9 session) #:select (procedure-arguments))
             ((ice-9 textual-ports) #:select (get-string-all))
             (rnrs bytevectors)
             (srfi srfi-1)
             (srfi srfi-9)
             ((system foreign) #:select (pointer->procedure void int size_t)))

;; These modules are compiled; all other code is interpreted.
(save-module-excursion
 (lambda ()
   (for-each (lambda (name)
               (load-compiled (string-append "/gorget/faster/" name ".go")))
             '("hash" "alike" "lists" "writer" "pipeline" "derivations"))))
(use-modules (gorget hash)
             (gorget alike)
             (gorget lists)
             (gorget writer)
             (gorget pipeline)
             (gorget derivations))

;; Processes of one user can write each other's memory through /proc, unless they are not dumpable.
(define %pr-set-dumpable 4)
(let ((prctl (pointer->procedure int (dynamic-func "prctl" (dynamic-link))
                                 (list int size_t size_t size_t size_t))))
  (unless (zero? (prctl %pr-set-dumpable 0 0 0 0))
    (error "the evaluator's memory cannot be protected")))

(define %control-socket "/run/gorget/control")

;; Where the kernel enforces it, this limit ends fork bombs at once; the supervisor counts in any
;; case.
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

(define (say . message)
  "Have MESSAGE sent with the next that is."
  (put-datum message control)
  (newline control))

(define (send . message)
  (apply say message)
  (force-output control))

(define* (say-some kind items most #:optional (size (const 0)))
  "Say ITEMS in as many messages of KIND as it takes when each has no more than MOST of their SIZEs and of
them: a message that is too long is not heard."
  (for-each (lambda (items)
              (apply say kind items))
            (in-pieces items most size)))

(primitive-load "/run/gorget/diagnosis.scm")

;;;
;;; Guix.
;;;

(define %needed-modules
  '((guix store) (guix packages) (guix derivations) (guix profiles) (guix monads) (guix gexp)
    (guix grafts) (guix discovery) (guix diagnostics) (guix modules) (gnu packages)))

(define (give-up cause message)
  (send 'fatal cause message)
  (primitive-_exit 0))

;; This must be the first message: the supervisor ignores processes that have not identified
;; themselves.
(send 'loader (version)
      (or (optional-binding '(guix config) '%guix-version) "unknown"))

(call-with-diagnosis
 (lambda ()
   (for-each resolve-interface %needed-modules))
 give-up)

(use-hashing-delete-duplicates!)
(write-builders-faster!)

(use-modules (guix store)
             (guix packages)
             (guix derivations)
             ((guix profiles) #:select (manifest? manifest-entries manifest-entry-item manifest-entry-name
                                        manifest-entry-version manifest-entry=?))
             (guix monads)
             (guix gexp)
             ((guix base16) #:select (bytevector->base16-string))
             ((guix diagnostics) #:select (location? location-file location-line))
             ((guix ui) #:select (make-user-module))
             ((gnu packages) #:select (fold-packages find-packages-by-name specification->package %package-module-path))
             ((guix discovery) #:select (all-modules)))

;; Channels are behind Guix's own modules, as 'guix pull' has them.
(%package-module-path
 (append (%package-module-path)
         (string-tokenize (or (getenv "GORGET_PACKAGE_PATH") "")
                          (char-set-complement (char-set #\:)))))

(define %graft?*
  (or (optional-binding '(guix grafts) '%graft?)
      (optional-binding '(guix packages) '%graft?)))

(define (lower package system target)
  "Return the derivation that builds PACKAGE on SYSTEM, for TARGET unless that is #f."
  (set! lowering package)
  (if target
      (package-cross-derivation store package target system #:graft? #f)
      (package-derivation store package system #:graft? #f)))

;; The process that evaluates.  Processes that it forks do not.
(define evaluator (getpid))

(define (evaluator?)
  (= (getpid) evaluator))

;; Whether this process lowers units that another process enumerated.
(define worker? #f)

(define (leave-unless-evaluator)
  "End this process if a unit forked it."
  (unless (evaluator?)
    (primitive-_exit 0)))

(primitive-load "/run/gorget/overrides.scm")
(primitive-load "/run/gorget/files.scm")
(primitive-load "/run/gorget/store.scm")
(primitive-load "/run/gorget/jobs.scm")
(primitive-load "/run/gorget/faults.scm")
(primitive-load "/run/gorget/units.scm")
(primitive-load "/run/gorget/uses.scm")
(primitive-load "/run/gorget/ci.scm")


;;;
;;; Working.
;;;

(define units #f)

;; The unit that is being evaluated.
(define evaluating #f)

;; Results that have not been sent, latest first: the store may still refuse what belongs to them.
(define results '())
(define sent (get-internal-real-time))

;; Sending results wakes other processes: while units are short, at least this many seconds pass
;; between sends.
(define %seconds-between 1/20)

(define (send-results)
  (wait-for-store)
  (for-each (match-lambda
              ((and result (kind index . _))
               (match (assv index refusals)
                 ((_ . message)
                  (unless (eq? kind 'also)
                    (say 'error index 'exception (shorten message))))
                 (#f (apply say result)))))
            (reverse results))
  (force-output control)
  (set! results '())
  (set! refusals '())
  (set! sent (get-internal-real-time)))

(define (send-results-in-time)
  (when (> (- (get-internal-real-time) sent)
           (* %seconds-between internal-time-units-per-second))
    (send-results)))

(define (evaluate-unit index)
  (define (result . result)
    (leave-unless-evaluator)
    (set! results (cons result results)))

  (send-results-in-time)
  (set! lowering #f)
  (set! evaluating index)
  (send 'begin index)
  (call-with-diagnosis
   (lambda ()
     ;; A string says what is wrong with one of several jobs.
     (match (call-with-values (lambda () (partition pair? ((unit-proc (vector-ref units index))))) list)
       ((jobs (problems ..1))
        (for-each (lambda (job) (apply result 'also index job)) jobs)
        (result 'error index 'exception (shorten (string-join problems "\n"))))
       ((() ()) (result 'none index))
       (((others ... job) ())
        (for-each (lambda (other) (apply result 'also index other)) others)
        (apply result 'job index job))))
   (lambda (cause message)
     (result 'error index cause
             (shorten (about-package (or (unit-package (vector-ref units index)) lowering)
                                     message)))
     (mend-connection!))))

(define (evaluate-units indexes)
  (for-each evaluate-unit indexes)
  (send-results)
  (send 'idle))

(define (introduce kind id token)
  "Speak for this process, which was just forked, as the KIND of process ID; TOKEN proves that."
  (set! evaluator (getpid))
  (move-port! control (connect-control))
  (send kind id token)
  (move-port! (store-connection-socket store)
              (store-connection-socket (open-connection %store-uri))))

(define (serve child others)
  "Fork and bury children as the supervisor says: each goes on with CHILD, given its number and what
proves that.  Give OTHERS all else that is said."
  (let loop ()
    (match (read control)
      (('fork id token)
       (match (primitive-fork)
         (0 (child id token))
         (pid (send 'forked id pid))))
      (('reap pid)
       ;; The child may have closed its connection without ending.
       (false-if-exception (kill pid SIGKILL))
       (match (waitpid pid)
         ((_ . status)
          (send 'reaped pid
                (or (status:exit-val status) -1)
                (or (status:term-sig status) 0)))))
      (message (others message)))
    (loop)))

(define (serve-worker id token)
  (set! worker? #t)
  (introduce 'worker id token)
  (let loop ()
    (match (read control)
      (('units indexes ...)
       (evaluate-units indexes)
       (loop))
      (_ (primitive-_exit 0)))))

;; A character of a string takes ten bytes at most, a number and a blank take eight, and a message
;; must have less than 256 KiB.
(define %most-characters 18000)
(define %most-numbers 20000)
(define %longest-label 1000)

(define (shorten-label label)
  (if (> (string-length label) %longest-label)
      (string-append (string-take label %longest-label) "…")
      label))

(define (enumerate-units subset system)
  (call-with-diagnosis
   (lambda ()
     (let ((all (enumerate subset system)))
       (set! units (list->vector all))
       (say-some 'labels
                 (map (lambda (unit) (shorten-label (unit-label unit))) all)
                 %most-characters
                 string-length)
       (if (eq? subset 'all)
           (begin
             (say-some 'packages
                       (map (lambda (unit)
                              (if (unit-package unit)
                                  ((number) (unit-package unit))
                                  ((number))))
                            all)
                       %most-numbers)
             (apply send 'enumerated (popular-units all system)))
           (send 'enumerated))))
   give-up))

(define (serve-parent subset)
  (lambda (id token)
    (introduce 'parent id token)
    (serve serve-worker
           (match-lambda
             (('enumerate system) (enumerate-units subset system))
             (('warm indexes ...) (evaluate-units indexes))
             (_ (primitive-_exit 0))))))

(match (read control)
  (('load subset with places)
   (call-with-diagnosis
    (lambda ()
      (%graft?* #f)
      (use-faster-sha256!)
      (lower-alike-packages-once!)
      (compile-regexps-once!)
      (refuse-strange-files!)
      (refuse-downloads!)
      (tolerate-faulty-modules!)
      (connect-to-store)
      (say 'derivations (if faster-derivations? 'faster 'own))
      (set! options with)
      (set! channels places)
      (set! asked subset)
      (load-for subset)
      (send 'loaded))
    give-up)
   (serve (serve-parent subset)
          (lambda (message)
            (primitive-_exit 0)))))
