//! Libraries in files that the tests make up, below a `/proc` that they make up, and in those of this machine.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::{create_dir_all, write};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use object::elf::{EM_386, EM_AARCH64, EM_X86_64};
use observer_ebpf::layout::library;

use super::elf::made::Made;
use super::{
    Error, Exit, Facts, Family, Function, Kind, Point, Points, ResultPlace, SessionLayout, find, find_of,
    layout,
};

/// `push rbp`, and `ret`.
const CODE: &[u8] = &[0x55, 0xc3];

fn made() -> Made {
    let mut made = Made::with(&[
        ("SSL_read", Some(CODE)),
        ("SSL_write", Some(CODE)),
        ("SSL_free", Some(&[0x48, 0x85, 0xff, 0x74, 0x00, 0xc3])),
        ("SSL_CONF_CTX_new", Some(CODE)),
        ("SSL_pending", Some(CODE)),
    ]);
    made.version = Some("OPENSSL_3.0.0");
    made
}

/// What is told of the only library in a file.
fn facts(bytes: &[u8]) -> Facts {
    let mut facts = Facts::of(bytes).expect("it makes sense");
    assert_eq!(facts.len(), 1, "{facts:?}");
    facts.remove(0)
}

#[test]
fn a_library_is_told_with_its_points() {
    let facts = facts(&made().bytes(EM_X86_64));
    assert_eq!((facts.kind, facts.version.as_deref()), (Kind::Openssl, Some("3")));
    let first = |offset| Points { entry: Point { offset, emulated: true }, exit: Exit::Return };
    let moved = Points { entry: Point { offset: 124 + 3, emulated: true }, exit: Exit::Unneeded };
    let expected = [(Function::Read, first(120)), (Function::Write, first(122)), (Function::Free, moved)];
    assert_eq!(facts.functions, BTreeMap::from(expected));
}

#[test]
fn gnutls_is_probed_where_all_that_is_sent_passes() {
    let of_gnutls = |more: &[(&'static str, &[u8])]| {
        let mut made = Made::with(&[("gnutls_record_recv", Some(CODE)), ("gnutls_deinit", Some(CODE))]);
        made.version = Some("GNUTLS_3_4");
        made.dynamic.extend(more.iter().map(|&(name, code)| (name, Some(code.to_vec()))));
        let facts = facts(&made.bytes(EM_X86_64));
        assert_eq!((facts.kind, facts.version.as_deref(), facts.layout), (Kind::Gnutls, Some("3"), None));
        let [first, .., last] = &facts.functions.into_keys().collect::<Vec<_>>()[..] else {
            panic!("too few")
        };
        assert_eq!([*first, *last], [Function::RecordRecv, Function::Deinit]);
        made
    };
    let sends = |more: &[(&'static str, &[u8])]| {
        let functions = facts(&of_gnutls(more).bytes(EM_X86_64)).functions;
        let sends = functions.into_keys().filter(|&one| one.does() == library::Function::Send);
        sends.collect::<Vec<_>>()
    };
    let (send, whole) = (("gnutls_record_send", CODE), ("gnutls_record_send", &[0x90; 65][..]));
    assert_eq!(sends(&[send]), [Function::RecordSend]);
    assert_eq!(sends(&[send, ("gnutls_record_send2", CODE)]), [Function::RecordSend2]);
    // It may have all that the other one does within.
    let both = [Function::RecordSend, Function::RecordSend2];
    assert_eq!(sends(&[whole, ("gnutls_record_send2", CODE)]), both);
    assert_eq!(sends(&[("gnutls_record_send", &[]), ("gnutls_record_send2", CODE)]), both);
}

#[test]
fn a_program_may_have_two_libraries_within() {
    let mut made = made();
    for name in ["gnutls_record_recv", "gnutls_record_send", "gnutls_deinit"] {
        made.dynamic.push((name, Some(CODE.to_vec())));
    }
    let both = Facts::of(&made.bytes(EM_X86_64)[..]).expect("it makes sense");
    let told: Vec<_> = both.iter().map(|facts| (facts.kind, facts.functions.len())).collect();
    assert_eq!(told, [(Kind::Openssl, 3), (Kind::Gnutls, 3)]);
    // A half of one is none.
    made.dynamic.retain(|(name, _)| *name != "SSL_write");
    assert_eq!(facts(&made.bytes(EM_X86_64)).kind, Kind::Gnutls);
}

/// `mov rax, [rdi + 0xa8]; mov eax, [rax + 0xb8]; mov [rsi], eax; ret`.
const CLIENT_RANDOM: &[u8] = &[0x48, 0x8b, 0x87, 0xa8, 0, 0, 0, 0x8b, 0x80, 0xb8, 0, 0, 0, 0x89, 0x06, 0xc3];
/// `mov eax, [rdi + 0x38]; ret`.
const IS_SERVER: &[u8] = &[0x8b, 0x47, 0x38, 0xc3];

#[test]
fn a_library_has_a_layout_if_both_functions_tell_it() {
    let layout_of = |client_random: Option<&[u8]>, is_server: Option<&[u8]>, machine| {
        let mut made = made();
        for (name, code) in [(layout::CLIENT_RANDOM, client_random), (layout::IS_SERVER, is_server)] {
            made.dynamic.push((name, code.map(<[u8]>::to_vec)));
        }
        let facts = facts(&made.bytes(machine));
        // No probes are put on them.
        assert_eq!(facts.functions.len(), 3);
        facts.layout
    };
    let expected = SessionLayout::new(Some(0xA8), 0xB8, 0x38);
    assert!(expected.is_some());
    assert_eq!(layout_of(Some(CLIENT_RANDOM), Some(IS_SERVER), EM_X86_64), expected);
    let long = [IS_SERVER, &[0x90; super::points::LONGEST]].concat();
    for (client_random, is_server, machine) in [
        (Some(CLIENT_RANDOM), Some(IS_SERVER), EM_AARCH64),
        // It is not defined here, or of no length, or too long.
        (None, Some(IS_SERVER), EM_X86_64),
        (Some(CLIENT_RANDOM), None, EM_X86_64),
        (Some(&[]), Some(IS_SERVER), EM_X86_64),
        (Some(CLIENT_RANDOM), Some(&long), EM_X86_64),
    ] {
        assert_eq!(layout_of(client_random, is_server, machine), None);
    }
}

#[test]
fn other_machines_have_first_instructions() {
    let facts = facts(&made().bytes(EM_AARCH64));
    let entries: Vec<_> = facts.functions.values().map(|points| points.entry).collect();
    assert_eq!(entries, [120, 122, 124].map(|offset| Point { offset, emulated: false }));
}

#[test]
fn functions_of_unknown_or_great_length_have_first_instructions() {
    let mut long = vec![0x90; super::points::LONGEST + 1];
    long.push(0xc3);
    let made = Made::with(&[("SSL_read", Some(&long)), ("SSL_write", Some(&[])), ("SSL_free", Some(CODE))]);
    let facts = facts(&made.bytes(EM_X86_64));
    let read = facts.functions[&Function::Read];
    assert_eq!(read, Points { entry: Point { offset: 120, emulated: true }, exit: Exit::Return });
    // What follows is `SSL_free`.
    let write = facts.functions[&Function::Write];
    assert_eq!(write.entry, Point { offset: 120 + long.len() as u64, emulated: true });
    assert_eq!(write.exit, Exit::Return);
    assert_eq!(facts.kind, Kind::Unknown);
}

#[test]
fn libraries_are_found_by_what_processes_map() {
    let proc = tempfile::tempdir().expect("a directory can be made");
    let root = proc.path().join("7/root");
    create_dir_all(&root).expect("a directory can be made");
    let mut maps = String::new();
    for (path, bytes) in [
        ("/libssl.so.3", made().bytes(EM_X86_64)),
        ("/no library", Made::with(&[("main", Some(CODE))]).bytes(EM_X86_64)),
        ("/classes.jsa", b"no ELF file".to_vec()),
        ("/program of 32 bits", made().bytes(EM_386)),
    ] {
        let place = root.join(&path[1..]);
        write(&place, &bytes).expect("a file can be written");
        let metadata = place.metadata().expect("it is there");
        let (major, minor) = (libc::major(metadata.dev()), libc::minor(metadata.dev()));
        writeln!(maps, "1000-2000 r-xp 0 {major:x}:{minor:x} {} {path}", metadata.ino())
            .expect("it is a text");
    }
    maps += "1000-2000 r-xp 0 0:1 1 /memfd:gone (deleted)\n";
    write(proc.path().join("7/maps"), maps).expect("a file can be written");
    let found = find(proc.path(), &BTreeSet::new());
    let [library] = &found.libraries[..] else { panic!("{found:?}") };
    assert_eq!((library.kind, library.path.as_path()), (Kind::Openssl, Path::new("/libssl.so.3")));
    assert_eq!(library.open_path, root.join("libssl.so.3"));
    assert_eq!(library.pids, [7]);
    let mut magic = [0; 4];
    (&library.file).read_exact(&mut magic).expect("it can be read");
    assert_eq!(&magic, b"\x7fELF");
    let mut failures =
        found.failures.iter().map(|failure| (failure.path.to_str(), &failure.reason)).collect::<Vec<_>>();
    failures.sort_by_key(|(path, _)| *path);
    assert!(
        matches!(
            &failures[..],
            [
                (Some("/memfd:gone (deleted)"), Error::Unreadable(_)),
                (Some("/program of 32 bits"), Error::Elf(super::elf::Error::Machine(EM_386))),
            ]
        ),
        "{failures:?}"
    );
    assert_eq!((found.looked_at.len(), found.left_out), (5, 0));
    // What is known is not looked into again.
    let again = find_of(proc.path(), &[7], &found.looked_at);
    assert!(again.libraries.is_empty() && again.failures.is_empty() && again.looked_at.is_empty());
    // Where there is nothing to read, this is a failure.
    assert_eq!(find(&proc.path().join("none"), &BTreeSet::new()).failures.len(), 1);
}

/// What this machine has of the files that points were tried on. Their bytes are in the tests of those, so that they
/// are tried everywhere; here it is told that they are found in the files.
#[test]
fn files_of_this_machine_are_understood_if_they_are_there() {
    for (path, kind, version, has_layout) in [
        ("/usr/lib/x86_64-linux-gnu/libssl.so.3", Kind::Openssl, Some("3"), true),
        ("/usr/bin/node", Kind::Openssl, None, true),
        ("/usr/lib/x86_64-linux-gnu/libgnutls-openssl.so.27", Kind::Unknown, Some(""), false),
        ("/usr/lib/x86_64-linux-gnu/libgnutls.so.30", Kind::Gnutls, Some("3"), false),
    ] {
        let Ok(file) = std::fs::File::open(path) else { continue };
        let facts = Facts::of(&file).expect("it makes sense");
        let [facts] = &facts[..] else { panic!("{path}: {facts:?}") };
        assert_eq!(facts.kind, kind, "{path}");
        assert_eq!(facts.layout.is_some(), has_layout, "{path}");
        if version != Some("") {
            assert_eq!(facts.version.as_deref(), version, "{path}");
            let family = if kind == Kind::Gnutls { Family::Gnutls } else { Family::Openssl };
            let all = Function::ALL.into_iter().filter(|function| function.family() == family);
            // But for what only goes on to another.
            let expected: Vec<_> = all.filter(|function| function.goes_on_to().is_none()).collect();
            assert_eq!(facts.functions.keys().copied().collect::<Vec<_>>(), expected, "{path}");
        }
        for points in facts.functions.values() {
            assert!(matches!(
                points.exit,
                Exit::Return
                    | Exit::Unneeded
                    | Exit::At { result: ResultPlace::StackWord(_) | ResultPlace::Returned, .. }
            ));
        }
    }
    for path in ["/proc/self/exe", "/usr/bin/env"] {
        let Ok(file) = std::fs::File::open(path) else { continue };
        assert_eq!(Facts::of(&file).expect("it makes sense"), [], "{path}");
    }
}
