//! A line of `/proc/PID/maps`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use super::{Device, FileId};

/// What a line tells of a file that is mapped with execute permission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The first address.
    pub start: u64,
    /// The address behind the last.
    pub end: u64,
    /// Which file it is.
    pub id: FileId,
    /// Its path, with ` (deleted)` behind it if it is.
    pub path: OsString,
}

/// Reads a line without its end. `None` if it tells of no file, if that may not be executed or is a device, or if it is
/// no line of maps.
///
/// `7f0c1e000000-7f0c1e021000 r-xp 00001000 fe:01 131 /usr/lib/a b.so (deleted)`: addresses, permissions, the offset
/// in the file, its device and inode, spaces, and the path. In that, an end of a line is written `\012`, and nothing
/// else is written otherwise than it is.
pub fn parse(line: &[u8]) -> Option<Line> {
    let mut rest = line;
    let (start, end) = split(field(&mut rest)?, b'-')?;
    let permissions = field(&mut rest)?;
    let _offset = field(&mut rest)?;
    let (major, minor) = split(field(&mut rest)?, b':')?;
    let inode = std::str::from_utf8(field(&mut rest)?).ok()?.parse().ok()?;
    let path = &rest[rest.iter().position(|&byte| byte != b' ')?..];
    let is_file = inode != 0 && path.starts_with(b"/") && !path.starts_with(b"/dev/");
    if permissions.get(2) != Some(&b'x') || !is_file {
        return None;
    }
    let device = Device { major: u32::try_from(major).ok()?, minor: u32::try_from(minor).ok()? };
    Some(Line { start, end, id: FileId { device, inode }, path: OsString::from_vec(unescaped(path)) })
}

/// Takes what comes before the next space.
fn field<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let at = rest.iter().position(|&byte| byte == b' ')?;
    let (field, behind) = rest.split_at(at);
    *rest = &behind[1..];
    Some(field)
}

/// Two hexadecimal numbers and what is between them.
fn split(field: &[u8], mark: u8) -> Option<(u64, u64)> {
    let (first, second) = std::str::from_utf8(field).ok()?.split_once(char::from(mark))?;
    Some((u64::from_str_radix(first, 16).ok()?, u64::from_str_radix(second, 16).ok()?))
}

/// A path as it is. One that has `\012` in it, in so many signs, cannot be told from one that was written so.
fn unescaped(path: &[u8]) -> Vec<u8> {
    const END_OF_LINE: &[u8] = b"\\012";
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some(&first) = rest.first() {
        if let Some(behind) = rest.strip_prefix(END_OF_LINE) {
            bytes.push(b'\n');
            rest = behind;
        } else {
            bytes.push(first);
            rest = &rest[1..];
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Device, FileId, Line, parse};

    fn line(path: &str) -> Option<Line> {
        parse(format!("7f0c1e000000-7f0c1e021000 r-xp 00001000 fe:01 131                  {path}").as_bytes())
    }

    #[test]
    fn files_are_told_by_device_inode_and_path() {
        let id = FileId { device: Device { major: 0xfe, minor: 1 }, inode: 131 };
        let (start, end) = (0x7f0c_1e00_0000, 0x7f0c_1e02_1000);
        for (written, path) in [
            ("/usr/lib/libssl.so.3", "/usr/lib/libssl.so.3"),
            ("/opt/my app/lib ssl.so", "/opt/my app/lib ssl.so"),
            ("/tmp/libssl.so (deleted)", "/tmp/libssl.so (deleted)"),
            ("/tmp/two\\012lines\\0123", "/tmp/two\nlines\n3"),
            ("/tmp/back\\slash\\01", "/tmp/back\\slash\\01"),
            ("/memfd:code (deleted)", "/memfd:code (deleted)"),
            ("/developer/x", "/developer/x"),
            ("/tmp/ü ", "/tmp/ü "),
        ] {
            assert_eq!(line(written), Some(Line { start, end, id, path: path.into() }), "{written}");
        }
    }

    #[test]
    fn numbers_may_be_long() {
        let found =
            parse(b"ffffffffff600000-ffffffffff601000 --xp 00000000 fffff:fffff 18446744073709551615 /a");
        let found = found.expect("it is a line");
        assert_eq!(found.id, FileId { device: Device { major: 0xfffff, minor: 0xfffff }, inode: u64::MAX });
    }

    #[test]
    fn what_is_no_file_to_execute_is_left_out() {
        for text in [
            "",
            "7f0c1e000000-7f0c1e021000",
            "7f0c1e000000-7f0c1e021000 r-xp 00001000 fe:01 131",
            "7f0c1e000000-7f0c1e021000 r-xp 00001000 fe:01 131 ",
            "7f0c1e000000-7f0c1e021000 r-xp 00000000 00:00 0 ",
            "7ffd5a5f2000-7ffd5a5f4000 r-xp 00000000 00:00 0                          [vdso]",
            "7f0c1e000000-7f0c1e021000 r-xp 00000000 00:00 0 /anonymous",
            "7f0c1e000000-7f0c1e021000 r--p 00001000 fe:01 131 /usr/lib/libssl.so.3",
            "7f0c1e000000-7f0c1e021000 rw-s 00001000 00:05 131 /dev/zero (deleted)",
            "7f0c1e000000-7f0c1e021000 rwxs 00001000 00:05 131 /dev/nvidia0",
            "7f0c1e000000-7f0c1e021000 r-xp 00000000 00:0e 131 anon_inode:[perf_event]",
            "7f0c1e000000-7f0c1e021000 rx 00001000 fe:01 131 /a",
            "7f0c1e000000-7f0c1e021000 r-xp 00001000 fe:01 -1 /a",
            "7f0c1e000000 r-xp 00001000 fe:01 131 /a",
            "7f0c1e000000-zz r-xp 00001000 fe:01 131 /a",
            "7f0c1e000000-7f0c1e021000 r-xp 00001000 fe01 131 /a",
            "7f0c1e000000-7f0c1e021000 r-xp 00001000 fffffffff:01 131 /a",
            "17f0c1e0000000000-7f0c1e021000 r-xp 00001000 fe:01 131 /a",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn any_path_is_read(path in "/[^\n\\\\]{0,40}") {
            prop_assume!(!path.starts_with("/dev/"));
            prop_assert_eq!(line(&path).map(|line| line.path), Some(path.into()));
        }
    }
}
