//! Which files processes have mapped into their memory to execute them.
//!
//! `/proc/PID/maps` (`proc_pid_maps(5)`) tells each file's device and inode, and its path as the process has it, in the
//! process's own mount namespace. From outside, `/proc/PID/root` leads into that, or `/proc/PID/map_files` to the very
//! file, also if it has been deleted, for whoever has `CAP_SYS_ADMIN` or `CAP_CHECKPOINT_RESTORE`.
//!
//! A file's device is not always what stat(2) says of it: overlayfs and btrfs have devices of their own. So a path
//! leads to the file if the inode is the same. Where layers of containers' images are mounted once for each container,
//! one file may be mapped as several, with the same inode and different devices.

mod line;
mod open;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};

pub use line::{Line, parse};
pub use open::open;

/// Bytes of a line that are read, at most: all that a path of 4096 bytes can take up, in which each may be a line's end
/// and written with four.
const LINE: u64 = 17 * 1024;
/// Mappings that are kept of a file, to open it by.
const PLACES: usize = 4;

/// A device that files are on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Device {
    /// Its kind.
    pub major: u32,
    /// Which of that kind.
    pub minor: u32,
}

/// Which file it is, as `/proc/PID/maps` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId {
    /// The device that it is on.
    pub device: Device,
    /// Its number there.
    pub inode: u64,
}

/// Where a process has mapped a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The process.
    pub pid: u32,
    /// The first address.
    pub start: u64,
    /// The address behind the last.
    pub end: u64,
}

/// A file that is mapped with execute permission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappedFile {
    /// Which file it is.
    pub id: FileId,
    /// Its path as the first process that maps it has it. Of one that is deleted it ends with ` (deleted)`, and of one
    /// that never had a path (`memfd_create(2)`) it starts with `/memfd:`.
    pub path: PathBuf,
    /// Who maps it, in order.
    pub pids: Vec<u32>,
    /// Some of where it is mapped.
    pub places: Vec<Place>,
}

/// What processes have mapped.
#[derive(Debug, Default)]
pub struct Mapped {
    /// The files, in order.
    pub files: Vec<MappedFile>,
    /// What could not be read, and why. Processes that have ended are not among it.
    pub failures: Vec<(PathBuf, io::Error)>,
    /// How many mappings are of further files than were to be found.
    pub left_out: usize,
}

/// The pids of all processes below `proc`, in order. Threads are not among them.
///
/// # Errors
///
/// If `proc` cannot be read.
pub fn pids(proc: &Path) -> io::Result<Vec<u32>> {
    let mut pids = Vec::new();
    for entry in std::fs::read_dir(proc)? {
        pids.extend(entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
    }
    pids.sort_unstable();
    Ok(pids)
}

/// The files that these processes have mapped with execute permission: no more than `limit`, and none of `known`.
pub fn files(proc: &Path, pids: &[u32], known: &BTreeSet<FileId>, limit: usize) -> Mapped {
    let mut mapped = Mapped::default();
    let mut files = BTreeMap::new();
    for &pid in pids {
        let path = proc.join(pid.to_string()).join("maps");
        let read = File::open(&path).and_then(|file| {
            lines(BufReader::new(file), |line| {
                if known.contains(&line.id) {
                    return;
                }
                if files.len() >= limit && !files.contains_key(&line.id) {
                    mapped.left_out += 1;
                    return;
                }
                add(&mut files, pid, line);
            })
        });
        if let Err(error) = read.or_else(unless_ended) {
            mapped.failures.push((path, error));
        }
    }
    mapped.files = files.into_values().collect();
    mapped
}

fn add(files: &mut BTreeMap<FileId, MappedFile>, pid: u32, line: Line) {
    let file = files.entry(line.id).or_insert_with(|| MappedFile {
        id: line.id,
        path: PathBuf::from(line.path),
        pids: Vec::new(),
        places: Vec::new(),
    });
    if let Err(at) = file.pids.binary_search(&pid) {
        file.pids.insert(at, pid);
        if file.places.len() < PLACES {
            file.places.push(Place { pid, start: line.start, end: line.end });
        }
    }
}

/// A process may end at any time. Reading on then says so.
fn unless_ended(error: io::Error) -> io::Result<()> {
    let has_ended = error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH);
    if has_ended { Ok(()) } else { Err(error) }
}

/// Hands over those lines that tell of a file to be executed. Longer lines than [`LINE`] are taken as far as that goes:
/// the file is then found by where it is mapped.
fn lines(mut maps: impl BufRead, mut take: impl FnMut(Line)) -> io::Result<()> {
    let mut text = Vec::new();
    loop {
        text.clear();
        if maps.by_ref().take(LINE).read_until(b'\n', &mut text)? == 0 {
            return Ok(());
        }
        if text.last() == Some(&b'\n') {
            text.pop();
        } else {
            maps.skip_until(b'\n')?;
        }
        if let Some(line) = parse(&text) {
            take(line);
        }
    }
}

impl MappedFile {
    /// The path through a process's root, and the one to the mapping itself, below `proc`.
    fn paths(&self, proc: &Path, place: &Place) -> [PathBuf; 2] {
        let process = proc.join(place.pid.to_string());
        let mut through_root = OsString::from(process.join("root"));
        through_root.push(&self.path);
        let mapping = format!("{:x}-{:x}", place.start, place.end);
        [through_root.into(), process.join("map_files").join(mapping)]
    }
}

#[cfg(test)]
mod tests;
