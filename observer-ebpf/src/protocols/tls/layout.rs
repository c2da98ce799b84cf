//! TLS counts nothing: it is told by the connection itself that it is encrypted
//! ([`Connection::is_encrypted`](crate::layout::connection::Connection::is_encrypted)).

/// What is known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Counters {}
