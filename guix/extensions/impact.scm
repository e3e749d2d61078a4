;;; `guix impact`: what a change rebuilds. Guix finds this command by GUIX_EXTENSIONS_PATH, which has
;;; the directory of this file.

(define-module (guix extensions impact)
  #:use-module (guix scripts)
  #:use-module (guix ui)
  #:export (guix-impact))

(define-command (guix-impact . arguments)
  (category packaging)
  (synopsis "show what a change to packages rebuilds")

  (catch 'system-error
    (lambda ()
      (apply execlp "gorget" "gorget" "impact" arguments))
    (lambda _
      (report-error (G_ "the program gorget is not on PATH~%"))
      (exit 1))))
