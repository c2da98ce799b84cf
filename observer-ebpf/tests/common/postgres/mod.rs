//! Postgres sessions for the tests: written message by message, read from recordings, and counted by a plain model.
//! Shares no code with the parser.
#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(unused_imports, reason = "each test binary uses a part of it")]

mod idle;
mod model;
mod observe;
mod recorded;
mod request;
mod script;
pub(crate) mod server;
mod session;
mod start;

pub(crate) use idle::{CLIENT_TYPES, SERVER_TYPES, assert_right, cycle, header, idle, query};
pub(crate) use model::{Model, keyword};
pub(crate) use observe::{Outcome, SEEN_NS, observed, outcome, queries};
pub(crate) use recorded::{RECORDED, recorded};
pub(crate) use request::{Request, STATEMENTS};
pub(crate) use script::{Script, client};
pub(crate) use session::known;
pub(crate) use start::Start;
