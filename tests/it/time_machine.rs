//! A revision's Guix can be built by a real daemon, by the script that the channel has for that.

use std::path::PathBuf;

use crate::sandboxes::KERNEL;
use crate::support::daemon::Machine;
use crate::support::guix::Tree;
use crate::support::program::{Farm, text};

/// Builds Guix as the installed one with one file of the channel.
const BUILD_SELF: &str = r#"
(use-modules (guix store) (guix monads) (guix derivations) (ice-9 textual-ports))
(define (text file) (call-with-input-file file get-string-all))
(define script "
PATH=/usr/bin:/bin
modules=$out/share/guile/site/3.0
compiled=$out/lib/guile/3.0/site-ccache
mkdir -p $modules $compiled $out/bin
cp -r /usr/share/guile/site/3.0/* $modules/
cp -r /usr/lib/x86_64-linux-gnu/guile/3.0/site-ccache/* $compiled/
cat $less > $modules/gnu/packages/less.scm
HOME=. GUILE_LOAD_PATH=$modules GUILE_LOAD_COMPILED_PATH=$compiled /usr/lib/x86_64-linux-gnu/guix/guile --no-auto-compile -c \"
  ((@ (system base compile) compile-file) \\\"$modules/gnu/packages/less.scm\\\"
   #:output-file \\\"$compiled/gnu/packages/less.go\\\")\"
sed \"s|/usr/share/guile/site/3.0|$modules|; s|/usr/lib/x86_64-linux-gnu/guile/3.0/site-ccache|$compiled|\" \
  $command > $out/bin/guix
chmod 755 $out/bin/guix
echo this Guix is made
")
(lambda* (source #:key version #:allow-other-keys)
  (lambda (store)
    (let* ((shell (add-to-store store "sh" #t "sha256" (canonicalize-path "/bin/sh")))
           (less (add-text-to-store store "less.scm" (text (string-append source "/gnu/packages/less.scm"))))
           (copy (add-text-to-store store "copy" "while IFS= read -r line; do echo \"$line\"; done < /usr/bin/guix > $out" '()))
           (builder (add-text-to-store store "make-guix" script '()))
           (command (derivation store "guix-command" shell (list copy) #:sources (list shell copy))))
      (values (derivation store (string-append "guix-" (string-take version 7)) shell (list builder)
                          #:sources (list shell less builder)
                          #:inputs (list (derivation-input command '("out")))
                          #:env-vars `(("less" . ,less) ("command" . ,(derivation->output-path command))))
              store))))
"#;

/// A farm of one spec for each runtime, on `machine`, whose daemon can read its state.
fn farm(machine: &Machine, guix: &Tree) -> Farm {
    let farm = Farm::new(None);
    let (socket, store) = (machine.socket(), machine.store());
    farm.configure(&format!(
        "daemon-socket = \"{}\"\ndaemon-store = \"{}\"",
        socket.display(),
        store.display()
    ));
    for runtime in ["checkout", "time-machine"] {
        let build = "build = { packages = [\"less\"] }\nsystems = [\"x86_64-linux\"]";
        let channel = guix.as_channel("guix");
        farm.spec(runtime, &format!("{build}\nruntime = \"{runtime}\"\n{channel}"));
    }
    farm
}

/// The derivations of a spec's newest evaluation.
async fn derivations(farm: &Farm, spec: &str) -> Vec<String> {
    let said = farm.say(&["explain", "less.x86_64-linux", "--json"]).await;
    let said: serde_json::Value = serde_json::from_str(&said.data).unwrap();
    let jobs = said["jobs"].as_array().unwrap().iter().filter(|job| job["spec"] == spec);
    jobs.map(|job| text(&job["derivation"])).collect()
}

#[tokio::test]
#[ignore = "takes minutes: `make test-slow`"]
async fn a_guix_that_is_built_evaluates_as_one_that_is_only_checked_out() {
    let guix = Tree::guix().await;
    let file = "gnu/packages/less.scm";
    guix.edit(file, "(version \"", "(version \"9.");
    let commit = guix.write("build-aux/build-self.scm", BUILD_SELF);
    let machine = Machine::new();
    let daemon = machine.serve().await;
    let farm = farm(&machine, &guix);
    farm.run_once().await;

    let built = derivations(&farm, "time-machine").await;
    assert_eq!((built.len(), &built), (1, &derivations(&farm, "checkout").await));
    assert!(built[0].contains("-less-9."), "{built:?}");
    let link = farm.state().join("time-machine").join(&commit);
    let path = std::fs::read_link(&link).unwrap();
    assert!(path.ends_with(format!("{}-guix-{}", &path.to_str().unwrap()[11..43], &commit[..7])), "{path:?}");
    let log = std::fs::read_to_string(link.with_extension("log")).unwrap();
    assert!(log.contains("this Guix is made"), "{log}");
    let roots: Vec<PathBuf> =
        std::fs::read_dir(machine.roots()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(roots.iter().any(|root| std::fs::read_link(root).unwrap() == link), "{roots:?}");

    // The same commit is not built again; a script that fails costs its revision, and says why.
    std::fs::write(link.with_extension("log"), "untouched").unwrap();
    assert_eq!(farm.say(&["retry", "2"]).await.code, Some(0));
    farm.run_once().await;
    assert_eq!(std::fs::read_to_string(link.with_extension("log")).unwrap(), "untouched");
    // It tries what the kernel grants, on the way.
    let broken = format!("{KERNEL}(error \"no such Guix\" (what-the-kernel-grants))");
    let broken = guix.write("build-aux/build-self.scm", &broken);
    let trouble = farm.run_once_in_trouble().await;
    let expected = [
        "of time-machine for x86_64-linux failed",
        &broken,
        "no such Guix ()",
        "hint: all that was printed is in",
    ];
    assert!(expected.iter().all(|part| trouble.contains(part)), "{trouble}");
    assert!(link.is_symlink(), "the last complete evaluation needs it");
    let next = guix.write("build-aux/build-self.scm", &format!("{BUILD_SELF};; again\n"));
    farm.run_once().await;
    assert!(link.with_file_name(next).is_symlink() && !link.is_symlink());
    drop(daemon);
}
