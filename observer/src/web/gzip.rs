//! Answers compressed for those who ask for it.

use std::io::Write as _;

use axum::body::{Body, HttpBody as _, to_bytes};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use flate2::Compression;
use flate2::write::GzEncoder;

/// A smaller answer fits a packet as it is.
const LEAST: u64 = 1024;

/// The same answer, compressed if it is worth it.
pub(super) async fn compressed(mut answer: Response) -> Response {
    let is_worth_it = answer.body().size_hint().exact().is_some_and(|bytes| bytes >= LEAST);
    if !is_worth_it || answer.headers().contains_key(header::CONTENT_ENCODING) {
        return answer;
    }
    // Bodies are whole, in memory: neither is there anything to wait for, nor can it fail.
    let Ok(plain) = to_bytes(std::mem::take(answer.body_mut()), usize::MAX).await else { return answer };
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 8), Compression::fast());
    match encoder.write_all(&plain).and_then(|()| encoder.finish()) {
        Ok(mut packed) => {
            packed.shrink_to_fit();
            *answer.body_mut() = Body::from(packed);
            answer.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            answer.headers_mut().remove(header::CONTENT_LENGTH);
        }
        // Writing to memory does not fail.
        Err(_) => *answer.body_mut() = Body::from(plain),
    }
    answer
}
