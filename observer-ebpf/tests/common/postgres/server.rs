//! What a server writes. `postgres-protocol` only reads it, so it is written by hand, and read back wherever a
//! [`super::Script`] holds it.

/// A message of this type.
pub(crate) fn message(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len() + 4).expect("a message of the tests is short");
    [&[kind], &length.to_be_bytes()[..], payload].concat()
}

/// `ReadyForQuery`
pub(crate) fn ready(status: u8) -> Vec<u8> {
    message(b'Z', &[status])
}

/// `CommandComplete`
pub(crate) fn complete(tag: &str) -> Vec<u8> {
    message(b'C', format!("{tag}\0").as_bytes())
}

/// `ErrorResponse`, its fields in the order of the server's.
pub(crate) fn error(code: &str) -> Vec<u8> {
    message(b'E', format!("SERROR\0VERROR\0C{code}\0MCno such C\0Fparse_relation.c\0\0").as_bytes())
}

/// `NoticeResponse`, which looks much like an error.
pub(crate) fn notice() -> Vec<u8> {
    message(b'N', b"SNOTICE\0VNOTICE\0C00000\0Mhello\0\0")
}

/// `NotificationResponse`
pub(crate) fn notification() -> Vec<u8> {
    message(b'A', b"\0\0\0\x07channel\0Z\0")
}

/// `ParameterStatus`
pub(crate) fn parameter(name: &str, value: &str) -> Vec<u8> {
    message(b'S', format!("{name}\0{value}\0").as_bytes())
}

/// `DataRow` of one column.
pub(crate) fn row(value: &[u8]) -> Vec<u8> {
    let length = u32::try_from(value.len()).expect("a value of the tests is short");
    message(b'D', &[&[0, 1], &length.to_be_bytes()[..], value].concat())
}

/// `RowDescription` of one column.
pub(crate) fn columns() -> Vec<u8> {
    message(b'T', b"\0\x01Z\0\0\0\0\0\0\0\0\0\0\x17\0\x04\xFF\xFF\xFF\xFF\0\0")
}

/// `Authentication…` of this kind.
pub(crate) fn authentication(kind: u32, rest: &[u8]) -> Vec<u8> {
    message(b'R', &[&kind.to_be_bytes()[..], rest].concat())
}

/// `BackendKeyData`
pub(crate) fn key() -> Vec<u8> {
    message(b'K', &[0, 0, 0x5A, 0, 0, 0, 5, b'I'])
}

/// `CopyInResponse`, `CopyOutResponse` or `CopyBothResponse` of one text column.
pub(crate) fn copy(kind: u8) -> Vec<u8> {
    message(kind, &[0, 0, 1, 0, 0])
}

/// `CopyData`
pub(crate) fn copied(data: &[u8]) -> Vec<u8> {
    message(b'd', data)
}

/// What is said in a stream of replication, as `CopyData`: WAL, or that it is alive. A server starts with `w` or `k`, a
/// standby with `r`.
pub(crate) fn replicated(kind: u8, data: &[u8]) -> Vec<u8> {
    let header = match kind {
        b'w' => 24,
        b'k' => 17,
        _ => 33,
    };
    copied(&[&[kind], &[0; 33][..header], data].concat())
}

/// Bytes in which every few hold a `ReadyForQuery`, or the start of one.
pub(crate) fn lookalike(size: usize) -> Vec<u8> {
    b"Z\0\0\0\x05TZ\0\0\0\x05ID\0E\0\0\0\x09C53300\0\0C\0\0\0\x0dSELECT 1\0Q\0"
        .iter()
        .copied()
        .cycle()
        .take(size)
        .collect()
}
