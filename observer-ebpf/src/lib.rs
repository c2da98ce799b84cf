//! What both halves of observer share: the layouts of the maps, and the parsers.
//!
//! The parsers are pure and bounded, and are compiled twice: into the BPF program, where a
//! [`wire::source::Source`] reads the memory of the process in a system call, and for the host, where
//! it reads a slice. So the code that runs in the kernel is the code that the tests split, generate
//! and fuzz.
#![no_std]

pub mod layout;
pub mod wire;
