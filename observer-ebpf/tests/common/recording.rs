//! The text that recordings are kept as: a line for each read or write, `>` if from the client, `<` if from the server,
//! then its bytes, escaped.

/// The calls of a recording: whether the server's, and its bytes.
pub(crate) fn calls(text: &str) -> impl Iterator<Item = (bool, Vec<u8>)> {
    text.lines().map(|line| {
        let (from, bytes) = line.split_once(' ').expect("a direction and bytes");
        (from == "<", unescaped(bytes))
    })
}

/// The bytes that an escaped text stands for.
pub(crate) fn unescaped(text: &str) -> Vec<u8> {
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
