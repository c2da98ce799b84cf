//! Columns of processes.

use super::{Column, Kind, Listed, Value, recent};
use crate::processes::Process;
use crate::recent::Recent;

const REQUESTS: &str = "HTTP requests answered a second, last 10 s; where none ever were, made";

impl Process {
    /// Its open connections of all protocols.
    pub fn open(&self) -> u64 {
        self.connections.values().sum()
    }

    /// Its sessions in a state.
    pub fn in_state(&self, state: &str) -> u64 {
        self.states.get(state).copied().unwrap_or_default()
    }

    /// What its requests were like lately: those that it answers, or makes if it answers none. Both would be counted
    /// twice at a proxy.
    pub fn recent(&self) -> Option<&Recent> {
        self.requests.get("server").or_else(|| self.requests.get("client"))
    }

    fn hit_rate(&self) -> Value<'_> {
        match self.cache_hits + self.cache_misses {
            0 => Value::Nothing,
            lookups => Value::Share(self.cache_hits as f64, lookups as f64),
        }
    }

    fn sessions(&self, state: &str) -> Value<'_> {
        // A process that speaks neither Postgres nor Redis has none in any state.
        if self.states.is_empty() { Value::Nothing } else { Value::Count(self.in_state(state)) }
    }
}

impl Listed for Process {
    const COLUMNS: &'static [Column<Self>] = &[
        Column::new('p', "PID", "thread-group id", Kind::Number, 7, 0, |row| Value::Id(row.pid)),
        Column::new('n', "PROCESS", "command name", Kind::Text, 15, 0, |row| Value::Text(&row.process)),
        Column::new('k', "CONTAINER", "its container's id", Kind::Text, 12, 9, |row| {
            Value::Text(&row.container)
        }),
        Column::new('c', "CONNS", "open connections", Kind::Number, 5, 0, |row| Value::Count(row.open())),
        Column::new('u', "REQ/s", REQUESTS, Kind::Number, 5, 1, |row| recent::requests(row.recent())),
        Column::new('e', "ERR%", recent::ERRORS, Kind::Number, 5, 1, |row| recent::errors(row.recent())),
        Column::new('l', "P95", recent::P95, Kind::Number, 6, 1, |row| recent::p95(row.recent())),
        Column::new(
            'a',
            "ACTIVE",
            "Postgres and Redis sessions with a request unanswered",
            Kind::Number,
            6,
            1,
            |row| row.sessions("active"),
        ),
        Column::new('i', "IDLE", "sessions without one", Kind::Number, 5, 4, |row| row.sessions("idle")),
        Column::new('t', "IN TX", "sessions idle in a transaction", Kind::Number, 5, 6, |row| {
            row.sessions("idle_in_transaction")
        }),
        Column::new('w', "WAIT", "sessions that connect or log in", Kind::Number, 5, 5, |row| {
            row.sessions("waiting")
        }),
        Column::new('s', "SENT/s", "bytes sent a second, last 10 s", Kind::Number, 6, 0, |row| {
            Value::Rate(row.bytes_per_second.sent)
        }),
        Column::new('r', "RCVD/s", "bytes received a second, last 10 s", Kind::Number, 6, 0, |row| {
            Value::Rate(row.bytes_per_second.received)
        }),
        Column::new(
            'S',
            "MSG OUT",
            "WebSocket messages sent a second, last 10 s",
            Kind::Number,
            7,
            1,
            |row| Value::Rate(row.messages_per_second.sent),
        ),
        Column::new(
            'R',
            "MSG IN",
            "WebSocket messages received a second, last 10 s",
            Kind::Number,
            6,
            1,
            |row| Value::Rate(row.messages_per_second.received),
        ),
        Column::new(
            'o',
            "OVER",
            "oversized WebSocket messages of its open connections",
            Kind::Number,
            5,
            2,
            |row| Value::Count(row.oversized),
        ),
        Column::new('h', "HIT%", "Redis lookups that found a key, of all", Kind::Number, 5, 2, |row| {
            row.hit_rate()
        }),
        Column::new('x', "RETX", "TCP segments sent again", Kind::Number, 5, 8, |row| {
            Value::Count(row.retransmits)
        }),
    ];
    const RATE: &'static str = "bytes/s";
    const NONE: &'static str = "nothing is open";

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

    fn rate(&self) -> Option<f64> {
        Some(self.bytes_per_second.sent + self.bytes_per_second.received)
    }
}
