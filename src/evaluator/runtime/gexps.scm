;;; Gorget --- reads gexps with their source locations.
;;; SPDX-License-Identifier: GPL-3.0-or-later
;;;
;;; Since 3.0.8, Guile reads code to compile with 'read-syntax'.  Forms after '#~' and '#$' have a
;;; location only if Guix reads them in the same way, which it does since March 2022.  Compiled with
;;; an older Guix, '#$(local-file "name")' would not know which file it is in, and would look for
;;; the name elsewhere.

(define read-plainly read)

(define (may-read-without-locations?)
  "Whether that may be so with this Guix, by its text alone."
  (let ((file (%search-load-path "guix/gexp.scm")))
    (and file
         (not (string-contains (call-with-input-file file (@ (ice-9 textual-ports) get-string-all))
                               "(set! (@ (guile) read-syntax)")))))

(define (reads-without-locations?)
  "Whether that is so with this Guix, whose (guix gexp) is loaded, and this Guile."
  (let ((variable (module-variable the-scm-module 'read-syntax)))
    (and variable
         (syntax-case (call-with-input-string "#~(x)" (variable-ref variable)) ()
           ;; A form without a location may not be a syntax object either.
           ((_ form) (not (false-if-exception (syntax-source #'form))))
           (_ #f)))))

(define (read-gexps-with-locations!)
  "Replace how Guix reads gexps by how later versions do, if this one is too old for this Guile."
  (resolve-interface '(guix gexp))
  (when (reads-without-locations?)
    (let* ((variable (module-variable the-scm-module 'read-syntax))
           (read-syntax (variable-ref variable))
           (reader (make-parameter read-plainly)))
      ;; The reader returns syntax objects, or data.
      (define (datum object)
        (if (eq? (reader) read-plainly) object (syntax->datum object)))

      (define (in-place-of original datum)
        (if (eq? (reader) read-plainly) datum (datum->syntax original datum)))

      (define (read-gexp char port)
        `(gexp ,((reader) port)))

      (define (read-ungexp one all)
        (lambda (char port)
          (let* ((operator (if (eqv? (peek-char port) #\@)
                               (begin (read-char port) all)
                               one))
                 (form (%read port))
                 (text (and (symbol? (datum form)) (symbol->string (datum form))))
                 (colon (and text (string-rindex text #\:))))
            (if colon
                `(,operator ,(in-place-of form (string->symbol (string-take text colon)))
                            ,(string-drop text (+ colon 1)))
                `(,operator ,form)))))

      (define (%read port)
        ((reader) port))

      (variable-set! variable
                     (lambda (port . rest)
                       (parameterize ((reader read-syntax))
                         (apply read-syntax port rest))))
      (read-hash-extend #\~ read-gexp)
      (read-hash-extend #\$ (read-ungexp 'ungexp 'ungexp-splicing))
      (read-hash-extend #\+ (read-ungexp 'ungexp-native 'ungexp-native-splicing)))))
