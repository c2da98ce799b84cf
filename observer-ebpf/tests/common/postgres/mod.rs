//! Postgres sessions for the tests: written message by message, read from recordings, and counted by a plain model.
//! Shares no code with the parser.
#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(unused_imports, reason = "each test binary uses a part of it")]

mod model;
mod observe;
mod recorded;
mod script;
pub(crate) mod server;
mod session;

pub(crate) use model::{Model, keyword};
pub(crate) use observe::{Outcome, SEEN_NS, observed, outcome};
pub(crate) use recorded::{RECORDED, recorded};
pub(crate) use script::{Script, client};
pub(crate) use session::{Request, STATEMENTS, Start, known};
