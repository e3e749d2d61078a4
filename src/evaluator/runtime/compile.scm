;;; Compiles the modules that a request names, each in a process of its own.

(use-modules (ice-9 binary-ports) (ice-9 match) (srfi srfi-1) (srfi srfi-11)
             (system base compile) (system base message) (language tree-il optimize))

(define out "/tmp/")

(define (hand-over kind name write)
  "Have Gorget take a result: of this KIND, of the module with this number, what WRITE writes to a port.
Only memory can be written to in here."
  (let ((port (socket AF_UNIX SOCK_STREAM 0)))
    (connect port AF_UNIX "/gorget/results")
    (format port "~a ~a~%" kind name)
    (write port)
    (close-port port)))

(define (copy-of file)
  "A procedure that writes the contents of FILE to a port, and deletes it."
  (lambda (to)
    (call-with-input-file file
      (lambda (from)
        (let loop ()
          (match (get-bytevector-n from 65536)
            ((? eof-object?) (delete-file file))
            (bytes (put-bytevector to bytes) (loop)))))
      #:binary #t)))

(define (optional module name)
  (false-if-exception (module-ref (resolve-interface module) name)))

(define across-modules
  ;; Optimizations that put a piece of one module into the compiled form of another, or hide its
  ;; names.
  '(#:inlinable-exports? #:resolve-free-vars? #:cross-module-inlining? #:seal-private-bindings?))

(define (options level)
  "Return the optimizations of LEVEL as far as they stay within a module."
  (let loop ((options ((or (optional '(system base optimize) 'optimizations-for-level) (const '())) level)))
    (match options
      (() '())
      ((name value . rest)
       (cons* name
              (and value (not (memq name across-modules)) (not (and (= level 2) (eq? name #:letrectify?))))
              (loop rest))))))

(define (module-name file)
  (map string->symbol (string-split (string-drop-right file (string-length ".scm")) #\/)))

(define (say-and-exit number key args)
  (false-if-exception
   (hand-over 'failed number
     (lambda (port)
       (print-exception port #f key args))))
  (primitive-_exit 1))

(define (compile-one number file source level seconds)
  (setrlimit 'cpu seconds seconds)
  ;; Guile looks for included files in this directory, as in Guix's own build.
  (false-if-exception (chdir (string-drop-right source (string-length file))))
  (let ((compiled (string-append out number ".go")))
    (catch #t
      (lambda ()
        (compile-file source #:output-file compiled #:opts (options level))
        (hand-over 'compiled number (copy-of compiled))
        (primitive-_exit 0))
      (lambda (key . args)
        (say-and-exit number key args)))))

(define (take-slot slots)
  (read-char (car slots)))

(define (give-slot slots)
  (write-char #\. (cdr slots)))

(define (in-process thunk)
  "Call THUNK in a process of its own, and return its number."
  (match (primitive-fork)
    (0 (thunk) (primitive-_exit 0))
    (pid pid)))

(define (compile-each files slots seconds)
  "Compile FILES one after the other, each as soon as one of SLOTS is free."
  (for-each (match-lambda
              ((number file source level)
               (take-slot slots)
               (waitpid (in-process (lambda () (compile-one number file source level seconds))))
               (give-slot slots)))
            files))

(define (load-or-exit files loaded)
  "Load FILES and write `ok' to the port LOADED; when one cannot be loaded, write its number and exit."
  (for-each (match-lambda
              ((number file . _)
               (catch #t
                 (lambda ()
                   (resolve-interface (module-name file)))
                 (lambda (key . args)
                   (false-if-exception
                    (hand-over 'unloaded number
                      (lambda (port)
                        (format port "cannot load ~a: " file)
                        (print-exception port #f key args))))
                   (write number loaded)
                   (close-port loaded)
                   (primitive-_exit 3)))))
            files)
  (write 'ok loaded)
  (close-port loaded))

(define (load-and-compile files patience slots ahead compile)
  "Load FILES, but for PATIENCE of them at most that cannot be, and COMPILE them, a few at a time, as
soon as they are loaded.  Loading takes one of SLOTS, which is given back at its end and while as
many batches wait to be compiled as AHEAD allows: each holds a copy of all that is loaded.
A module that is loaded in part would spoil what is compiled after it, so every few modules a new
process goes on; the old one tries again without the culprit, or ends."
  (if (null? files)
      (give-slot slots)
      (let-values (((few rest) (split-at files (min 16 (length files)))))
        (define (go-on loadable patience loaded)
          (load-or-exit loadable loaded)
          (give-slot slots)
          (take-slot ahead)
          (take-slot slots)
          (in-process (lambda () (compile few) (give-slot ahead)))
          (load-and-compile rest patience slots ahead compile))
        (let try ((loadable few) (patience patience))
          (match (pipe)
            ((from . to)
             (in-process (lambda () (close-port from) (go-on loadable patience to)))
             (close-port to)
             (let ((said (read from)))
               (close-port from)
               (cond ((eq? said 'ok) #t)
                     ((and (number-of said) (> patience 0))
                      (try (alist-delete (number-of said) loadable) (- patience 1)))
                     (else (give-slot slots))))))))))

(define (number-of said)
  "The number of the module that could not be loaded, as requests write it."
  (and (string? said) said))

(define (compile-all)
  (match (call-with-input-file (last (command-line)) read)
    ((files jobs seconds)
     (and=> (optional '(system base compile) 'default-warning-level) (lambda (level) (level 0)))
     (compile #f)
     ;; An error in (guix gexp) is reported for the modules that need it.
     (when (may-read-without-locations?)
       (false-if-exception (read-gexps-with-locations!)))
     (let ((slots (pipe)) (ahead (pipe)) (ended (pipe)))
       (for-each (lambda (port) (setvbuf port 'none))
                 (list (car slots) (cdr slots) (car ahead) (cdr ahead)))
       (for-each (lambda (_) (give-slot slots)) (iota (- jobs 1)))
       (for-each (lambda (_) (give-slot ahead)) (iota (+ jobs 1)))
       (match files
         ((alone)
          (give-slot slots)
          (compile-each files slots seconds))
         (_
          (load-and-compile files 32 slots ahead
                            (lambda (files) (compile-each files slots seconds)))
          ;; Every process that still works has the other end open: wait for all of them.
          (close-port (cdr ended))
          (read-char (car ended))))))))

