;;; Gorget --- which files evaluated code can add to the store.
;;; SPDX-License-Identifier: GPL-3.0-or-later
;;;
;;; The sandbox has special directories, which no machine with Guix has: a derivation made from them
;;; would be different there, or fail.  'local-file' with a relative name takes files of the channel
;;; that names them; above the channel's repository, Guix has nothing either.

(define %own-directories
  '("/gorget" "/run/gorget" "/run/store" "/proc" "/dev"))

(define (below? directory file)
  (or (string=? directory "/")
      (string=? directory file)
      (string-prefix? (string-append directory "/") file)))

(define (repository file)
  "Return the top of the channel's repository that has FILE, an absolute file name, or #f."
  (any (match-lambda
         ((_ top _) (and (below? top file) top)))
       channels))

(define (refuse-own-file file)
  "Raise an error if FILE is not for evaluated code to take."
  (let ((file (false-if-exception (canonicalize-path file))))
    (when (and file
               (not (repository file))
               (any (lambda (own)
                      (or (below? own file) (below? file own)))
                    %own-directories))
      (error (string-append file " is a directory or file of the sandbox, not of a channel\n\
hint: above a channel's repository there is nothing to add to the store")))))

(define (refuse-own-files tree)
  "Raise an error if TREE, as 'add-file-tree-to-store' takes it, has what is not for evaluated code."
  (match tree
    ((_ 'directory entries ...)
     (for-each refuse-own-files entries))
    ((_ _ ('file file))
     (refuse-own-file file))
    (_ #t)))

(define (refuse-foreign-file name file directory)
  "Raise an error if FILE, which NAME leads to from DIRECTORY, is outside of the repository there."
  (let ((top (repository (canonicalize-path directory))))
    (unless (or (not top) (below? top file))
      (error (string-append "the local file \"" name "\" is outside of the channel's repository\n\
hint: relative file names can lead to files of the same repository only")))))

(define (wrap! module name wrapped)
  "Replace the procedure NAME of MODULE by what WRAPPED returns for it, if there is one."
  (let ((variable (module-variable (resolve-module module) name)))
    (when variable
      (variable-set! variable (wrapped (variable-ref variable))))))

(define (refuse-downloads!)
  "Have downloads while evaluating raise an exception: Guix has a package without a source when one fails."
  (wrap! '(guix download) 'download-to-store
         (lambda (download)
           (lambda (store url . rest)
             (or (apply download store url rest)
                 (error (string-append "cannot download " url %network-hint)))))))

(define (refuse-strange-files!)
  "Have Guix refuse files that are the sandbox's own, or not of the repository that they seem to be of."
  ;; Inside the module that defines them, these procedures call each other's originals.
  (wrap! '(guix store) 'add-to-store
         (lambda (add)
           (lambda (server name recursive? algorithm file . rest)
             (refuse-own-file file)
             (apply add server name recursive? algorithm file rest))))
  (wrap! '(guix store) 'interned-file
         (lambda (interned-file)
           (lambda (file . rest)
             (refuse-own-file file)
             (apply interned-file file rest))))
  (wrap! '(guix store) 'add-file-tree-to-store
         (lambda (add)
           (lambda (server tree . rest)
             (refuse-own-files tree)
             (apply add server tree rest))))
  (wrap! '(guix store) 'interned-file-tree
         (lambda (interned-file-tree)
           (lambda (tree . rest)
             (refuse-own-files tree)
             (apply interned-file-tree tree rest))))
  (wrap! '(guix gexp) 'absolute-file-name
         (lambda (absolute-file-name)
           (lambda (name directory)
             (let ((file (absolute-file-name name directory)))
               (when (and directory
                          (string-prefix? "/" directory)
                          (not (string-prefix? "/" name)))
                 (refuse-foreign-file name file directory))
               file)))))
