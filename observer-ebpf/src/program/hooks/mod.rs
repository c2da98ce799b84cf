//! Where the program is called from: one file a hook, or two that are one thing.

mod adopt;
mod connection;
mod data;
mod exits;
mod io_uring;
mod libraries;
mod refresh;
