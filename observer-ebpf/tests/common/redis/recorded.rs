//! Sessions with redis-server 7.0, recorded by a client: a line for each write and each read.

use crate::common::{self, Call};

macro_rules! recordings {
    ($($name:literal),* $(,)?) => {
        /// Names and texts of all.
        pub(crate) const RECORDED: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../../recorded/redis-", $name, ".txt")))),*];
    };
}

recordings!(
    "basic",
    "resp3",
    "pipeline",
    "transaction",
    "pubsub",
    "blocking",
    "errors",
    "inline",
    "info",
    "client-reply",
    "monitor",
);

/// The calls of a recording. A command takes 1,000 ns to its reply.
pub(crate) fn recorded(name: &str) -> Vec<Call> {
    common::recorded(RECORDED, name, 0, 1_000)
}
