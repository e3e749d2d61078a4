;;; Gorget --- tells what went wrong in evaluated code.
;;; SPDX-License-Identifier: GPL-3.0-or-later

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
       '("ice-9/" "srfi/" "system/" "guix/store.scm" "guix/monads.scm"
         "/run/gorget/" "/gorget/sources/" "gorget/sources/")))

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
