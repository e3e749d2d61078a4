;;; Gorget --- the connection to the evaluation store.
;;; SPDX-License-Identifier: GPL-3.0-or-later
;;;
;;; Nearly all requests of Guix add texts.  'add-data-to-store' and related procedures are replaced
;;; by procedures that do not wait for the answer; every other request waits for all open answers.

(define %store-uri "unix:///run/store")

(define store #f)

;; Waits until the store has taken all texts.
(define wait-for-store (const #t))

;; What the store refused since the results were last sent: (UNIT . MESSAGE).
(define refusals '())

(define (move-port! port new)
  "Make PORT, which a fork inherited, use the connection of NEW, which is then closed."
  (dup2 (fileno new) (fileno port))
  (close-port new))

;; Whether a request to the store was begun and not ended.
(define half-said? (const #f))

;; Makes Guix write the parts of requests that it has buffered.
(define flush-requests (const #t))

(define (mend-connection!)
  "Begin a new connection to the store if an exception left a request half said: what follows would be
taken for the rest of it."
  (when (half-said?)
    (let ((port    (store-connection-socket store))
          (nowhere (open-output-file "/dev/null")))
      (move-port! port nowhere)
      (flush-requests)
      (move-port! port (store-connection-socket (open-connection %store-uri))))))

(define (waiting-connection connection)
  "Return a connection like CONNECTION that waits for open answers before each request."
  (define type (record-type-descriptor connection))
  (define (field name) ((record-accessor type name) connection))
  (define output (field 'buffer))
  (define flush (field 'flush))
  (define begun? #f)

  (define (flush-in-turn)
    (wait-for-store)
    (force-output output)
    (flush)
    (set! begun? #f))

  (define output-in-turn
    (make-custom-binary-output-port "in turn"
                                    (lambda (bytes start count)
                                      (wait-for-store)
                                      (set! begun? #t)
                                      (put-bytevector output bytes start count)
                                      count)
                                    #f #f #f))

  (set! half-said? (lambda ()
                     (force-output output-in-turn)
                     begun?))
  (set! flush-requests flush-in-turn)
  (apply (record-constructor type)
         (map (lambda (name)
                (case name
                  ((buffer) output-in-turn)
                  ((flush) flush-in-turn)
                  (else (field name))))
              (record-type-fields type))))

(define (add-texts-without-waiting!)
  "Replace STORE, and what Guix adds texts with."
  (define add-and-wait add-data-to-store)
  (define port (store-connection-socket store))

  ;; The promise behind these keeps the connection as it is now, so it is forced first.
  (built-in-builders store)
  (set! store (waiting-connection store))
  (call-with-values
      (lambda ()
        (make-pipeline port
                       #:sha256 sha256
                       #:store-path store-path
                       #:add-and-wait (lambda (name bytes references)
                                        (add-and-wait store name bytes references))
                       #:owner? evaluator?
                       #:mark (lambda () evaluating)
                       #:refused (lambda (unit message)
                                   (set! refusals (acons unit message refusals)))))
    (lambda (add-later wait)
      (define* (add server name bytes #:optional (references '()))
        (cond ((not (eq? port (store-connection-socket server)))
               (wait)
               (add-and-wait server name bytes references))
              ((evaluator?) (add-later name bytes references))
              (else (leave-unless-evaluator))))

      (set! wait-for-store wait)
      (make-derivations-faster! add)
      (replace! '(guix store) 'add-data-to-store add)
      (replace! '(guix store) 'add-text-to-store
                (lambda* (server name text #:optional (references '()))
                  (add server name (string->utf8 text) references)))
      (replace! '(guix store) 'text-file
                (lambda* (name text #:optional (references '()))
                  (lambda (server)
                    (values (add server name (string->utf8 text) references)
                            server)))))))

(define (connect-to-store)
  "Connect to the store, so that nothing waits for it where this Guix permits that."
  (set! store (open-connection %store-uri))
  (when (and (optional-binding '(guix store) 'add-data-to-store)
             (optional-binding '(guix store) 'built-in-builders)
             (every (lambda (field)
                      (memq field (record-type-fields (record-type-descriptor store))))
                    '(buffer flush)))
    (add-texts-without-waiting!)))
