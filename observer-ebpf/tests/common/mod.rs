//! What the tests here share: a builder that writes frames and counts them, a source that is as strict as the
//! kernel's, and one connection to feed. The fuzz targets use it too.
#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(unused_imports, reason = "each test binary uses a part of it")]

pub(crate) mod caches;
mod calls;
pub(crate) mod heads;
mod labels;
pub(crate) mod llhttp;
mod observed;
pub(crate) mod proxy;
pub(crate) mod queues;
pub(crate) mod recording;
mod reference;
mod source;
pub(crate) mod topics;
pub(crate) mod turns;
mod wire;

pub(crate) use calls::{Call, add_call, lengths, observe, parts, recorded};
pub(crate) use labels::{Labels, Row};
pub(crate) use observed::Observed;
pub(crate) use reference::{Reference, refer};
pub(crate) use source::{Buffers, Keys};
pub(crate) use wire::{CLOSE, Extension, Form, Handshake, PING, PONG, Wire, first_byte};
