;;; Prints facts about the installed Guix, one per line.  Run by 'guix repl'.

(use-modules (guix config) (srfi srfi-1))

(define (fact name . values)
  (display name)
  (for-each (lambda (value) (display "\t") (display value)) values)
  (newline))

(define (about name)
  (or (assq-ref %guile-build-info name) ""))

(define (executable? file)
  (access? file X_OK))

(define guile
  ;; Not /proc/self/exe: that can be a launcher that ignores GUILE_LOAD_PATH.
  (find executable?
        (append-map (lambda (directory)
                      (list (string-append directory "/guile-" (effective-version))
                            (string-append directory "/guile")))
                    (list (about 'bindir)
                          (string-append (about 'libdir) "/guile/" (effective-version) "/bin")))))

(define (without-suffix file suffix)
  (and file (string-drop-right file (+ 1 (string-length suffix)))))

(fact "guile" (if guile (canonicalize-path guile) ""))
(fact "guile-version" (version))
(fact "guile-build" (about 'packager-version) (about 'buildstamp) %host-type)
(fact "guix-version" %guix-version)
(fact "sources" (or (without-suffix (search-path %load-path "guix/packages.scm") "guix/packages.scm") ""))
(fact "compiled"
      (or (without-suffix (search-path %load-compiled-path "guix/packages.go") "guix/packages.go") ""))
(fact "config" (or (search-path %load-path "guix/config.scm") "")
      (or (search-path %load-compiled-path "guix/config.go") ""))
(fact "guile-sources" (%library-dir))
(fact "guile-compiled" (about 'ccachedir))
(apply fact "load-path" %load-path)
(apply fact "load-compiled-path" %load-compiled-path)
(apply fact "core" (module-map (lambda (name variable) name) (resolve-interface '(guile))))
