;;; Builds Guix from its channel as 'guix time-machine' does, with the channel's own script.
;;; Arguments: the commit, the channel's URL, how many bytes of memory a process may have.

(use-modules (guix store) (guix derivations) (guix channels) (guix profiles) (ice-9 match))

(define (built-guix instance)
  (with-store store
    (let* ((manifest (run-with-store store (channel-instances->manifest (list instance))))
           (item (match (manifest-entries manifest)
                   ((entry) (manifest-entry-item entry)))))
      (unless (derivation? item)
        (error "the channel's build-aux/build-self.scm gives no derivation" item))
      (build-derivations store (list item))
      (derivation->output-path item))))

(match (command-line)
  ((_ commit url memory)
   (let ((bytes (string->number memory)))
     (setrlimit 'as bytes bytes))
   (let* ((instance (checkout->channel-instance "/gorget/source" #:commit commit #:url url))
          (path (built-guix instance)))
     (format #t "~%~a~%" path))))
