//! Columns of processes.

use super::{Column, Kind, Listed, by_number};
use crate::flows::Sort;
use crate::processes::Process;
use crate::show::{clean, count, percent, scaled};

impl Process {
    /// Its open connections of all protocols.
    pub fn open(&self) -> u64 {
        self.connections.values().sum()
    }

    /// Its sessions in a state.
    pub fn in_state(&self, state: &str) -> u64 {
        self.states.get(state).copied().unwrap_or_default()
    }

    /// Redis lookups that found a key, of all; less than any rate without a lookup.
    fn hit_rate(&self) -> f64 {
        let lookups = self.cache_hits + self.cache_misses;
        if lookups == 0 { -1.0 } else { self.cache_hits as f64 / lookups as f64 }
    }

    fn sessions(&self, state: &str) -> String {
        // A process that speaks neither Postgres nor Redis has none in any state.
        if self.states.is_empty() { "-".to_owned() } else { count(self.in_state(state)) }
    }
}

impl Listed for Process {
    const COLUMNS: &'static [Column<Self>] = &[
        Column {
            key: 'p',
            title: "PID",
            about: "thread-group id",
            width: 7,
            kind: Kind::Number,
            rank: 0,
            cell: |row| row.pid.to_string(),
            order: |one, other| one.pid.cmp(&other.pid),
            ask: Sort::Bytes,
        },
        Column {
            key: 'n',
            title: "PROCESS",
            about: "command name",
            width: 15,
            kind: Kind::Text,
            rank: 0,
            cell: |row| clean(&row.process).into_owned(),
            order: |one, other| one.process.cmp(&other.process),
            ask: Sort::Bytes,
        },
        Column {
            key: 'k',
            title: "CONTAINER",
            about: "its container's id",
            width: 12,
            kind: Kind::Text,
            rank: 9,
            cell: |row| clean(&row.container).into_owned(),
            order: |one, other| one.container.cmp(&other.container),
            ask: Sort::Bytes,
        },
        Column {
            key: 'c',
            title: "CONNS",
            about: "open connections",
            width: 5,
            kind: Kind::Number,
            rank: 0,
            cell: |row| count(row.open()),
            order: |one, other| one.open().cmp(&other.open()),
            ask: Sort::Bytes,
        },
        Column {
            key: 'a',
            title: "ACTIVE",
            about: "Postgres and Redis sessions with a request unanswered",
            width: 6,
            kind: Kind::Number,
            rank: 1,
            cell: |row| row.sessions("active"),
            order: |one, other| one.in_state("active").cmp(&other.in_state("active")),
            ask: Sort::Bytes,
        },
        Column {
            key: 'i',
            title: "IDLE",
            about: "sessions without one",
            width: 5,
            kind: Kind::Number,
            rank: 4,
            cell: |row| row.sessions("idle"),
            order: |one, other| one.in_state("idle").cmp(&other.in_state("idle")),
            ask: Sort::Bytes,
        },
        Column {
            key: 't',
            title: "IN TX",
            about: "sessions idle in a transaction",
            width: 5,
            kind: Kind::Number,
            rank: 6,
            cell: |row| row.sessions("idle_in_transaction"),
            order: |one, other| {
                one.in_state("idle_in_transaction").cmp(&other.in_state("idle_in_transaction"))
            },
            ask: Sort::Bytes,
        },
        Column {
            key: 'w',
            title: "WAIT",
            about: "sessions that connect or log in",
            width: 5,
            kind: Kind::Number,
            rank: 5,
            cell: |row| row.sessions("waiting"),
            order: |one, other| one.in_state("waiting").cmp(&other.in_state("waiting")),
            ask: Sort::Bytes,
        },
        Column {
            key: 's',
            title: "SENT/s",
            about: "bytes sent a second, last 10 s",
            width: 6,
            kind: Kind::Number,
            rank: 0,
            cell: |row| scaled(row.bytes_per_second.sent),
            order: |one, other| by_number(one, other, |row| row.bytes_per_second.sent),
            ask: Sort::Bytes,
        },
        Column {
            key: 'r',
            title: "RCVD/s",
            about: "bytes received a second, last 10 s",
            width: 6,
            kind: Kind::Number,
            rank: 0,
            cell: |row| scaled(row.bytes_per_second.received),
            order: |one, other| by_number(one, other, |row| row.bytes_per_second.received),
            ask: Sort::Bytes,
        },
        Column {
            key: 'S',
            title: "MSG OUT",
            about: "WebSocket messages sent a second, last 10 s",
            width: 7,
            kind: Kind::Number,
            rank: 1,
            cell: |row| scaled(row.messages_per_second.sent),
            order: |one, other| by_number(one, other, |row| row.messages_per_second.sent),
            ask: Sort::Bytes,
        },
        Column {
            key: 'R',
            title: "MSG IN",
            about: "WebSocket messages received a second, last 10 s",
            width: 6,
            kind: Kind::Number,
            rank: 1,
            cell: |row| scaled(row.messages_per_second.received),
            order: |one, other| by_number(one, other, |row| row.messages_per_second.received),
            ask: Sort::Bytes,
        },
        Column {
            key: 'o',
            title: "OVER",
            about: "oversized WebSocket messages of its open connections",
            width: 5,
            kind: Kind::Number,
            rank: 2,
            cell: |row| count(row.oversized),
            order: |one, other| one.oversized.cmp(&other.oversized),
            ask: Sort::Bytes,
        },
        Column {
            key: 'h',
            title: "HIT%",
            about: "Redis lookups that found a key, of all",
            width: 5,
            kind: Kind::Number,
            rank: 2,
            cell: |row| percent(row.cache_hits, row.cache_hits + row.cache_misses),
            order: |one, other| by_number(one, other, Self::hit_rate),
            ask: Sort::Bytes,
        },
        Column {
            key: 'x',
            title: "RETX",
            about: "TCP segments sent again",
            width: 5,
            kind: Kind::Number,
            rank: 8,
            cell: |row| count(row.retransmits),
            order: |one, other| one.retransmits.cmp(&other.retransmits),
            ask: Sort::Bytes,
        },
    ];

    fn id(&self) -> String {
        format!("{} {} {}", self.pid, self.container, self.process)
    }

    fn texts(&self) -> Vec<(&'static str, String)> {
        let mut texts = vec![
            ("pid", self.pid.to_string()),
            ("process", self.process.clone()),
            ("container", self.container.clone()),
        ];
        texts.extend(self.connections.keys().map(|protocol| ("protocol", protocol.clone())));
        texts
    }

    fn bytes_per_second(&self) -> f64 {
        self.bytes_per_second.sent + self.bytes_per_second.received
    }
}
