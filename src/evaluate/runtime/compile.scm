;;; Compiles the modules that a request names, each in a process of its own.

(use-modules (ice-9 match) (srfi srfi-1)
             (system base compile) (system base message) (language tree-il optimize))

(define out "/gorget/out/")

(define (optional module name)
  (false-if-exception (module-ref (resolve-interface module) name)))

(define across-modules
  ;; What would put a piece of one module into the compiled form of another, or hide its names.
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

(define (say-and-exit file key args)
  (false-if-exception
   (call-with-output-file file
     (lambda (port)
       (print-exception port #f key args))))
  (primitive-_exit 1))

(define (compile-one number source level memory seconds)
  (setrlimit 'as memory memory)
  (setrlimit 'cpu seconds seconds)
  (setrlimit 'fsize (expt 2 28) (expt 2 28))
  (catch #t
    (lambda ()
      (compile-file source #:output-file (string-append out number ".go") #:opts (options level))
      (primitive-_exit 0))
    (lambda (key . args)
      (say-and-exit (string-append out number ".error") key args))))

(define (compile-all files jobs memory seconds)
  (let loop ((files files) (running 0))
    (cond ((and (pair? files) (< running jobs))
           (match (car files)
             ((number source level)
              (when (zero? (primitive-fork))
                (compile-one number source level memory seconds))))
           (loop (cdr files) (+ running 1)))
          ((> running 0)
           (waitpid WAIT_ANY)
           (loop files (- running 1))))))

(define culprit "/tmp/culprit")

(define (load-or-exit files)
  "Load FILES; when one cannot be loaded, note its name and exit with code 3."
  (for-each (lambda (file)
              (catch #t
                (lambda ()
                  (resolve-interface (module-name file)))
                (lambda (key . args)
                  (call-with-output-file culprit
                    (lambda (port)
                      (write file port)))
                  (call-with-output-file (string-append out "unloaded")
                    (lambda (port)
                      (format port "cannot load ~a: " file)
                      (print-exception port #f key args)))
                  (primitive-_exit 3))))
            files))

(define (call-with-loaded files patience proc)
  "Call PROC in a process in which FILES are loaded, but for PATIENCE of them at most that cannot be.
A module that is loaded in part would spoil what is compiled after it, so every few modules a new
process goes on, and the old one stays to try again without the culprit."
  (if (null? files)
      (proc)
      (let try ((few (take files (min 16 (length files)))) (patience patience))
        (match (primitive-fork)
          (0
           (load-or-exit few)
           (call-with-loaded (drop files (min 16 (length files))) patience proc)
           (primitive-_exit 0))
          (pid
           (when (and (eqv? 3 (status:exit-val (cdr (waitpid pid))))
                      (> patience 0))
             (try (delete (call-with-input-file culprit read) few) (- patience 1))))))))

(match (call-with-input-file (last (command-line)) read)
  ((preload files jobs memory seconds)
   (and=> (optional '(system base compile) 'default-warning-level) (lambda (level) (level 0)))
   (compile #f)
   (call-with-loaded preload 8 (lambda () (compile-all files jobs memory seconds)))))
