//! What a client can read: `Accept` and `Accept-Encoding`, with their weights (RFC 9110, section 12).
//!
//! Parsing is total: what is not understood asks for nothing.

use axum::http::{HeaderMap, HeaderName, header};

use crate::metrics::encode::Format;

/// One thing that a client can read: `text/plain; version=0.0.4; q=0.5`.
#[derive(Clone, Debug, PartialEq)]
struct Choice<'a> {
    /// A media type or a coding, without its parameters.
    name: &'a str,
    version: Option<&'a str>,
    /// From 0, which is never, to 1000.
    weight: u16,
}

/// The choices of a header, which may be there several times.
fn choices(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = Choice<'_>> {
    headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(choice)
}

fn choice(text: &str) -> Option<Choice<'_>> {
    let mut parts = text.split(';').map(str::trim);
    let name = parts.next().filter(|name| !name.is_empty())?;
    let mut choice = Choice { name, version: None, weight: 1000 };
    for part in parts {
        let Some((key, value)) = part.split_once('=') else { continue };
        let (key, value) = (key.trim(), value.trim().trim_matches('"'));
        if key.eq_ignore_ascii_case("q") {
            choice.weight = weight(value)?;
        } else if key.eq_ignore_ascii_case("version") {
            choice.version = Some(value);
        }
    }
    Some(choice)
}

/// `0`, `1`, and up to three digits behind a point.
fn weight(text: &str) -> Option<u16> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let thousandths = format!("{fraction:0<3}").parse().ok()?;
    match (whole, thousandths) {
        ("0", thousandths) => Some(thousandths),
        ("1", 0) => Some(1000),
        _ => None,
    }
}

/// The format of `/metrics`. `OpenMetrics` is for who names it; everybody else reads text.
pub(super) fn format(headers: &HeaderMap) -> Format {
    let mut openmetrics = 0;
    // By the most exact of what has been said of it: type and subtype, type alone, anything.
    let mut text = [None; 3];
    for Choice { name, version, weight } in choices(headers, header::ACCEPT) {
        if name.eq_ignore_ascii_case("application/openmetrics-text") {
            if matches!(version, None | Some("1.0.0")) {
                openmetrics = openmetrics.max(weight);
            }
            continue;
        }
        let exactness = match name {
            name if name.eq_ignore_ascii_case("text/plain") && matches!(version, None | Some("0.0.4")) => 0,
            name if name.eq_ignore_ascii_case("text/*") => 1,
            "*/*" => 2,
            _ => continue,
        };
        text[exactness] = text[exactness].max(Some(weight));
    }
    let text = text.into_iter().flatten().next().unwrap_or_default();
    if openmetrics > 0 && openmetrics >= text { Format::OpenMetrics } else { Format::Text }
}

/// Whether an answer may be compressed with gzip, and is rather read so.
pub(super) fn gzip(headers: &HeaderMap) -> bool {
    let (mut gzip, mut identity, mut any) = (None, None, None);
    for Choice { name, weight, .. } in choices(headers, header::ACCEPT_ENCODING) {
        let said = match name {
            name if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") => &mut gzip,
            name if name.eq_ignore_ascii_case("identity") => &mut identity,
            "*" => &mut any,
            _ => continue,
        };
        *said = (*said).max(Some(weight));
    }
    // Plain is always possible; it is preferred only where it is named.
    let gzip = gzip.or(any).unwrap_or_default();
    gzip > 0 && gzip >= identity.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
    use proptest::prelude::*;

    use super::{format, gzip, weight};
    use crate::metrics::encode::Format;

    fn with(name: HeaderName, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_str(value).expect("a header's value"));
        headers
    }

    #[test]
    fn the_format_is_the_one_preferred() {
        use Format::{OpenMetrics, Text};
        for (accept, expected) in [
            // Prometheus 2.42 and 3.0, and what browsers and curl say.
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                OpenMetrics,
            ),
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;\
                q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                OpenMetrics,
            ),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Text),
            ("*/*", Text),
            ("application/*", Text),
            ("", Text),
            ("APPLICATION/OpenMetrics-Text", OpenMetrics),
            ("application/openmetrics-text; version=\"1.0.0\" ; Q=0.2", OpenMetrics),
            ("application/openmetrics-text;version=0.0.1", Text),
            ("application/openmetrics-text;version=2.0.0,*/*;q=0.1", Text),
            ("application/openmetrics-text;q=0", Text),
            ("application/openmetrics-text;q=0.4,text/plain;q=0.5", Text),
            ("application/openmetrics-text;q=0.5,text/plain;q=0.4", OpenMetrics),
            ("application/openmetrics-text;q=0.5,text/*;q=0.4,*/*", OpenMetrics),
            ("application/openmetrics-text;q=0.5,*/*;q=0.6", Text),
            ("application/openmetrics-text;q=2", Text),
            ("application/openmetrics-text;q=0.5555", Text),
        ] {
            assert_eq!(format(&with(header::ACCEPT, accept)), expected, "{accept}");
        }
        assert_eq!(format(&HeaderMap::new()), Text);
    }

    #[test]
    fn gzip_is_for_who_can_read_it() {
        for (accept, expected) in [
            ("gzip", true),
            ("deflate, GZIP;q=1.0, br", true),
            ("x-gzip", true),
            ("*", true),
            ("gzip;q=0", false),
            ("gzip;q=0.000, *", false),
            ("*;q=0", false),
            ("identity", false),
            ("identity, gzip;q=0.5", false),
            ("identity;q=0.5, gzip", true),
            ("br", false),
            ("", false),
            ("gzip;q=x", false),
        ] {
            assert_eq!(gzip(&with(header::ACCEPT_ENCODING, accept)), expected, "{accept}");
        }
        assert!(!gzip(&HeaderMap::new()));
    }

    #[test]
    fn weights_are_read_as_they_are_written() {
        for (text, expected) in [
            ("0", Some(0)),
            ("1", Some(1000)),
            ("1.", Some(1000)),
            ("1.000", Some(1000)),
            ("0.5", Some(500)),
            ("0.05", Some(50)),
            ("0.005", Some(5)),
            ("1.001", None),
            ("0.0005", None),
            ("-1", None),
            ("0.+5", None),
            ("2", None),
            ("", None),
            ("0.é", None),
        ] {
            assert_eq!(weight(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn anything_is_answered(accept in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut headers = HeaderMap::new();
            if let Ok(value) = HeaderValue::from_bytes(&accept) {
                headers.insert(header::ACCEPT, value.clone());
                headers.insert(header::ACCEPT_ENCODING, value);
            }
            let _ = (format(&headers), gzip(&headers));
        }
    }
}
