;;; The least that computing derivations takes with Guix alone: each public package is lowered, one after the
;;; other.  Says on standard error "loop", how many packages that were, and the CPU in ms from start to end.
;;; Usage: guix repl -- loop.scm SYSTEM
;;; SPDX-License-Identifier: GPL-3.0-or-later

(use-modules (gnu packages) (guix grafts) (guix packages) (guix store) (ice-9 match) (srfi srfi-1))

(define (lower store package system)
  "Return 1 when PACKAGE has a derivation for SYSTEM, else 0."
  (catch #t
    (lambda ()
      (package-derivation store package system #:graft? #f)
      1)
    (const 0)))

(match (last (command-line))
  (system
   (%graft? #f)
   (let ((count (with-store store
                  (fold-packages (lambda (package count)
                                   (+ count (lower store package system)))
                                 0))))
     (format (current-error-port) "loop ~a ~a~%" count
             (quotient (* 1000 (get-internal-run-time)) internal-time-units-per-second)))))
