//! Requests and responses, with bodies of whatever bytes and as the `kafka-protocol` crate writes them.

use bytes::{BufMut as _, BytesMut};
use kafka_protocol::messages::{RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Encodable, HeaderVersion, Request, StrBytes};

pub(crate) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// Bytes behind their number.
pub(crate) fn sized(bytes: &[u8]) -> Vec<u8> {
    let size = u32::try_from(bytes.len()).expect("a message is short");
    [&size.to_be_bytes()[..], bytes].concat()
}

/// A request with a body of whatever bytes.
pub(crate) fn request_of(
    key: i16,
    version: i16,
    correlation: i32,
    client: Option<&str>,
    body: &[u8],
) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.put_i16(key);
    bytes.put_i16(version);
    bytes.put_i32(correlation);
    bytes.put_i16(client.map_or(-1, |client| i16::try_from(client.len()).expect("a short name")));
    bytes.extend(client.unwrap_or_default().bytes());
    bytes.extend(body);
    sized(&bytes)
}

/// A response with a body of whatever bytes.
pub(crate) fn response_of(correlation: i32, body: &[u8]) -> Vec<u8> {
    sized(&[&correlation.to_be_bytes()[..], body].concat())
}

/// A request as the other implementation writes it.
pub(crate) fn request<T: Request>(version: i16, correlation: i32, client: Option<&str>, body: &T) -> Vec<u8> {
    let header = RequestHeader::default()
        .with_request_api_key(T::KEY)
        .with_request_api_version(version)
        .with_correlation_id(correlation)
        .with_client_id(client.map(text));
    let mut bytes = BytesMut::new();
    header.encode(&mut bytes, T::header_version(version)).expect("a header");
    body.encode(&mut bytes, version).expect("a body of this version");
    sized(&bytes)
}

/// A response as the other implementation writes it.
pub(crate) fn response<T: Encodable + HeaderVersion>(version: i16, correlation: i32, body: &T) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    let header = ResponseHeader::default().with_correlation_id(correlation);
    header.encode(&mut bytes, T::header_version(version)).expect("a header");
    body.encode(&mut bytes, version).expect("a body of this version");
    sized(&bytes)
}
