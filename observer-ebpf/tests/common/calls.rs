//! Sessions of a request and its answer, as calls: fed whole or in parts, and read from recordings.

use super::Observed;

/// What one call moved, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    /// Whether the server wrote it.
    pub(crate) server: bool,
    pub(crate) bytes: Vec<u8>,
    pub(crate) now_ns: u64,
}

/// Feeds a call, in parts of these lengths and then the rest.
pub(crate) fn parts(observed: &mut Observed, call: &Call, lengths: &[usize]) {
    observed.now_ns = call.now_ns;
    let mut rest = &call.bytes[..];
    for &length in lengths.iter().chain([&usize::MAX]) {
        let (part, behind) = rest.split_at(length.min(rest.len()));
        if call.server {
            observed.server(part);
        } else {
            observed.client(part);
        }
        rest = behind;
    }
}

/// Feeds all calls whole.
pub(crate) fn observe(observed: &mut Observed, calls: &[Call]) {
    for call in calls {
        parts(observed, call, &[]);
    }
}

/// The calls of the recording of this name, each so long after the one before, the first so long after `start_ns`.
///
/// A line is a call: `<` if the server wrote it, else `>`, a space, and its bytes, escaped.
pub(crate) fn recorded(recordings: &[(&str, &str)], name: &str, start_ns: u64, each_ns: u64) -> Vec<Call> {
    let text = recordings.iter().find(|(known, _)| *known == name).expect("a recording of this name").1;
    let call = |(line, number): (&str, u64)| {
        let (from, bytes) = line.split_once(' ').expect("a direction and bytes");
        Call { server: from == "<", bytes: unescaped(bytes), now_ns: start_ns + each_ns * number }
    };
    text.lines().zip(1..).map(call).collect()
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
