//! Writes the protocol by hand ("Message Formats" in the `PostgreSQL` documentation).

pub use crate::ends::Ends;

/// A message that has a type.
pub fn message(kind: u8, payload: &[u8]) -> Vec<u8> {
    header(kind, payload.len() as u32 + 4).into_iter().chain(payload.iter().copied()).collect()
}

/// The start of a message that says it has this length.
pub fn header(kind: u8, length: u32) -> Vec<u8> {
    std::iter::once(kind).chain(length.to_be_bytes()).collect()
}

/// What a client starts with.
pub fn startup() -> Vec<u8> {
    let mut payload = 0x0003_0000_u32.to_be_bytes().to_vec();
    payload.extend(b"user\0nobody\0database\0none\0\0");
    let length = payload.len() as u32 + 4;
    length.to_be_bytes().into_iter().chain(payload).collect()
}

/// A simple query.
pub fn query(statement: &str) -> Vec<u8> {
    message(b'Q', &[statement.as_bytes(), b"\0"].concat())
}

/// `ReadyForQuery` with a state: `I`, `T` or `E`.
pub fn ready(state: u8) -> Vec<u8> {
    message(b'Z', &[state])
}

/// A row of one column.
pub fn row(value: &[u8]) -> Vec<u8> {
    let mut payload = 1_u16.to_be_bytes().to_vec();
    payload.extend((value.len() as u32).to_be_bytes());
    payload.extend(value);
    message(b'D', &payload)
}

/// `CommandComplete`.
pub fn complete(tag: &str) -> Vec<u8> {
    message(b'C', &[tag.as_bytes(), b"\0"].concat())
}

/// `ErrorResponse`.
pub fn error(code: &str) -> Vec<u8> {
    message(b'E', format!("SERROR\0VERROR\0C{code}\0Mno\0\0").as_bytes())
}

/// What a server says when it needs no password, up to its first `ReadyForQuery`.
pub fn welcome() -> Vec<u8> {
    let mut all = message(b'R', &[0; 4]);
    all.extend(message(b'S', b"server_version\x0015.0\0"));
    all.extend(message(b'K', &[0, 0, 0, 1, 0, 0, 0, 2]));
    all.extend(ready(b'I'));
    all
}

impl Ends {
    /// Connects them, and has them greet each other.
    pub fn greet() -> anyhow::Result<Self> {
        let mut ends = Self::connect()?;
        ends.ask(&startup())?;
        ends.answer(&welcome())?;
        Ok(ends)
    }
}
