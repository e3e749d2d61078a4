//! A disk of its own for a farm, small enough to be filled.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A file system in memory that only those see who are started with [`SmallDisk::enter`]: so nothing stays
/// mounted, however the test ends.
pub struct SmallDisk {
    /// Where it is mounted.
    place: PathBuf,
    /// Keeps the mount namespace for as long as its standard input is open.
    holder: Child,
}

impl SmallDisk {
    /// Mounts one of so many MiB at `place`, which is a directory.
    #[expect(clippy::disallowed_methods, reason = "it is no part of Gorget")]
    pub fn at(place: &Path, mebibytes: u32) -> Self {
        let mut unshare = Command::new("unshare");
        unshare.arg("--mount");
        if !rustix::process::geteuid().is_root() {
            unshare.args(["--user", "--map-current-user", "--keep-caps"]);
        }
        let script = "mount -t tmpfs -o \"size=$2,mode=0777\" tmpfs \"$1\" && echo ready && read -r _";
        unshare.args(["sh", "-c", script, "sh"]).arg(place).arg(format!("{mebibytes}m"));
        let mut holder = unshare.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "no file system can be mounted in a namespace of its own");
        Self { place: place.to_owned(), holder }
    }

    /// What a command begins with to see the disk.
    pub fn enter(&self) -> Vec<String> {
        let mut words = vec!["nsenter".to_owned(), format!("--target={}", self.holder.id())];
        if !rustix::process::geteuid().is_root() {
            words.extend(["--user", "--preserve-credentials"].map(str::to_owned));
        }
        words.push("--mount".to_owned());
        words
    }

    /// Where a path on it can be seen from outside.
    pub fn outside(&self, path: &Path) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(path.strip_prefix("/").unwrap())
    }

    fn filler(&self) -> PathBuf {
        self.outside(&self.place).join("filler")
    }

    /// Writes until nothing is left.
    pub fn fill(&self) {
        let mut file = std::fs::File::create(self.filler()).unwrap();
        let mut block = vec![0; 1 << 20];
        while !block.is_empty() {
            match file.write_all(&block) {
                Err(error) if error.kind() == ErrorKind::StorageFull => block.truncate(block.len() / 2),
                result => result.unwrap(),
            }
        }
    }

    /// Gives back what was written.
    pub fn free(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
