;;; Gorget as a service of Guix System.

(define-module (gorget services)
  #:use-module (gnu packages admin)
  #:use-module (gnu packages package-management)
  #:use-module (gnu packages version-control)
  #:use-module (gnu packages virtualization)
  #:use-module (gnu services)
  #:use-module (gnu services admin)
  #:use-module (gnu services shepherd)
  #:use-module (gnu system shadow)
  #:use-module (gorget packages)
  #:use-module (guix gexp)
  #:use-module (guix records)
  #:use-module (ice-9 match)
  #:export (gorget-configuration
            gorget-configuration?
            gorget-configuration-gorget
            gorget-configuration-guix
            gorget-configuration-role
            gorget-configuration-host
            gorget-configuration-port
            gorget-configuration-state-directory
            gorget-configuration-specs
            gorget-configuration-settings
            gorget-configuration-log-file
            gorget-configuration-environment-variables
            gorget-service-type))

(define-record-type* <gorget-configuration>
  gorget-configuration make-gorget-configuration
  gorget-configuration?
  (gorget          gorget-configuration-gorget          ;package
                   (default gorget))
  (guix            gorget-configuration-guix            ;package
                   (default guix))
  (role            gorget-configuration-role            ;"evaluate", "schedule" or #f for both
                   (default #f))
  (host            gorget-configuration-host            ;IPv4 address to serve at
                   (default "127.0.0.1"))
  (port            gorget-configuration-port            ;integer
                   (default 8080))
  (state-directory gorget-configuration-state-directory ;string
                   (default "/var/lib/gorget"))
  (specs           gorget-configuration-specs           ;list of pairs of name and file-like object
                   (default '()))
  (settings        gorget-configuration-settings        ;string, the rest of gorget.toml
                   (default ""))
  (log-file        gorget-configuration-log-file        ;string
                   (default "/var/log/gorget.log"))
  (environment-variables gorget-configuration-environment-variables ;list of strings
                         (default '())))

(define (specs-directory specs)
  "Return a directory with SPECS, each under its name."
  (file-union "gorget-specs"
              (map (match-lambda
                     ((name . file) (list (string-append name ".toml") file)))
                   specs)))

(define (gorget-configuration->file config)
  "Return gorget.toml for CONFIG."
  (match-record config <gorget-configuration> (state-directory specs settings)
    (mixed-text-file "gorget.toml"
                     "state = \"" state-directory "\"\n"
                     "specs = \"" (specs-directory specs) "\"\n"
                     settings "\n")))

(define (gorget-shepherd-service config)
  (match-record config <gorget-configuration>
      (gorget guix role host port state-directory log-file environment-variables)
    (let ((file (gorget-configuration->file config))
          (serves? (not (equal? role "evaluate"))))
      (define command
        #~(list #$(file-append gorget "/bin/gorget") "run" "--config" #$file
                #$@(if role (list "--role" role) '())))
      (define environment
        #~(list (string-append "PATH=" #$(file-append guix "/bin") ":" #$(file-append git-minimal "/bin") ":"
                               #$(file-append bubblewrap "/bin") ":/run/current-system/profile/bin")
                (string-append "HOME=" #$state-directory)
                "LC_ALL=C.UTF-8"
                "SSL_CERT_DIR=/etc/ssl/certs"
                "GIT_SSL_CAINFO=/etc/ssl/certs/ca-certificates.crt"
                #$@environment-variables))
      (list
       (shepherd-service
        (documentation "Run Gorget.")
        (provision '(gorget))
        (requirement '(user-processes networking guix-daemon))
        (start
         (if serves?
             ;; The Shepherd listens, so requests wait while Gorget restarts.
             #~(make-systemd-constructor
                #$command
                (list (endpoint (make-socket-address AF_INET (inet-pton AF_INET #$host) #$port)
                                #:name "gorget"))
                #:lazy-start? #f
                #:user "gorget" #:group "gorget"
                #:directory #$state-directory
                #:environment-variables #$environment
                #:log-file #$log-file)
             #~(make-forkexec-constructor
                #$command
                #:user "gorget" #:group "gorget"
                #:directory #$state-directory
                #:environment-variables #$environment
                #:log-file #$log-file)))
        (stop (if serves? #~(make-systemd-destructor) #~(make-kill-destructor)))
        (actions (list (shepherd-configuration-action file))))))))

(define (gorget-accounts config)
  (list (user-group (name "gorget") (system? #t))
        (user-account
         (name "gorget")
         (group "gorget")
         (system? #t)
         (comment "Gorget")
         (home-directory (gorget-configuration-state-directory config))
         (create-home-directory? #f)
         (shell (file-append shadow "/sbin/nologin")))))

(define (gorget-activation config)
  "Make the state directory. Others can go through it, and not list it."
  (with-imported-modules '((guix build utils))
    #~(begin
        (use-modules (guix build utils))
        (let ((directory #$(gorget-configuration-state-directory config))
              (user (getpwnam "gorget")))
          (mkdir-p directory)
          (chown directory (passwd:uid user) (passwd:gid user))
          (chmod directory #o711)))))

(define gorget-service-type
  (service-type
   (name 'gorget)
   (extensions
    (list (service-extension shepherd-root-service-type gorget-shepherd-service)
          (service-extension account-service-type gorget-accounts)
          (service-extension activation-service-type gorget-activation)
          ;; For `gorget status` and its like.
          (service-extension profile-service-type
                             (compose list gorget-configuration-gorget))))
   (default-value (gorget-configuration))
   (description "Run Gorget, the evaluator and scheduler of a Guix build farm.")))
