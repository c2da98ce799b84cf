//! TLS counts nothing: it is told by the connection itself that it is encrypted
//! ([`Connection::encrypted`](crate::layout::connection::Connection::encrypted)).

/// What is known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Counters {}
