//! Sessions with redis-server 7.0, recorded by a client: a line for each write, `>`, and each read, `<`, then its
//! bytes, escaped.

use super::Call;

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
    let text = RECORDED.iter().find(|(known, _)| *known == name).expect("a recording of this name").1;
    let lines = text.lines().zip(1u64..);
    let call = |(line, number): (&str, u64)| {
        let (from, bytes) = line.split_once(' ').expect("a direction and bytes");
        Call { server: from == "<", bytes: unescaped(bytes), now_ns: 1_000 * number }
    };
    lines.map(call).collect()
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
