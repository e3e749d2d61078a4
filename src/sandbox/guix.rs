use std::path::{Path, PathBuf};

/// Where `guix` is looked for below a root other than this machine's.
const PROGRAMS: [&str; 4] =
    ["usr/bin/guix", "usr/local/bin/guix", "bin/guix", "run/current-system/profile/bin/guix"];

/// The `guix` program below a system root, as seen inside it; `None` when it has none.
pub fn find_guix(root: &Path) -> Option<PathBuf> {
    if root == Path::new("/") {
        let paths = std::env::var_os("PATH").unwrap_or_default();
        let named = std::env::split_paths(&paths).map(|directory| directory.join("guix"));
        // A profile's link leads to a file of the store, which the sandbox can see.
        return named.filter(|path| path.is_file()).find_map(|path| fs_err::canonicalize(path).ok());
    }
    let found = PROGRAMS.iter().find(|program| root.join(program).symlink_metadata().is_ok())?;
    Some(Path::new("/").join(found))
}
