//! Running a BPF iterator program once (`kernel/bpf/bpf_iter.c`).
//!
//! `aya` attaches iterators that need no target. One over socket storage needs the map, in `bpf(2)`'s
//! `link_create.iter_info`, which is what this adds.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use super::bpf;

const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_ITER_CREATE: libc::c_int = 33;
const BPF_TRACE_ITER: u32 = 28;

/// `struct { … } link_create` of `union bpf_attr` (`include/uapi/linux/bpf.h`), up to what iterators use.
#[repr(C)]
struct LinkCreate {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
    info: u64,
    info_length: u32,
    padding: u32,
}

/// `struct { … } iter_create` of `union bpf_attr`.
#[repr(C)]
struct IterCreate {
    link: u32,
    flags: u32,
}

/// An attached iterator: each [`BpfIter::run`] goes over everything once.
#[derive(Debug)]
pub struct BpfIter {
    link: OwnedFd,
}

impl BpfIter {
    /// Attaches `program`, over the entries of `map` if it is one over a map.
    pub fn attach(program: BorrowedFd<'_>, map: Option<BorrowedFd<'_>>) -> io::Result<Self> {
        // `union bpf_iter_link_info`: for a map, its descriptor.
        let info: [u32; 4] = [map.map_or(0, |map| raw(map)), 0, 0, 0];
        let mut attributes = LinkCreate {
            program: raw(program),
            target: 0,
            attach_type: BPF_TRACE_ITER,
            flags: 0,
            info: if map.is_some() { info.as_ptr() as u64 } else { 0 },
            info_length: if map.is_some() { size_of_val(&info) as u32 } else { 0 },
            padding: 0,
        };
        // SAFETY: `info` is as long as it is said to be, and is there until the call is over.
        Ok(Self { link: unsafe { bpf::open(BPF_LINK_CREATE, &mut attributes)? } })
    }

    /// Runs the program for every object.
    pub fn run(&self) -> io::Result<()> {
        let mut attributes = IterCreate { link: self.link.as_raw_fd().cast_unsigned(), flags: 0 };
        // SAFETY: there is no address in the attributes.
        let mut file = File::from(unsafe { bpf::open(BPF_ITER_CREATE, &mut attributes)? });
        let mut rest = [0; 4096];
        loop {
            match file.read(&mut rest) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                // The kernel pauses after a million objects without output.
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn raw(descriptor: BorrowedFd<'_>) -> u32 {
    descriptor.as_raw_fd().cast_unsigned()
}
