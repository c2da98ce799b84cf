//! What the tests of Kafka share: messages, connections, and what is known of them.
#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(unused_imports, reason = "each test binary uses a part of it")]

mod batch;
mod exchanges;
mod messages;
mod model;
mod noise;
mod outcome;
mod recorded;
mod sessions;
mod talk;

pub(crate) use batch::{Batch, old_message, with};
pub(crate) use exchanges::{fetch, fetched, fetching, heard, heartbeat, produce, produced};
pub(crate) use messages::{request, request_of, response, response_of, sized, text};
pub(crate) use model::{Model, found};
pub(crate) use noise::Noise;
pub(crate) use outcome::{Outcome, assert_sound, named};
pub(crate) use recorded::{RECORDED, recorded};
pub(crate) use sessions::{CLIENT, MS, NOW_MS, each_way, observed, outcome, session};
pub(crate) use talk::{Talk, VERSIONS};
