//! Reading a file piece by piece, and numbers in what was read.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt as _;

use super::Error;

/// Bytes that can be read from any place, such as a file's.
pub trait Bytes {
    /// Fills a buffer with what is at an offset; an error if there is less.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()>;
}

impl Bytes for File {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        // The kernel takes no greater offset.
        if i64::try_from(offset).is_err() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.read_exact_at(into, offset)
    }
}

impl Bytes for [u8] {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let from = usize::try_from(offset).ok();
        let bytes = from.and_then(|from| self.get(from..from.checked_add(into.len())?));
        into.copy_from_slice(bytes.ok_or(ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// Reads a part of a file that an error calls `what`.
pub(super) fn exactly(
    bytes: &(impl Bytes + ?Sized),
    offset: u64,
    into: &mut [u8],
    what: &'static str,
) -> Result<(), Error> {
    bytes.read_at(offset, into).map_err(|error| Error::Read { what, error })
}

/// The little-endian number at a place, which must be within `bytes`.
pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array(bytes, at))
}

/// The same.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

/// The same.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array(bytes, at))
}

fn array<const SIZE: usize>(bytes: &[u8], at: usize) -> [u8; SIZE] {
    let mut array = [0; SIZE];
    array.copy_from_slice(&bytes[at..at + SIZE]);
    array
}
