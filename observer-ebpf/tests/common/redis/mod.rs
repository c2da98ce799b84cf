//! What the tests of Redis share: recorded sessions, and connections to feed them to.
#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(unused_imports, reason = "each test binary uses a part of it")]

mod observe;
mod recorded;

pub(crate) use observe::{Outcome, ask, command, observed, outcome, session};
pub(crate) use recorded::{RECORDED, recorded};
