//! Sessions with a `PostgreSQL` 15 server, recorded by a proxy in between: a line for each read, `>` if from the
//! client, then its bytes, escaped.

use super::{Call, Script};

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
    let text = RECORDED.iter().find(|(known, _)| *known == name).expect("a recording of this name").1;
    let mut script = Script::new();
    for line in text.lines() {
        let (from, bytes) = line.split_once(' ').expect("a direction and bytes");
        let bytes = unescaped(bytes);
        if from == "<" {
            script.server(&bytes);
        } else {
            script.client(&bytes);
        }
    }
    script.calls
}

fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = text.bytes();
    let mut all = Vec::new();
    while let Some(byte) = bytes.next() {
        let escaped = if byte == b'\\' { bytes.next() } else { None };
        all.push(match escaped {
            None => byte,
            Some(b'n') => b'\n',
            Some(b'0') => 0,
            Some(b'x') => {
                let digits = [bytes.next(), bytes.next()].map(|digit| digit.expect("two digits") as char);
                let value = digits.map(|digit| digit.to_digit(16).expect("a digit"));
                (value[0] * 16 + value[1]) as u8
            }
            Some(other) => other,
        });
    }
    all
}
