//! What both halves of observer share: the layouts of the maps, and the parsers.
//!
//! The parsers are pure and bounded, and are compiled twice: into the BPF program, where
//! [`Bytes`](stream::bytes::Bytes) are read from the memory of the process in a system call, and for the host, where
//! they are read from a slice. [`Session::feed`](stream::session::Session::feed), which leads a call's bytes to the
//! parser of what is spoken, is the same for both: the code that runs in the kernel is the code that the tests split,
//! generate and fuzz.
//!
//! [`protocols`] is the table of protocols, with a folder for each; [`stream`] is what is the same for all of them;
//! [`layout`] is what the agent reads.
#![no_std]

#[macro_use]
pub mod layout;
pub mod members;
pub mod protocols;
pub mod queues;
pub mod stream;
