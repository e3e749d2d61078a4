;;; Gorget --- makes derivations faster, with the same results.
;;; SPDX-License-Identifier: GPL-3.0-or-later
;;;
;;; More than a third of the time of an evaluation goes into '(guix derivations)': each derivation
;;; is written out two or three times, piece by piece.  Here the facts about an input (its place in
;;; the order, its text) are kept, and texts are assembled from whole pieces.
;;;
;;; This replaces procedures of Guix, so it is used only where their source is the same as when it
;;; was written: see 'overrides.scm'.  The store also refuses derivations with wrong output paths.

(define-module (gorget derivations)
  #:use-module (rnrs bytevectors)
  #:use-module ((srfi srfi-1) #:select (every filter-map))
  #:export (make-derivation-maker))

(include "buffer.scm")

(define (taken start)
  "Return what was put since START, and forget it."
  (let ((bytes (make-bytevector (- size start))))
    (bytevector-copy! buffer start bytes 0 (- size start))
    (set! size start)
    bytes))

(define (put-string! string)
  "Put STRING as the ATerm form of derivations has it."
  (let* ((bytes (string->utf8 string))
         (count (bytevector-length bytes)))
    (reserve! (+ 2 (* 2 count)))
    (let ((buffer buffer))
      (bytevector-u8-set! buffer size 34)
      (let loop ((from 0) (to (+ size 1)))
        (if (= from count)
            (begin
              (bytevector-u8-set! buffer to 34)
              (set! size (+ to 1)))
            (let* ((byte   (bytevector-u8-ref bytes from))
                   (letter (cond ((= byte 34) 34)
                                 ((= byte 92) 92)
                                 ((> byte 13) #f)
                                 ((= byte 10) 110)
                                 ((= byte 13) 114)
                                 ((= byte 9) 116)
                                 (else #f))))
              (if letter
                  (begin
                    (bytevector-u8-set! buffer to 92)
                    (bytevector-u8-set! buffer (+ to 1) letter)
                    (loop (+ from 1) (+ to 2)))
                  (begin
                    (bytevector-u8-set! buffer to byte)
                    (loop (+ from 1) (+ to 1))))))))))

(define-syntax-rule (put-list! list put-item!)
  "Put the items of LIST in brackets, separated by commas."
  (begin
    (put-byte! 91)
    (let loop ((items list) (first? #t))
      (unless (null? items)
        (unless first?
          (put-byte! 44))
        (put-item! (car items))
        (loop (cdr items) #f)))
    (put-byte! 93)))

(define (put-strings! strings)
  (put-list! strings put-string!))

(define (put-input! name outputs)
  (put! #vu8(40 34))
  (put! (string->utf8 name))
  (put! #vu8(34 44))
  (put-strings! outputs)
  (put-byte! 41))

(define (leading-number string start)
  "Return a number that orders strings as the seven characters of STRING from START do."
  (let loop ((at start) (number 0))
    (if (= at (+ start 7))
        number
        (loop (+ at 1)
              (+ (* 256 number) (logand 255 (char->integer (string-ref string at))))))))

;; The facts about a derivation that is an input of others.
(define-inlinable (make-facts derivation path rank text class)
  (vector derivation path rank text class #f #f #f))
(define-inlinable (facts-derivation facts) (vector-ref facts 0))
(define-inlinable (facts-path facts) (vector-ref facts 1))       ; its file name
(define-inlinable (facts-rank facts) (vector-ref facts 2))       ; 'leading-number' of that
(define-inlinable (facts-text facts) (vector-ref facts 3))       ; as an input of which "out" is used
(define-inlinable (facts-class facts) (vector-ref facts 4))      ; shared by those with equal output paths
(define-inlinable (facts-hash facts) (vector-ref facts 5))       ; its hash modulo fixed outputs, base 16
(define-inlinable (facts-hash-rank facts) (vector-ref facts 6))
(define-inlinable (facts-hash-text facts) (vector-ref facts 7))

;; An input of the derivation that is being made.
(define-inlinable (make-entry input facts outputs) (vector input facts outputs))
(define-inlinable (entry-input entry) (vector-ref entry 0))
(define-inlinable (entry-facts entry) (vector-ref entry 1))
(define-inlinable (entry-outputs entry) (vector-ref entry 2))

(define (path<? one other)
  (let* ((one   (entry-facts one))
         (other (entry-facts other))
         (rank  (facts-rank one))
         (rank* (facts-rank other)))
    (or (< rank rank*)
        (and (= rank rank*)
             (string<? (facts-path one) (facts-path other))))))

(define (hash<? one other)
  (let* ((one   (entry-facts one))
         (other (entry-facts other))
         (rank  (facts-hash-rank one))
         (rank* (facts-hash-rank other)))
    (or (< rank rank*)
        (and (= rank rank*)
             (string<? (facts-hash one) (facts-hash other))))))

(define (strictly-sorted strings)
  "Return STRINGS sorted, each once."
  (let loop ((rest (sort strings string<?)) (result '()))
    (cond ((null? rest) (reverse! result))
          ((and (pair? result) (string=? (car rest) (car result)))
           (loop (cdr rest) result))
          (else (loop (cdr rest) (cons (car rest) result))))))

(define %known-keywords
  '(#:system #:env-vars #:inputs #:sources #:outputs #:hash #:hash-algo #:recursive?
    #:references-graphs #:allowed-references #:disallowed-references #:leaked-env-vars
    #:local-build? #:substitutable? #:properties))

(define (known-keywords? arguments)
  (or (null? arguments)
      (and (memq (car arguments) %known-keywords)
           (pair? (cdr arguments))
           (known-keywords? (cddr arguments)))))

(define* (make-derivation-maker original #:key
                                <derivation> <derivation-output> <derivation-input>
                                cache sha256 bytevector->base16-string
                                output-path fixed-output-path add)
  "Return a procedure with the results of ORIGINAL, the 'raw-derivation' of Guix; what is unusual is
left to that.  The records are Guix's own, CACHE its table of derivations by file name.  (ADD STORE
NAME BYTES REFERENCES) adds a text to the store."
  (define (reader type field) (record-accessor type field))
  (define make-derivation (record-constructor <derivation>))
  (define make-output (record-constructor <derivation-output>))
  (define make-input (record-constructor <derivation-input>))
  (define input? (record-predicate <derivation-input>))
  (define outputs-of (reader <derivation> 'outputs))
  (define inputs-of (reader <derivation> 'inputs))
  (define sources-of (reader <derivation> 'sources))
  (define system-of (reader <derivation> 'system))
  (define builder-of (reader <derivation> 'builder))
  (define arguments-of (reader <derivation> 'args))
  (define variables-of (reader <derivation> 'env-vars))
  (define file-name-of (reader <derivation> 'file-name))
  (define output-path-of (reader <derivation-output> 'path))
  (define output-algorithm (reader <derivation-output> 'hash-algo))
  (define output-hash (reader <derivation-output> 'hash))
  (define output-recursive? (reader <derivation-output> 'recursive?))
  (define input-derivation (reader <derivation-input> 'drv))
  (define input-outputs (reader <derivation-input> 'sub-derivations))

  (define all-facts (make-hash-table 50000))
  (define classes (make-hash-table 50000))

  (define (algorithm-text algorithm recursive?)
    (if algorithm
        (string-append (if recursive? "r:" "") (symbol->string algorithm))
        ""))

  (define (put-output! output)
    (let ((name   (car output))
          (output (cdr output)))
      (put-byte! 40)
      (put-string! name)
      (put-byte! 44)
      (put-string! (output-path-of output))
      (put-byte! 44)
      (put-string! (algorithm-text (output-algorithm output) (output-recursive? output)))
      (put-byte! 44)
      (put-string! (let ((hash (output-hash output)))
                     (if hash (bytevector->base16-string hash) "")))
      (put-byte! 41)))

  (define (put-variable! variable)
    (put-byte! 40)
    (put-string! (car variable))
    (put-byte! 44)
    (put-string! (cdr variable))
    (put-byte! 41))

  (define usual-outputs '("out"))

  (define (put-entry! entry)
    (let ((facts   (entry-facts entry))
          (outputs (entry-outputs entry)))
      (if (equal? outputs usual-outputs)
          (put! (facts-text facts))
          (put-input! (facts-path facts) outputs))))

  (define (put-masked-entry! entry)
    (let ((facts   (entry-facts entry))
          (outputs (entry-outputs entry)))
      (if (equal? outputs usual-outputs)
          (put! (facts-hash-text facts))
          (put-input! (facts-hash facts) outputs))))

  (define (common-text sources system builder arguments)
    "Return the part that does not depend on how inputs and outputs are called."
    (let ((start size))
      (put-byte! 44)
      (put-strings! sources)
      (put! (string->utf8 (string-append ",\"" system "\",\"" builder "\",")))
      (put-strings! arguments)
      (put-byte! 44)
      (taken start)))

  (define-syntax-rule (text outputs entries put-entry common variables)
    (begin
      (put! #vu8(68 101 114 105 118 101 40))
      (put-list! outputs put-output!)
      (put-byte! 44)
      (put-list! entries put-entry)
      (put! common)
      (put-list! variables put-variable!)
      (put-byte! 41)
      (taken 0)))

  (define (masked-text outputs entries common variables)
    (for-each (lambda (entry)
                (learn-hash! (entry-facts entry)))
              entries)
    (set! size 0)
    (let ((entries (sort entries hash<?)))
      (text outputs entries put-masked-entry! common variables)))

  (define (facts-of derivation)
    (or (hashq-ref all-facts derivation)
        (let* ((path  (file-name-of derivation))
               (start size)
               (_     (put-input! path usual-outputs))
               (text  (taken start))
               (key   (string-join (map (lambda (output)
                                          (output-path-of (cdr output)))
                                        (outputs-of derivation))))
               (class (or (hash-ref classes key)
                          (let ((class (vector 0 #f)))
                            (hash-set! classes key class)
                            class)))
               (rank  (leading-number path (+ 1 (string-rindex path #\/))))
               (facts (make-facts derivation path rank text class)))
          (hashq-set! all-facts derivation facts)
          facts)))

  (define (fixed-text outputs)
    "Return what the hash of a derivation with a fixed output is made from, or #f."
    (and (pair? outputs)
         (null? (cdr outputs))
         (let* ((output     (cdar outputs))
                (algorithm  (output-algorithm output))
                (hash       (output-hash output))
                (recursive? (output-recursive? output)))
           (and (symbol? algorithm) (bytevector? hash) (boolean? recursive?)
                (string->utf8
                 (string-append "fixed:out:" (algorithm-text algorithm recursive?)
                                ":" (bytevector->base16-string hash)
                                ":" (output-path-of output)))))))

  (define (learn-hash! facts)
    (unless (facts-hash facts)
      (let* ((derivation (facts-derivation facts))
             (text (or (fixed-text (outputs-of derivation))
                       (masked-text (outputs-of derivation)
                                    (map entry-of (inputs-of derivation))
                                    (common-text (sources-of derivation)
                                                 (system-of derivation)
                                                 (builder-of derivation)
                                                 (arguments-of derivation))
                                    (variables-of derivation))))
             (hash (bytevector->base16-string (sha256 text))))
        (vector-set! facts 5 hash)
        (vector-set! facts 6 (leading-number hash 0))
        (set! size 0)
        (put-input! hash usual-outputs)
        (vector-set! facts 7 (taken 0)))))

  (define (entry-of input)
    (make-entry input (facts-of (input-derivation input)) (input-outputs input)))

  (define generation 0)

  (define (merged entry other)
    "Return ENTRY with the outputs of OTHER as well, which has the same output paths."
    (let* ((facts   (entry-facts entry))
           (outputs (strictly-sorted (append (entry-outputs other) (entry-outputs entry))))
           (input   (make-input (facts-derivation facts) outputs)))
      (make-entry input facts outputs)))

  (define (entries-of inputs)
    "Return the entries of INPUTS, sorted, those with the same output paths as one."
    (set! generation (+ generation 1))
    (let loop ((inputs inputs) (found '()))
      (if (null? inputs)
          (sort (map (lambda (class) (vector-ref class 1)) found)
                path<?)
          (let* ((entry (entry-of (car inputs)))
                 (class (facts-class (entry-facts entry))))
            (if (= generation (vector-ref class 0))
                (begin
                  (vector-set! class 1 (merged (vector-ref class 1) entry))
                  (loop (cdr inputs) found))
                (begin
                  (vector-set! class 0 generation)
                  (vector-set! class 1 entry)
                  (loop (cdr inputs) (cons class found))))))))

  (define (with-outputs-last variables outputs)
    "Return VARIABLES with an empty one for each of OUTPUTS."
    (append (map (lambda (variable)
                   (if (member (car variable) outputs)
                       (cons (car variable) "")
                       variable))
                 variables)
            (filter-map (lambda (output)
                          (and (not (assoc output variables))
                               (cons output "")))
                        outputs)))

  (define (with-paths variables outputs)
    (map (lambda (variable)
           (let ((output (assoc (car variable) outputs)))
             (if output
                 (cons (car variable) (output-path-of (cdr output)))
                 variable)))
         variables))

  (define (remember derivation file)
    (or (hash-ref cache file)
        (begin
          (hash-set! cache file derivation)
          derivation)))

  (define (make store name system builder arguments inputs sources outputs variables
                hash algorithm recursive?)
    (let* ((names     (sort outputs string<?))
           (sources   (strictly-sorted sources))
           (entries   (entries-of inputs))
           (variables (sort (with-outputs-last variables names)
                            (lambda (one other) (string<? (car one) (car other)))))
           (common    (begin
                        (set! size 0)
                        (common-text sources system builder arguments)))
           (outputs-with (lambda (path)
                           (map (lambda (output)
                                  (cons output (make-output (path output) algorithm hash recursive?)))
                                names)))
           (outputs   (outputs-with
                       (if hash
                           (lambda (output)
                             (fixed-output-path name hash #:hash-algo algorithm #:output output
                                                #:recursive? recursive?))
                           (let ((hash (sha256 (masked-text (outputs-with (const ""))
                                                            entries common variables))))
                             (lambda (output)
                               (output-path output hash name))))))
           (variables (with-paths variables outputs))
           (bytes     (begin
                        (set! size 0)
                        (text outputs entries put-entry! common variables)))
           (paths     (map (lambda (entry) (facts-path (entry-facts entry))) entries))
           (file      (add store (string-append name ".drv") bytes
                           (merge paths sources string<?))))
      (remember (make-derivation outputs (map entry-input entries) sources system builder arguments
                                 variables file)
                file)))

  (define* (derivation name builder arguments #:key system (env-vars '()) (inputs '()) (sources '())
                       (outputs '("out")) hash hash-algo recursive? references-graphs
                       allowed-references disallowed-references leaked-env-vars local-build?
                       (substitutable? #t) (properties '())
                       #:allow-other-keys #:rest rest)
    (define (option name value)
      (if value (list (cons name value)) '()))

    (define (words list)
      (and list (string-join list)))

    (if (and system (not references-graphs)
             (every input? inputs) (every string? sources)
             (known-keywords? rest))
        (let ((variables (append (option "preferLocalBuild" (and local-build? "1"))
                                 (option "allowSubstitutes" (and (not substitutable?) "0"))
                                 (option "allowedReferences" (words allowed-references))
                                 (option "disallowedReferences" (words disallowed-references))
                                 (option "impureEnvVars" (words leaked-env-vars))
                                 (option "guix properties"
                                         (and (pair? properties) (object->string properties)))
                                 env-vars)))
          (lambda (store)
            (values (make store name system builder arguments inputs sources outputs variables
                          hash hash-algo recursive?)
                    store)))
        (apply original name builder arguments rest)))

  derivation)
