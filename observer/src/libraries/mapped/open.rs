//! Opens a file that processes have mapped.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::{FileId, MappedFile};

/// Where a path leads to, which is not opened yet: a device does things when it is opened, and a pipe waits.
struct Target {
    place: File,
    metadata: Metadata,
}

impl Target {
    fn of(path: &Path) -> io::Result<Self> {
        let place = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path)?;
        let metadata = place.metadata()?;
        Ok(Self { place, metadata })
    }

    fn is_same_inode(&self, id: FileId) -> bool {
        self.metadata.is_file() && self.metadata.ino() == id.inode
    }

    fn is_same(&self, id: FileId) -> bool {
        let device = self.metadata.dev();
        let numbers = (libc::major(device), libc::minor(device));
        self.is_same_inode(id) && numbers == (id.device.major, id.device.minor)
    }

    /// Opens it for reading, now that it is known to be a file. Someone else's lease on it is not waited for.
    fn open(&self) -> io::Result<File> {
        if !self.metadata.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        let path = format!("/proc/self/fd/{}", self.place.as_raw_fd());
        OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)
    }
}

/// Opens a file for reading, with the path below `proc` through which it was found: that through the root of a process
/// that maps it, if device and inode are the mapped file's; else the mapping itself; else the former, if at least the
/// inode is the same.
///
/// Whoever serves the file, such as a program with a file system of its own, or a server elsewhere, can take any time.
///
/// # Errors
///
/// If it can be opened in none of the ways: what the system said of the last.
pub fn open(proc: &Path, file: &MappedFile) -> io::Result<(PathBuf, File)> {
    let mut reason = io::Error::from(io::ErrorKind::NotFound);
    for place in &file.places {
        let [through_root, mapping] = file.paths(proc, place);
        let target = Target::of(&through_root).ok().filter(|target| target.is_same_inode(file.id));
        let opened = match target {
            Some(target) if target.is_same(file.id) => target.open().map(|file| (through_root, file)),
            target => match (Target::of(&mapping).and_then(|target| target.open()), target) {
                (Ok(file), _) => Ok((mapping, file)),
                (Err(_), Some(target)) => target.open().map(|file| (through_root, file)),
                (Err(error), None) => Err(error),
            },
        };
        match opened {
            Ok(opened) => return Ok(opened),
            Err(error) => reason = error,
        }
    }
    Err(reason)
}
