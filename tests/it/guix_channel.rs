//! The package and the service for Guix, as a real Guix sees them.

use std::path::Path;
use std::time::Duration;

use crate::support::daemon::Machine;
use crate::support::unlimited;

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[tokio::test]
async fn the_crates_for_guix_are_those_of_cargo() {
    let mut script = unlimited(top().join("scripts/guix-crates")).spawn().unwrap();
    let made = script.finish(Duration::from_mins(1)).await.unwrap();
    assert!(made.success(), "{}", made.reason());
    let kept = std::fs::read(top().join("guix/channel/gorget/crates.scm")).unwrap();
    assert!(kept == made.stdout, "hint: scripts/guix-crates > guix/channel/gorget/crates.scm");
}

/// Prints what a system with the service, of both kinds, is made of.
const PROGRAM: &str = r#"
(add-to-load-path "TOP/guix/channel")
(use-modules (gnu) (gorget services) (guix derivations) (guix grafts) (guix store) (srfi srfi-1))
(use-service-modules networking)

(define (farm role)
  (operating-system
    (host-name "farm")
    (timezone "Etc/UTC")
    (bootloader (bootloader-configuration (bootloader grub-bootloader) (targets '("/dev/sda"))))
    (file-systems (cons (file-system (device "/dev/sda1") (mount-point "/") (type "ext4"))
                        %base-file-systems))
    (services
     (cons* (service dhcpcd-service-type)
            (service gorget-service-type
                     (gorget-configuration
                      (role role)
                      (specs `(("master" . ,(plain-file "master.toml" "build = \"all\"\n"))))
                      (settings "[evaluate]\nworkers = 2\n")))
            %base-services))))

(with-store store
  (parameterize ((%graft? #f))
    (for-each
     (lambda (role)
       (let* ((system (run-with-store store (operating-system-derivation (farm role))))
              (parts (requisites store (list (derivation-file-name system)))))
         (for-each (lambda (name)
                     (format #t "~a: ~a ~a~%" role name (count (lambda (part) (string-suffix? name part)) parts)))
                   '("-system.drv" "-gorget-0.1.0.drv" "-gorget.toml.drv" "-gorget-specs.drv"
                     "-shepherd-gorget.scm.drv" "-rust-tokio-TOKIO.tar.gz.drv"))))
     '(#f "evaluate"))))
"#;

/// The version of a crate in `Cargo.lock`.
fn version(krate: &str) -> String {
    let lock = std::fs::read_to_string(top().join("Cargo.lock")).unwrap();
    let entry = lock.split(&format!("name = \"{krate}\"\nversion = \"")).nth(1).unwrap();
    entry.split('"').next().unwrap().to_owned()
}

#[tokio::test]
#[ignore = "takes minutes: `make test-slow`"]
async fn guix_computes_a_system_with_the_service() {
    let machine = Machine::new();
    // The machine can see what is in a directory for temporary files.
    let checkout = tempfile::tempdir().unwrap();
    let parts = ["guix", "src", "Cargo.toml", "Cargo.lock"].map(|part| top().join(part));
    let copy = unlimited("cp").arg("--recursive").args(parts).arg(checkout.path());
    let copied = copy.spawn().unwrap().finish(Duration::from_mins(1)).await.unwrap();
    assert!(copied.success(), "{}", copied.reason());
    machine.show(checkout.path());
    let tokio = version("tokio");
    let program = PROGRAM.replace("TOP", checkout.path().to_str().unwrap()).replace("TOKIO", &tokio);
    let finished = machine.run(&program, "").await;
    let talk = String::from_utf8_lossy(&finished.stderr);
    assert!(finished.success(), "{}: {talk}", finished.reason());
    let expected: String = ["#f", "evaluate"]
        .iter()
        .flat_map(|role| {
            let crate_name = format!("-rust-tokio-{tokio}.tar.gz.drv");
            [
                "-system.drv",
                "-gorget-0.1.0.drv",
                "-gorget.toml.drv",
                "-gorget-specs.drv",
                "-shepherd-gorget.scm.drv",
                &crate_name,
            ]
            .map(|name| format!("{role}: {name} 1\n"))
        })
        .collect();
    assert_eq!(String::from_utf8_lossy(&finished.stdout), expected, "{talk}");
}
