//! ELF files as they are, and as nobody should make them.

use object::elf::{EM_386, EM_AARCH64, EM_X86_64};
use proptest::prelude::*;

use super::made::{BASE, Made};
use super::{Elf, Error, Machine, Symbols, TABLE};

const NAMES: [&str; 3] = ["SSL_read", "SSL_write", "SSL_read_ex"];
const NEEDED: [[&str; 2]; 1] = [["SSL_read", "SSL_write"]];

fn library() -> Made {
    Made::with(&[
        ("BIO_read", None),
        ("SSL_read", Some(&[1, 2, 3])),
        ("my_SSL_read", Some(&[9])),
        ("SSL_write", Some(&[4, 5])),
    ])
}

fn functions(bytes: &[u8]) -> Result<Option<Symbols>, Error> {
    Elf::read(bytes)?.functions(&NAMES, &NEEDED)
}

/// Where a number of a section's header is, of the section of this number.
fn header(bytes: &[u8], section: usize, at: usize) -> usize {
    let table = u64::from_le_bytes(bytes[40..48].try_into().expect("8 bytes"));
    table as usize + section * 64 + at
}

fn put(bytes: &mut [u8], at: usize, number: u64) {
    bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
}

#[test]
fn functions_are_found_with_their_code() {
    let bytes = library().bytes(EM_X86_64);
    let elf = Elf::read(&bytes[..]).expect("it is an ELF file");
    assert_eq!(elf.machine(), Machine::X86_64);
    let found = elf.functions(&NAMES, &NEEDED).expect("it makes sense").expect("it is a library");
    let read = found.get("SSL_read").expect("it is defined");
    assert_eq!((read.offset, read.address, read.size), (120, BASE + 120, 3));
    assert_eq!(elf.code(read, 10).expect("it is there"), [1, 2, 3]);
    assert_eq!(elf.code(read, 2).expect("it is there"), [1, 2]);
    assert!(found.get("SSL_read_ex").is_none());
    assert_eq!(elf.version(&found, "SSL_read"), None);
}

#[test]
fn versions_are_those_of_symbols() {
    let mut made = library();
    made.version = Some("OPENSSL_3.0.0");
    let bytes = made.bytes(EM_AARCH64);
    let elf = Elf::read(&bytes[..]).expect("it is an ELF file");
    assert_eq!(elf.machine(), Machine::Aarch64);
    let found = elf.functions(&NAMES, &NEEDED).expect("it makes sense").expect("it is a library");
    assert_eq!(elf.version(&found, "SSL_read").as_deref(), Some("OPENSSL_3.0.0"));
    assert_eq!(elf.version(&found, "SSL_read_ex"), None);
}

#[test]
fn functions_that_are_only_used_do_not_count() {
    let user = Made::with(&[("SSL_read", None), ("SSL_write", None)]);
    assert!(functions(&user.bytes(EM_X86_64)).expect("it makes sense").is_none());
    let half = Made::with(&[("SSL_read", Some(&[1])), ("SSL_write", None)]);
    assert!(functions(&half.bytes(EM_X86_64)).expect("it makes sense").is_none());
    assert!(functions(&Made::default().bytes(EM_X86_64)).expect("it makes sense").is_none());
}

#[test]
fn all_symbols_are_looked_at_where_others_may_not_link_with_them() {
    let all = library().dynamic;
    let made = Made { dynamic: vec![("SSL_read", None)], all, version: Some("OPENSSL_3.0.0") };
    let bytes = made.bytes(EM_X86_64);
    let found = functions(&bytes).expect("it makes sense").expect("it is a library");
    assert_eq!(found.get("SSL_write").map(|symbol| symbol.size), Some(2));
    // Versions are those of dynamic symbols.
    assert_eq!(Elf::read(&bytes[..]).expect("it is an ELF file").version(&found, "SSL_read"), None);
}

#[test]
fn names_are_found_wherever_chunks_end() {
    // As many symbols before them that the names lie at each place around the ends of chunks.
    let filler = "a".repeat(97).leak();
    for extra in 0..12 {
        let short: &'static str = "b".repeat(extra).leak();
        let mut made = Made::with(&[(short, None)]);
        made.dynamic.extend((0..1003).map(|_| (&*filler, None)));
        made.dynamic.extend((0..6).flat_map(|_| library().dynamic));
        let found = functions(&made.bytes(EM_X86_64)).expect("it makes sense").expect("it is a library");
        assert_eq!(found.get("SSL_read").map(|symbol| symbol.size), Some(3), "{extra}");
    }
}

#[test]
fn what_is_no_such_file_is_refused() {
    let bytes = library().bytes(EM_X86_64);
    for start in [&b""[..], b"\x7fEL", b"#!/bin/sh\n"] {
        assert!(matches!(Elf::read(start), Err(Error::NotElf)));
    }
    assert!(matches!(Elf::read(&bytes[..63]), Err(Error::Read { .. })));
    for (at, value) in [(4, 1), (5, 2)] {
        let mut other = bytes.clone();
        other[at] = value;
        assert!(matches!(Elf::read(&other[..]), Err(Error::Class)));
    }
    let other = library().bytes(EM_386);
    assert!(matches!(Elf::read(&other[..]), Err(Error::Machine(EM_386))));
}

#[test]
fn absurd_headers_are_refused() {
    let bytes = library().bytes(EM_X86_64);
    for (at, value) in [(54, 55), (58, 65), (56, 0xffff), (60, 0xffff)] {
        let mut other = bytes.clone();
        other[at..at + 2].copy_from_slice(&u16::to_le_bytes(value));
        assert!(matches!(Elf::read(&other[..]), Err(Error::Malformed(_) | Error::TooLarge { .. })), "{at}");
    }
    for offset in [bytes.len() as u64, u64::MAX] {
        let mut other = bytes.clone();
        put(&mut other, 40, offset);
        assert!(matches!(Elf::read(&other[..]), Err(Error::Read { .. })), "{offset:x}");
    }
    // No tables at all are no symbols.
    let mut other = bytes.clone();
    other[60..62].fill(0);
    assert!(functions(&other).expect("it makes sense").is_none());
}

#[test]
fn absurd_tables_are_refused() {
    let bytes = library().bytes(EM_X86_64);
    let changed = |section: usize, at: usize, number: u64| {
        let mut other = bytes.clone();
        put(&mut other, header(&bytes, section, at), number);
        functions(&other)
    };
    // Of the symbols and of the names: how long they are, and where.
    for section in [1, 2] {
        assert!(matches!(changed(section, 32, TABLE + 1), Err(Error::TooLarge { .. })));
        assert!(matches!(changed(section, 32, TABLE), Err(Error::Read { .. })));
        assert!(changed(section, 24, u64::MAX - 10).is_err());
        assert!(changed(section, 32, 0).expect("nothing makes sense").is_none());
    }
    // Names in the table of symbols itself, or nowhere.
    for link in [1, 77] {
        assert!(matches!(changed(1, 40, link), Err(Error::Malformed(_))));
    }
    // A segment without execute permission, and one that ends early.
    for (at, number) in [(68, 4), (96, 110)] {
        let mut other = bytes.clone();
        put(&mut other, at, number);
        assert!(matches!(functions(&other), Err(Error::Malformed(_))), "{at}");
    }
    // The same name again and again.
    let many = Made::with(&vec![("SSL_read", None); 5000]);
    assert!(matches!(functions(&many.bytes(EM_X86_64)), Err(Error::Malformed(_))));
}

proptest! {
    #[test]
    fn any_change_of_a_file_is_read(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
    ) {
        let mut made = library();
        made.version = Some("OPENSSL_3.0.0");
        let mut bytes = made.bytes(EM_X86_64);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(elf) = Elf::read(&bytes[..])
            && let Ok(Some(found)) = elf.functions(&NAMES, &NEEDED)
        {
            elf.version(&found, "SSL_read");
            for symbol in NAMES.iter().filter_map(|name| found.get(name)) {
                prop_assert!(elf.code(symbol, 100).map_or(0, |code| code.len()) <= 100);
            }
        }
    }
}
