//! Files that processes have mapped, in a `/proc` that the tests make up, and in this process's own.

use std::collections::BTreeSet;
use std::fs::{create_dir_all, read_dir, remove_file, write};
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};

use super::{Device, FileId, LINE, MappedFile, files, open, pids};

/// A made-up `/proc`.
struct Proc {
    directory: tempfile::TempDir,
}

impl Proc {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a directory can be made") }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A file in a process's root, with what it is known by.
    fn file(&self, pid: u32, path: &str, content: &str) -> FileId {
        let place = self.path().join(format!("{pid}/root{path}"));
        create_dir_all(place.parent().expect("it is in a directory")).expect("a directory can be made");
        write(&place, content).expect("a file can be written");
        let metadata = place.metadata().expect("it is there");
        let device = Device { major: libc::major(metadata.dev()), minor: libc::minor(metadata.dev()) };
        FileId { device, inode: metadata.ino() }
    }

    fn maps(&self, pid: u32, lines: &[String]) {
        let directory = self.path().join(pid.to_string());
        create_dir_all(&directory).expect("a directory can be made");
        write(directory.join("maps"), lines.concat()).expect("a file can be written");
    }

    fn all(&self) -> Vec<MappedFile> {
        let found = files(self.path(), &pids(self.path()).expect("there is one"), &BTreeSet::new(), 100);
        assert!(found.failures.is_empty(), "{:?}", found.failures);
        found.files
    }
}

fn line(id: FileId, path: &str) -> String {
    let FileId { device: Device { major, minor }, inode } = id;
    format!("7f00-7f01 r-xp 00001000 {major:02x}:{minor:02x} {inode}      {path}\n")
}

fn text(proc: &Proc, file: &MappedFile) -> (PathBuf, String) {
    let (path, mut file) = open(proc.path(), file).expect("it can be opened");
    let mut text = String::new();
    file.read_to_string(&mut text).expect("it can be read");
    (path.strip_prefix(proc.path()).expect("it is below").to_owned(), text)
}

#[test]
fn a_file_is_told_once_with_all_that_map_it() {
    let proc = Proc::new();
    let id = proc.file(20, "/lib/a b.so", "content");
    let other = proc.file(3, "/lib/other.so", "other");
    proc.maps(20, &[line(id, "/lib/a b.so"), line(id, "/lib/a b.so")]);
    proc.maps(
        3,
        &[line(other, "/lib/other.so"), line(id, "/mnt/a b.so"), "7f00-7f01 r-xp 0 00:00 0\n".to_owned()],
    );
    create_dir_all(proc.path().join("self")).expect("a directory can be made");
    let mut found = proc.all();
    found.sort_by_key(|file| file.pids.len());
    let [first, second] = &found[..] else { panic!("{found:?}") };
    assert_eq!((first.id, &first.pids[..]), (other, &[3][..]));
    assert_eq!((second.id, &second.pids[..]), (id, &[3, 20][..]));
    assert_eq!(second.path, Path::new("/mnt/a b.so"));
    // In the first process's root there is none: the second's is looked into.
    let mut by_second = second.clone();
    by_second.path = "/lib/a b.so".into();
    assert_eq!(text(&proc, &by_second), ("20/root/lib/a b.so".into(), "content".to_owned()));
}

#[test]
fn known_files_are_left_out_and_others_counted_beyond_the_limit() {
    let proc = Proc::new();
    let ids: Vec<FileId> = (0..3).map(|at| proc.file(1, &format!("/{at}"), "")).collect();
    proc.maps(1, &ids.iter().map(|&id| line(id, "/a")).collect::<Vec<_>>());
    let found = files(proc.path(), &[1], &BTreeSet::from([ids[0]]), 1);
    assert_eq!(found.files.iter().map(|file| file.id).collect::<Vec<_>>(), [ids[1]]);
    assert_eq!(found.left_out, 1);
}

#[test]
fn ended_processes_are_no_failures() {
    let proc = Proc::new();
    // Its maps are a directory, which cannot be read.
    create_dir_all(proc.path().join("2/maps")).expect("a directory can be made");
    let found = files(proc.path(), &[1, 2], &BTreeSet::new(), 10);
    let [(path, _)] = &found.failures[..] else { panic!("{:?}", found.failures) };
    assert_eq!(path, &proc.path().join("2/maps"));
    assert!(pids(&proc.path().join("none")).is_err());
}

#[test]
fn other_files_at_the_path_are_not_taken() {
    let proc = Proc::new();
    let id = proc.file(1, "/lib.so", "the mapped one");
    let mapped = proc.path().join("1/root/lib.so");
    // As where a package was upgraded: the mapping still leads to the old file.
    let old = proc.path().join("old");
    std::fs::rename(&mapped, &old).expect("it can be moved");
    proc.file(1, "/lib.so", "the new one");
    create_dir_all(proc.path().join("1/map_files")).expect("a directory can be made");
    symlink(&old, proc.path().join("1/map_files/7f00-7f01")).expect("a link can be made");
    proc.maps(1, &[line(id, "/lib.so (deleted)")]);
    let found = proc.all();
    assert_eq!(text(&proc, &found[0]), ("1/map_files/7f00-7f01".into(), "the mapped one".to_owned()));
    remove_file(proc.path().join("1/map_files/7f00-7f01")).expect("it can be removed");
    assert!(open(proc.path(), &found[0]).is_err());
}

#[test]
fn another_device_will_do_if_the_inode_is_the_same() {
    let proc = Proc::new();
    let mut id = proc.file(1, "/lib.so", "content");
    id.device.minor += 1;
    proc.maps(1, &[line(id, "/lib.so")]);
    assert_eq!(text(&proc, &proc.all()[0]), ("1/root/lib.so".into(), "content".to_owned()));
}

#[test]
fn what_is_no_file_is_not_opened() {
    let proc = Proc::new();
    let directory = proc.path().join("1/root/directory");
    create_dir_all(&directory).expect("a directory can be made");
    let socket = proc.path().join("1/root/socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket can be made");
    for (place, path) in [(&directory, "/directory"), (&socket, "/socket")] {
        let metadata = place.metadata().expect("it is there");
        let device = Device { major: libc::major(metadata.dev()), minor: libc::minor(metadata.dev()) };
        proc.maps(1, &[line(FileId { device, inode: metadata.ino() }, path)]);
        create_dir_all(proc.path().join("1/map_files")).expect("a directory can be made");
        let mapping = proc.path().join("1/map_files/7f00-7f01");
        symlink(place, &mapping).expect("a link can be made");
        assert!(open(proc.path(), &proc.all()[0]).is_err(), "{path}");
        remove_file(mapping).expect("it can be removed");
    }
}

#[test]
fn long_lines_do_not_hide_those_behind_them() {
    let proc = Proc::new();
    let id = proc.file(1, "/lib.so", "content");
    let long = FileId { inode: id.inode + 1, ..id };
    proc.maps(1, &[line(long, &format!("/{}", "x".repeat(3 * LINE as usize))), line(id, "/lib.so")]);
    let found = proc.all();
    assert_eq!(found.iter().map(|file| file.id).collect::<BTreeSet<_>>(), BTreeSet::from([id, long]));
    assert!(found.iter().all(|file| file.path.as_os_str().len() < LINE as usize));
}

#[test]
fn this_process_maps_its_own_program() {
    let own = std::process::id();
    let found = files(Path::new("/proc"), &[own], &BTreeSet::new(), 10_000);
    let program = std::fs::read_link("/proc/self/exe").expect("it is a link");
    let file = found.files.iter().find(|file| file.path == program).expect("it is mapped");
    assert_eq!(file.pids, [own]);
    let (_, opened) = open(Path::new("/proc"), file).expect("it can be opened");
    let metadata = opened.metadata().expect("it is open");
    assert_eq!(metadata.ino(), file.id.inode);
    assert!(read_dir("/proc/self/map_files").is_ok_and(|mappings| mappings.count() > 0));
}
