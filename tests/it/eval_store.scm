;; Prints, a line each, what a store daemon has to answer: computed by Guix, without a store.
(use-modules (gcrypt hash)
             (guix derivations)
             (guix serialization)
             (guix store)
             (ice-9 match)
             (srfi srfi-71)
             (rnrs bytevectors))

(define make-derivation (@@ (guix derivations) make-derivation))
(define make-output (@@ (guix derivations) make-derivation-output))
(define make-input (@@ (guix derivations) make-derivation-input))
(define derivation-hash (@@ (guix derivations) derivation-hash))

(define (tell . values)
  (for-each (lambda (value) (write value) (newline)) values))

(define (text-path name contents . references)
  (store-path (string-join (cons "text" references) ":") (sha256 (string->utf8 contents)) name))

(define (derivation-text drv)
  (call-with-output-string (lambda (port) (write-derivation drv port))))

(define (finish name drv references)
  "Return DRV with its output's path, and its own file name, which follows from REFERENCES."
  (match drv
    (($ (@@ (guix derivations) <derivation>) _ inputs sources system builder arguments variables)
     (let* ((path (output-path "out" (derivation-hash drv) name))
            (variables (map (match-lambda
                              (("out" . _) (cons "out" path))
                              (variable variable))
                            variables))
            (make (lambda (file)
                    (make-derivation (list (cons "out" (make-output path #f #f #f)))
                                     inputs sources system builder arguments variables file)))
            (text (derivation-text (make #f))))
       (make (apply text-path (string-append name ".drv") text references))))))

(define builder "(mkdir (getenv \"out\")) ; \"quoted\" \\ and\nmore λ\n")
(define builder-path (text-path "builder" builder))
(define referring (text-path "referring" "x" builder-path))

(define tree "/gorget/tree")
(define tree-hash
  (let ((port get (open-sha256-port)))
    (write-file tree port)
    (force-output port)
    (get)))
(define tree-path (fixed-output-path "tree" tree-hash))
(define flat-path
  (fixed-output-path "flat" (sha256 (string->utf8 "flat\n")) #:recursive? #f))

(define first
  (finish "first"
          (make-derivation (list (cons "out" (make-output "" #f #f #f)))
                           '() (list builder-path) "x86_64-linux" "/bin/sh" (list builder-path)
                           '(("a" . "1\t\"2\"") ("out" . "")) #f)
          (list builder-path)))

(define second
  (let ((sources (sort (list builder-path tree-path) string<?)))
    (finish "second"
            (make-derivation (list (cons "out" (make-output "" #f #f #f)))
                             (list (make-input first '("out"))) sources "i686-linux" "/bin/sh" '()
                             `(("input" . ,(derivation->output-path first)) ("out" . "")) #f)
            (sort (cons (derivation-file-name first) sources) string<?))))

(tell builder builder-path referring tree-path flat-path
      (derivation-text first) (derivation-file-name first) (derivation->output-path first)
      (derivation-text second) (derivation-file-name second) (derivation->output-path second))
