//! HTTP/1 held against `httparse`, which reads heads, and sizes of chunks, on its own: whatever both take has the same
//! messages, at whatever places it is cut. What `httparse` refuses, or what is no message of RFC 9112, may be a desync.

mod common;

use common::Observed;
use common::turns::ROLES;
use httparse::Status;
use observer_ebpf::layout::Role;
use proptest::collection::vec;
use proptest::prelude::*;

/// A message as it was read: the method or the status, and the bytes of its body.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Message {
    start: String,
    body: u64,
}

/// What a stream of messages ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    /// Nothing, or a part of a message.
    Unfinished,
    /// What breaks the rules.
    Wrong,
}

/// How a body is framed, by its fields (RFC 9112, section 6.3); `None` where that is not to be told.
fn framing(headers: &[httparse::Header<'_>]) -> Option<Result<u64, ()>> {
    let values = |name: &str| {
        let name = name.to_owned();
        let named = headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(&name));
        named.flat_map(|header| header.value.split(|&byte| byte == b',')).map(<[u8]>::trim_ascii)
    };
    let codings: Vec<&[u8]> = values("transfer-encoding").filter(|value| !value.is_empty()).collect();
    if let Some(last) = codings.last() {
        return last.eq_ignore_ascii_case(b"chunked").then_some(Err(()));
    }
    let mut lengths = values("content-length")
        .map(|value| {
            core::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
        })
        .map(|text| text.and_then(|text| text.parse::<u64>().ok()));
    let Some(first) = lengths.next() else { return Some(Ok(0)) };
    let first = first?;
    lengths.all(|length| length == Some(first)).then_some(Ok(first))
}

/// Reads the body of a message; how long it is, and how many bytes it takes. `Err` for one that is not over.
fn body(framing: Result<u64, ()>, bytes: &[u8]) -> Result<(u64, usize), Rest> {
    if let Ok(length) = framing {
        return if length <= bytes.len() as u64 {
            Ok((length, length as usize))
        } else {
            Err(Rest::Unfinished)
        };
    }
    let (mut sum, mut at) = (0, 0);
    loop {
        let rest = bytes.get(at..).ok_or(Rest::Unfinished)?;
        match httparse::parse_chunk_size(rest) {
            Ok(Status::Complete((taken, 0))) => {
                at += taken;
                break;
            }
            Ok(Status::Complete((taken, size))) => {
                let end = usize::try_from(size).ok().and_then(|size| (at + taken).checked_add(size));
                let end = end.ok_or(Rest::Unfinished)?;
                match bytes.get(end..).map(|behind| behind.get(..2)) {
                    Some(Some(b"\r\n")) => {}
                    Some(Some(_)) => return Err(Rest::Wrong),
                    Some(None) | None => return Err(Rest::Unfinished),
                }
                sum += size;
                at = end + 2;
            }
            Ok(Status::Partial) => return Err(Rest::Unfinished),
            Err(_) => return Err(Rest::Wrong),
        }
    }
    let mut headers = [httparse::EMPTY_HEADER; 16];
    match httparse::parse_headers(&bytes[at..], &mut headers) {
        Ok(Status::Complete((taken, _))) => Ok((sum, at + taken)),
        Ok(Status::Partial) => Err(Rest::Unfinished),
        Err(_) => Err(Rest::Wrong),
    }
}

/// What a client's bytes are, as `httparse` reads them: requests whose heads are over, and how many of them are whole.
fn requests(mut bytes: &[u8]) -> (Vec<Message>, Rest) {
    let mut all = Vec::new();
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut request = httparse::Request::new(&mut headers);
        let taken = match request.parse(bytes) {
            Ok(Status::Complete(taken)) => taken,
            Ok(Status::Partial) => return (all, Rest::Unfinished),
            Err(_) => return (all, Rest::Wrong),
        };
        let start = request.method.unwrap_or_default().to_owned();
        let Some(framing) = framing(request.headers) else { return (all, Rest::Wrong) };
        match body(framing, &bytes[taken..]) {
            Ok((length, behind)) => {
                all.push(Message { start, body: length });
                bytes = &bytes[taken + behind..];
            }
            Err(rest) => {
                all.push(Message { start, body: framing.unwrap_or_default() });
                return (all, rest);
            }
        }
    }
}

/// Text of a field's value, or of another line.
fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-zA-Z0-9 ,;:=./_-]{0,40}", Just("chunked".to_owned()), Just("GET / HTTP/1.1".to_owned())]
}

/// Fields that do not matter to framing.
fn fields() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        "[A-Za-z][A-Za-z0-9-]{0,20}",
        prop::sample::select(vec![
            "Connection",
            "X-Content-Length",
            "Content-Lengths",
            "TE",
            "Transfer-Encodings",
            "Host"
        ])
        .prop_map(str::to_owned),
    ];
    let is_other = |name: &String| {
        !["content-length", "transfer-encoding"].iter().any(|other| name.eq_ignore_ascii_case(other))
    };
    let line = (name.prop_filter("it tells no length", is_other), "[ \t]{0,2}", text())
        .prop_map(|(name, space, value)| format!("{name}:{space}{value}\r\n"));
    vec(line, 0..6).prop_map(|lines| lines.concat())
}

/// A body, with the fields that frame it.
fn framed() -> impl Strategy<Value = (String, Vec<u8>)> {
    let bytes = vec(any::<u8>(), 0..80);
    prop_oneof![
        Just((String::new(), Vec::new())),
        (bytes.clone(), "[0]{0,3}")
            .prop_map(|(body, zeroes)| { (format!("Content-Length: {zeroes}{}\r\n", body.len()), body) }),
        (vec(vec(any::<u8>(), 1..40), 0..5), any::<bool>(), "(;[a-z=]{0,9})?").prop_map(
            |(chunks, upper, more)| {
                let mut body = Vec::new();
                for chunk in &chunks {
                    let size = format!("{:x}", chunk.len());
                    let size = if upper { size.to_uppercase() } else { size };
                    body.extend(format!("{size}{more}\r\n").as_bytes());
                    body.extend(chunk);
                    body.extend(b"\r\n");
                }
                body.extend(b"0\r\nTrailer: x\r\n\r\n");
                ("transfer-encoding: gzip,  CHUNKED\r\n".to_owned(), body)
            }
        ),
    ]
}

/// A request, as bytes.
fn request() -> impl Strategy<Value = Vec<u8>> {
    let method =
        prop::sample::select(vec!["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW", "HEAD"]);
    (
        method,
        "(/[a-z0-9%.=@-]{0,40}){1,11}([?][a-z/&= ?]{0,0}[a-z/&=?]{0,20})?",
        0..2,
        fields(),
        framed(),
        fields(),
    )
        .prop_map(|(method, target, version, before, (framing, body), after)| {
            let head = format!("{method} {target} HTTP/1.{version}\r\n{before}{framing}{after}\r\n");
            [head.as_bytes(), &body].concat()
        })
}

/// Feeds bytes of a side in calls and buffers of these lengths, round and round.
fn feed(observed: &mut Observed, server: bool, bytes: &[u8], cuts: &[(u8, u8)]) {
    observed.by_cuts(server, bytes, &mut cuts.iter().cycle());
}

fn cuts() -> impl Strategy<Value = Vec<(u8, u8)>> {
    vec((any::<u8>(), 1..60u8), 1..6)
}

/// Has a connection known to be HTTP, with nothing in flight.
fn begin(role: Role) -> Observed {
    let mut observed = Observed::new(role);
    observed.client(b"GET /first HTTP/1.1\r\n\r\n");
    observed.server(b"HTTP/1.1 204 No Content\r\n\r\n");
    observed.labels.done.clear();
    observed
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn requests_are_those_that_httparse_reads(all in vec(request(), 1..8), cuts in cuts(), server: bool) {
        let bytes = all.concat();
        let (expected, rest) = requests(&bytes);
        prop_assert_eq!(rest, Rest::Unfinished);
        prop_assert_eq!(expected.len(), all.len());
        let mut observed = begin(ROLES[usize::from(server)]);
        feed(&mut observed, false, &bytes, &cuts);
        prop_assert_eq!(observed.connection.http().in_flight() as usize, all.len());
        feed(&mut observed, true, &b"HTTP/1.1 204 No Content\r\n\r\n".repeat(all.len()), &cuts);
        prop_assert!(observed.desyncs.is_empty(), "{:?}", observed.desyncs);
        let sizes: Vec<u64> = observed.labels.done.iter().map(|done| done.request_bytes).collect();
        let expected: Vec<u64> = expected.iter().map(|message| message.body).collect();
        prop_assert_eq!(sizes, expected);
    }

    #[test]
    fn answers_are_framed_as_requests_are(all in vec((framed(), fields(), 200..600u16), 1..8), cuts in cuts(), server: bool) {
        let mut bytes = Vec::new();
        let mut expected = Vec::new();
        for ((framing, body), fields, status) in &all {
            // One without length would end with the connection.
            let framing = if framing.is_empty() { "Content-Length: 0\r\n" } else { framing };
            let has_body = !matches!(status, 204 | 304);
            let head = format!("HTTP/1.1 {status} x\r\n{fields}{framing}\r\n");
            let mut headers = [httparse::EMPTY_HEADER; 32];
            let mut response = httparse::Response::new(&mut headers);
            prop_assert!(matches!(response.parse(head.as_bytes()), Ok(Status::Complete(_))));
            prop_assert_eq!(response.code, Some(*status));
            let framed = super_framing(response.headers);
            bytes.extend(head.as_bytes());
            if has_body {
                bytes.extend(body);
                let (length, taken) = body_of(framed, body);
                prop_assert_eq!(taken, body.len());
                expected.push(length);
            } else {
                expected.push(0);
            }
        }
        let mut observed = begin(ROLES[usize::from(server)]);
        feed(&mut observed, false, &b"GET /first HTTP/1.1\r\n\r\n".repeat(all.len()), &cuts);
        feed(&mut observed, true, &bytes, &cuts);
        prop_assert!(observed.desyncs.is_empty(), "{:?}", observed.desyncs);
        let sizes: Vec<u64> = observed.labels.done.iter().map(|done| done.response_bytes).collect();
        prop_assert_eq!(sizes, expected);
    }

    #[test]
    fn what_is_altered_is_read_alike_or_not_at_all(
        all in vec(request(), 1..5),
        changes in vec((any::<prop::sample::Index>(), prop_oneof![any::<u8>(), prop::sample::select(b"\r\n :;,0159afAF/".to_vec())], 0..3u8), 1..5),
        cuts in cuts(),
    ) {
        let mut bytes = all.concat();
        for (place, byte, how) in changes {
            let at = place.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => { bytes.remove(at); }
            }
            if bytes.is_empty() {
                return Ok(());
            }
        }
        let (expected, rest) = requests(&bytes);
        let mut observed = begin(Role::Server);
        feed(&mut observed, false, &bytes, &cuts);
        let asked = observed.connection.http().in_flight() as usize;
        // Where `httparse` finds fault, it may be in what does not matter here.
        if rest == Rest::Unfinished && observed.desyncs.is_empty() {
            prop_assert_eq!(asked, expected.len(), "{}", bytes.escape_ascii());
        } else if rest == Rest::Unfinished {
            prop_assert!(asked <= expected.len(), "{}", bytes.escape_ascii());
        }
    }
}

fn super_framing(headers: &[httparse::Header<'_>]) -> Result<u64, ()> {
    framing(headers).expect("it is framed well")
}

fn body_of(framing: Result<u64, ()>, bytes: &[u8]) -> (u64, usize) {
    body(framing, bytes).expect("it is whole")
}
