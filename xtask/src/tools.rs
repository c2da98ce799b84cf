//! Programs that tests and machines need, where they are: installed on this host or, where its packages do not allow
//! that, unpacked into a folder of the build's own (`setup/unpack.rs`).
//!
//! What is unpacked runs in a mount namespace in which that folder lies over this host's `/usr` and `/etc`
//! (`Documentation/filesystems/overlayfs.rst`, "Multiple lower layers"), so that it finds its libraries and data at the
//! places that it was built for. Outside of the namespace nothing changes.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{command, privilege, workspace};

/// Where programs are within a distribution.
const DIRECTORIES: [&str; 2] = ["usr/bin", "usr/sbin"];

/// Puts the folder in front of this host's own ones, and runs the rest of the arguments.
const OVERLAY: &str = "for place in usr etc; do \
    test ! -d \"$0/$place\" || mount -t overlay overlay -o \"lowerdir=$0/$place:/$place\" \"/$place\"; \
    done; exec \"$@\"";

/// The folder; not there unless something had to be unpacked.
pub(crate) fn unpacked() -> PathBuf {
    workspace::target().join("tools")
}

/// A program: on this host, or else among what is unpacked.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let places = DIRECTORIES.map(|directory| unpacked().join(directory).join(program));
    command::find(program).or_else(|| places.into_iter().find(|place| place.is_file()))
}

/// A command that finds what is unpacked as if it were installed.
pub(crate) fn command(program: &str) -> Command {
    let mut words = prefix().into_iter().chain([program.to_owned()]);
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words);
    command
}

/// The words before a program that make it find what is unpacked; none where nothing is.
pub(crate) fn prefix() -> Vec<String> {
    words(&unpacked(), privilege::is_root())
}

/// The same for what runs as root, whoever this is.
pub(crate) fn prefix_of_root() -> Vec<String> {
    words(&unpacked(), true)
}

fn words(unpacked: &Path, is_root: bool) -> Vec<String> {
    if !unpacked.is_dir() {
        return Vec::new();
    }
    // Who is not root may mount in a namespace of their own only.
    let as_root = if is_root { None } else { Some("--map-root-user") };
    let unshare = ["unshare", "--mount"].into_iter().chain(as_root);
    let shell = ["sh", "-euc", OVERLAY].into_iter();
    unshare.chain(shell).map(str::to_owned).chain([unpacked.display().to_string()]).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::words;

    #[test]
    fn nothing_is_in_front_of_what_is_installed() -> anyhow::Result<()> {
        assert!(words(Path::new("/nonexistent"), true).is_empty());
        let folder = tempfile::tempdir()?;
        let of_root = words(folder.path(), true);
        assert_eq!(of_root[..2], ["unshare", "--mount"]);
        assert_eq!(of_root.last(), Some(&folder.path().display().to_string()));
        assert!(words(folder.path(), false).contains(&"--map-root-user".to_owned()));
        Ok(())
    }
}
