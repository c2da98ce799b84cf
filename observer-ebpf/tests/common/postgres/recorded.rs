//! Sessions with a `PostgreSQL` 15 server, recorded by a proxy in between: a line for each read.

use super::script::{START_NS, STEP_NS};
use crate::common::{self, Call};

macro_rules! recordings {
    ($($name:literal),* $(,)?) => {
        /// Names and texts of all.
        pub(crate) const RECORDED: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../../recorded/", $name, ".txt")))),*];
    };
}

recordings!(
    "simple",
    "password",
    "scram",
    "scram-refused",
    "too-many",
    "ssl-no",
    "ssl-yes",
    "copy",
    "function-call",
    "cancel",
    "cancel-request",
    "pgbench-extended",
    "pgbench-prepared",
    "pgbench-pipeline",
    "pgbench-pipeline-error",
);

/// The calls of a recording.
pub(crate) fn recorded(name: &str) -> Vec<Call> {
    common::recorded(RECORDED, name, START_NS, STEP_NS)
}
