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
         ;; Accessors of records are syntax that stands for a procedure; 'eval' returns the
         ;; procedure.
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

;; The file that was last not found on a search path.  Code that goes on without it often fails with
;; a message that does not name it.
(define missing-file #f)

(let* ((variable (module-variable (resolve-module '(guile)) 'search-path))
       (search   (variable-ref variable)))
  (variable-set! variable
                 (lambda (path file . rest)
                   (let ((found (apply search path file rest)))
                     (unless found
                       (set! missing-file file))
                     found))))

(define (about-missing-file key args)
  "Return what to add to a message when KEY and ARGS say that #f was taken for a file name."
  (match (cons key args)
    (('wrong-type-arg _ _ _ (#f) . _)
     (if (string? missing-file)
         (string-append " (there is no file " missing-file ")")
         ""))
    (_ "")))

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
        ((eq? key 'quit) (if (string-contains text "unknown package") 'unknown-package 'exit))
        ((eq? key 'stack-overflow) 'stack-overflow)
        ((eq? key 'out-of-memory) 'memory)
        ((string-contains text "a build was asked for while evaluating") 'build)
        ((string-contains text "no code for module") 'missing-module)
        (else 'exception)))

(define (error-in said)
  "Return the last error in SAID, which Guix printed before it exited, with what follows it, or #f.
Warnings about anything else come before it."
  (let loop ((lines (string-split said #\newline)) (found #f))
    (match lines
      (() (and found (string-trim-both (string-join found "\n"))))
      ((line . rest)
       (loop rest (if (string-contains line "error: ") lines found))))))

(define (cause-and-text key args said)
  "Return the cause, a symbol, and the text of an exception before which Guix printed SAID."
  (if (eq? key 'quit)
      (let ((text (or (error-in said)
                      (if (string-null? said) (object->string (cons 'exit args)) said))))
        (values (exception-cause key args text) text))
      (let ((text (string-append (exception-text key args) (about-missing-file key args))))
        (values (exception-cause key args text) text))))

(define said-before '(#f . 0))

(define (said-since-last-time)
  "Return what Guix printed as warnings and errors since this was last called."
  (let* ((port (and=> (optional-binding '(guix diagnostics) 'guix-warning-port)
                      (lambda (warning-port) (warning-port))))
         (said (or (false-if-exception (get-output-string port)) ""))
         (from (match said-before
                 ((before . size) (if (eq? port before) size 0)))))
    (set! said-before (cons port (string-length said)))
    (string-trim-both (string-drop said from))))

;; Hints about what cannot work here, and what to do instead.
(define %network-hint
  "\nhint: an evaluation has no network: name a version and its hash in the origin of a package, or a \
file of the channel")
(define %inferior-hint
  "\nhint: an evaluation has neither a network nor a daemon to fetch and build another Guix with: \
have a spec of its own for what is to come from that")

(define (hint-about key text stack)
  "Return a hint about an exception that was raised where STACK says, or an empty text."
  (cond ((and stack (mentions-file? stack "guix/inferior.scm")) %inferior-hint)
        ((or (memq key '(getaddrinfo-error git-error gnutls-error tls-certificate-error))
             (string-contains text "getaddrinfo"))
         %network-hint)
        (else "")))

(define (mentions-file? stack name)
  "Whether a frame of STACK is code of the file NAME."
  (let loop ((index 0))
    (and (< index (stack-length stack))
         (or (match (frame-source (stack-ref stack index))
               ((_ (? string? file) . _) (string-suffix? name file))
               (_ #f))
             (loop (+ index 1))))))

(define (uninteresting-file? file)
  (any (lambda (prefix) (string-contains file prefix))
       '("ice-9/" "srfi/" "system/" "guix/store.scm" "guix/monads.scm"
         "/run/gorget/" "/gorget/sources/" "gorget/sources/")))

;; The package that was lowered last.  It says where to look when the code that failed is
;; interpreted, because frames of such code have no location.
(define lowering #f)

(define (interpreted-module frame)
  "Return the text of the name of the module whose source FRAME interprets, or #f."
  (let loop ((environment (match (frame-arguments frame)
                            ((environment) environment)
                            (_ #f))))
    (cond ((module? environment)
           (match (module-name environment)
             ((or ('guile) ('guile-user)) #f)
             ;; An anonymous module gets a name that begins with a blank.
             (((? symbol? word) . _)
              (and (not (string-prefix? " " (symbol->string word)))
                   (object->string (module-name environment))))
             (_ #f)))
          ((and (vector? environment) (> (vector-length environment) 0))
           (loop (vector-ref environment 0)))
          (else #f))))

(define (stack-location stack)
  "Return \"FILE:LINE\" of the innermost frame of STACK that is not Guile's own, or the name of the
module when its source is interpreted, or #f."
  (let loop ((index 0))
    (and (< index (stack-length stack))
         (let ((frame (stack-ref stack index)))
           (match (frame-source frame)
             ((_ (? string? file) line . _)
              (cond ((not (uninteresting-file? file))
                     (string-append file ":" (number->string (+ line 1))))
                    ((and (string-contains file "ice-9/eval.scm") (interpreted-module frame)))
                    (else (loop (+ index 1)))))
             (_ (loop (+ index 1))))))))

(define (package-text package)
  "Return where PACKAGE is defined, as \"FILE:LINE\", or #f."
  (let ((where (false-if-exception ((optional-binding '(guix packages) 'package-location) package)))
        (field (lambda (name) (optional-binding '(guix diagnostics) name))))
    (and where
         (string-append ((field 'location-file) where) ":"
                        (number->string ((field 'location-line) where))))))

(define (about-package package message)
  "Return MESSAGE with which PACKAGE, unless that is #f, it is about: there may be several of a name."
  (define name
    (and package
         (false-if-exception ((optional-binding '(guix packages) 'package-full-name) package))))
  (define where
    (and package (package-text package)))

  (cond ((not name) message)
        ((not where) (string-append name ": " message))
        ((string-prefix? (string-append where ": ") message)
         (string-append name " at " message))
        (else (string-append name " at " where ": " message))))

(define (best-location frame)
  "Return FRAME, a location, unless that is in Guix's own machinery and the package is known."
  (or (and lowering
           (or (not frame) (string-prefix? "guix/" frame) (string-prefix? "(" frame))
           (false-if-exception (package-text lowering)))
      frame))

(define (call-with-diagnosis thunk failed)
  "Return what THUNK returns.  When it raises anything, return what FAILED returns for the cause,
a symbol, and the message."
  (define said (open-output-string))
  (define location #f)
  (define stack #f)

  (set! missing-file #f)
  (catch #t
    (lambda ()
      (let ((warning-port (optional-binding '(guix diagnostics) 'guix-warning-port)))
        (if warning-port
            (parameterize ((warning-port said)) (thunk))
            (thunk))))
    (lambda (key . args)
      (call-with-values
          (lambda () (cause-and-text key args (string-trim-both (get-output-string said))))
        (lambda (cause text)
          (let ((location (best-location location)))
            (failed cause
                    (shorten (string-append (if location (string-append location ": ") "")
                                            text
                                            (hint-about key text stack))))))))
    (lambda _
      (false-if-exception
       (begin
         (set! stack (make-stack #t))
         (set! location (stack-location stack)))))))
