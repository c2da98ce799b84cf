//! What a session must count: message by message, each only once it is whole, the server's read by
//! `postgres-protocol`. Knows only sessions that are in sync.

use std::collections::VecDeque;

use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use observer_ebpf::layout::Protocol;
use observer_ebpf::protocols::postgres::layout::{
    Counters, ERROR_CLASSES, OTHER_CLASSES, QueryKind, STARTS, State,
};
use postgres_protocol::message::backend::Message;

use super::script::is_read;

#[derive(Clone, Copy, Debug)]
struct Request {
    began_ns: u64,
    kind: QueryKind,
    /// Whether it asks for more than to prepare: only that is a query.
    executed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Startup,
    /// A request for encryption is unanswered.
    Asked,
    Session,
    /// The server has said in plain text that there is no session.
    Refused,
    Over,
}

/// One session.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) protocol: Protocol,
    pub(crate) counters: Counters,
    phase: Phase,
    client: BytesMut,
    server: BytesMut,
    seen_ns: u64,
    in_flight: VecDeque<Request>,
    /// Whether the newest request goes on.
    open: bool,
    /// Whether the first byte of the client's message in progress was taken note of.
    noted: bool,
    /// Whether a COPY has just been ended by the client.
    copied: bool,
    tag: Option<QueryKind>,
    transaction: Option<u64>,
    errors: Vec<([u8; 2], u32)>,
}

impl Model {
    pub(crate) fn new(seen_ns: u64) -> Self {
        Self {
            protocol: Protocol::Unknown,
            counters: Counters::ZERO,
            phase: Phase::Startup,
            client: BytesMut::new(),
            server: BytesMut::new(),
            seen_ns,
            in_flight: VecDeque::new(),
            open: false,
            noted: false,
            copied: false,
            tag: None,
            transaction: None,
            errors: Vec::new(),
        }
    }

    /// Bytes that moved at this time.
    pub(crate) fn feed(&mut self, server: bool, bytes: &[u8], now_ns: u64) {
        if self.phase == Phase::Over {
            return;
        }
        if server {
            self.server.extend_from_slice(bytes);
            while self.take_server(now_ns) {}
        } else {
            self.client.extend_from_slice(bytes);
            while self.take_client(now_ns) {}
        }
        let classes = self.errors.iter().zip(&mut self.counters.errors);
        for (&(class, count), place) in classes {
            (place.class, place.count) = (class, count);
        }
    }

    fn take_client(&mut self, now_ns: u64) -> bool {
        match self.phase {
            Phase::Over | Phase::Refused => false,
            Phase::Startup | Phase::Asked => self.take_startup(),
            Phase::Session => {
                let Some(&kind) = self.client.first() else { return false };
                if !self.noted {
                    self.noted = true;
                    self.begin(kind, now_ns);
                }
                let Some(length) = self.client.get(1..5) else { return false };
                let length = u32::from_be_bytes(length.try_into().expect("four bytes")) as usize + 1;
                if self.client.len() < length {
                    return false;
                }
                self.noted = false;
                let message = self.client.split_to(length);
                self.end(kind, &message[5..]);
                true
            }
        }
    }

    fn take_startup(&mut self) -> bool {
        let word =
            |at| self.client.get(at..at + 4).map(|word| u32::from_be_bytes(word.try_into().expect("4")));
        let (Some(length), Some(code)) = (word(0), word(4)) else { return false };
        if self.client.len() < length as usize {
            return false;
        }
        let _ = self.client.split_to(length as usize);
        self.protocol = Protocol::Postgres;
        self.counters.state = State::Waiting as u8;
        self.phase = match code {
            80_877_103 | 80_877_104 => Phase::Asked,
            80_877_102 => {
                self.counters.state = State::None as u8;
                Phase::Over
            }
            _ => Phase::Session,
        };
        true
    }

    fn begin(&mut self, kind: u8, now_ns: u64) {
        if b"dcfpHX".contains(&kind) {
            return;
        }
        // The server took no note of the Sync sent before the COPY.
        let again = kind == b'S' && self.copied && !self.in_flight.is_empty();
        self.copied = false;
        if !self.open && !again {
            self.open = true;
            self.in_flight.push_back(Request { began_ns: now_ns, kind: QueryKind::Other, executed: false });
            self.counters.starts[self.counters.asked as usize % STARTS] = now_ns;
            self.counters.asked += 1;
        }
    }

    fn end(&mut self, kind: u8, payload: &[u8]) {
        let statement = match kind {
            b'Q' => Some(payload),
            b'P' => payload.splitn(2, |&byte| byte == 0).nth(1),
            _ => None,
        };
        if let (Some(statement), Some(request)) = (statement, self.in_flight.back_mut())
            && request.kind == QueryKind::Other
        {
            request.kind = keyword(statement);
        }
        if let Some(request) = self.in_flight.back_mut() {
            request.executed |= b"QEF".contains(&kind);
        }
        if b"QSF".contains(&kind) {
            self.open = false;
        }
        self.copied |= kind == b'c' || kind == b'f';
    }

    fn take_server(&mut self, now_ns: u64) -> bool {
        let Some(&kind) = self.server.first() else { return false };
        if self.phase == Phase::Asked {
            self.phase = Phase::Startup;
            match kind {
                b'S' | b'G' => {
                    self.counters.state = State::None as u8;
                    self.phase = Phase::Over;
                    return false;
                }
                b'N' => {
                    let _ = self.server.split_to(1);
                    return true;
                }
                _ => {}
            }
        }
        if self.phase == Phase::Refused {
            return false;
        }
        if kind == b'E' && self.counters.acquire_ns == 0 && self.server.get(1).is_some_and(|byte| *byte != 0)
        {
            if self.server.len() < 6 {
                return false;
            }
            self.phase = Phase::Refused;
            self.count_error(OTHER_CLASSES);
            return true;
        }
        let Some(length) = self.server.get(1..5) else { return false };
        let length = u32::from_be_bytes(length.try_into().expect("four bytes")) as usize + 1;
        if !is_read(kind, length) {
            if self.server.len() < length {
                return false;
            }
            let _ = self.server.split_to(length);
            if kind == b'W' {
                self.counters.state = State::Replication as u8;
                self.transaction = None;
                if let Some(first) = self.in_flight.front_mut() {
                    first.executed = false;
                }
            }
            return true;
        }
        match Message::parse(&mut self.server).expect("a message that can be") {
            None => return false,
            Some(Message::CommandComplete(body)) => {
                let tag = body.tag().expect("a text");
                self.tag.get_or_insert(match tag.split(' ').next() {
                    Some("SELECT") => QueryKind::Select,
                    Some("INSERT") => QueryKind::Insert,
                    Some("UPDATE") => QueryKind::Update,
                    Some("DELETE") => QueryKind::Delete,
                    _ => QueryKind::Other,
                });
            }
            Some(Message::ErrorResponse(body)) => {
                let code = body.fields().find(|field| Ok(field.type_() == b'C'));
                let class =
                    code.expect("fields").map(|code| code.value_bytes()[..2].try_into().expect("two"));
                self.count_error(class.unwrap_or(OTHER_CLASSES));
            }
            Some(Message::ReadyForQuery(body)) => self.become_ready(body.status(), now_ns),
            Some(_) => {}
        }
        true
    }

    fn count_error(&mut self, class: [u8; 2]) {
        if self.counters.acquire_ns == 0 && self.counters.refused == [0; 2] {
            self.counters.refused = class;
        }
        if let Some((_, count)) = self.errors.iter_mut().find(|(known, _)| *known == class) {
            *count += 1;
        } else if self.errors.len() < ERROR_CLASSES {
            self.errors.push((class, 1));
        } else {
            let (class, count) = self.errors.last_mut().expect("eight");
            *class = OTHER_CLASSES;
            *count += 1;
        }
    }

    fn become_ready(&mut self, status: u8, now_ns: u64) {
        let counters = &mut self.counters;
        if counters.acquire_ns == 0 {
            counters.acquire_ns = (now_ns - self.seen_ns).max(1);
        } else if let Some(first) = self.in_flight.front() {
            let past = self.in_flight.len().saturating_sub(STARTS);
            let told = if past > 0 { QueryKind::Other } else { first.kind };
            let is_query = past > 0 || first.executed;
            let took = now_ns.saturating_sub(self.in_flight[past].began_ns);
            self.in_flight.pop_front();
            counters.answered += 1;
            let kind = self.tag.unwrap_or(told) as usize;
            if is_query {
                counters.query_ns[kind] += took;
                let millis = [1, 5, 10, 50, 100, 500, 1_000, 5_000];
                let bucket = millis.iter().filter(|&bound| took > bound * 1_000_000).count();
                counters.queries[kind][bucket] += 1;
            }
        }
        self.tag = None;
        let state = match status {
            b'I' => State::Idle,
            b'T' => State::InTransaction,
            _ => State::Failed,
        };
        let before = State::from_u8(counters.state);
        if state != State::Idle && !matches!(before, State::InTransaction | State::Failed) {
            counters.transaction_began_ns = now_ns;
        }
        if before == State::Idle && state != State::Idle {
            self.transaction = Some(now_ns);
        } else if state == State::Idle
            && let Some(began_ns) = self.transaction.take()
        {
            let took = now_ns.saturating_sub(began_ns);
            counters.transaction_ns += took;
            let millis = [1, 5, 10, 50, 100, 500, 1_000, 5_000, 30_000, 300_000];
            let bucket = millis.iter().filter(|&bound| took > bound * 1_000_000).count();
            counters.transactions[bucket] += 1;
        }
        counters.state = state as u8;
    }
}

/// What a statement (up to its zero byte) does by its first word.
pub(crate) fn keyword(statement: &[u8]) -> QueryKind {
    let text = statement.split(|&byte| byte == 0).next().unwrap_or_default();
    let text: String = text.iter().map(|&byte| char::from(byte)).collect();
    let mut rest = &text[..];
    loop {
        let start = rest;
        rest = rest.trim_start_matches([' ', '\t', '\n', '\r', '\x0B', '\x0C', '(', ';']);
        if let Some(comment) = rest.strip_prefix("--") {
            rest = comment.find(['\n', '\r']).map_or("", |end| &comment[end..]);
        } else if rest.starts_with("/*") {
            rest = behind_comment(rest);
        }
        if rest == start {
            break;
        }
    }
    let word = rest.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c >= '\u{80}')).next();
    match word.unwrap_or_default().to_ascii_lowercase().as_str() {
        "select" => QueryKind::Select,
        "insert" => QueryKind::Insert,
        "update" => QueryKind::Update,
        "delete" => QueryKind::Delete,
        _ => QueryKind::Other,
    }
}

fn behind_comment(text: &str) -> &str {
    let mut depth = 0;
    let mut rest = text;
    while !rest.is_empty() {
        if let Some(inside) = rest.strip_prefix("/*") {
            depth += 1;
            rest = inside;
        } else if let Some(behind) = rest.strip_prefix("*/") {
            depth -= 1;
            rest = behind;
            if depth == 0 {
                break;
            }
        } else {
            rest = &rest[rest.chars().next().map_or(1, char::len_utf8)..];
        }
    }
    rest
}
