//! Sessions of clients of other libraries, as they were recorded.

use crate::common::Call;

macro_rules! recordings {
    ($($name:literal),*) => {
        &[$(($name, include_str!(concat!("../../recorded/kafka-", $name, ".txt")))),*]
    };
}

/// A producer's, a consumer's and its coordinator's connection, of three libraries.
pub(crate) const RECORDED: &[(&str, &str)] = recordings![
    "librdkafka-produce",
    "librdkafka-consume",
    "librdkafka-group",
    "aiokafka-produce",
    "aiokafka-consume",
    "aiokafka-group",
    "python-produce",
    "python-consume",
    "python-group"
];

pub(crate) fn recorded(name: &str) -> Vec<Call> {
    crate::common::recorded(RECORDED, name, 0, 1_000)
}
