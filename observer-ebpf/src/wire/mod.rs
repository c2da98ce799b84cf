//! The parsers: bytes of a stream in, counts and states out.
//!
//! They need only headers, so they keep a count of bytes to skip and look at the few between. All are
//! total: whatever the bytes, they count or fall out of step with a reason, in bounded work.

pub mod detect;
mod head;
pub mod http;
pub mod postgres;
pub mod redis;
pub mod session;
pub mod source;
pub mod websocket;
