//! Columns of flows.

use super::{Column, Kind, Listed, Value};
use crate::flows::{Row, Sort};

impl Listed for Row {
    const COLUMNS: &'static [Column<Self>] = &[
        Column::new('p', "PID", "thread-group id", Kind::Number, 7, 2, |row| Value::Id(row.pid)),
        Column::new('n', "PROCESS", "command name", Kind::Text, 15, 0, |row| Value::Text(&row.process)),
        Column::new('k', "CONTAINER", "its container's id", Kind::Text, 12, 9, |row| {
            Value::Text(&row.container)
        }),
        Column::new('l', "PROTOCOL", "what is spoken", Kind::Text, 9, 1, |row| Value::Text(&row.protocol)),
        Column::new('o', "ROLE", "client if it connected, server if it accepted", Kind::Text, 6, 6, |row| {
            Value::Text(&row.role)
        }),
        Column::new('c', "LOCAL", "this end", Kind::Address, 15, 0, |row| Value::Text(&row.local)),
        Column::new('e', "REMOTE", "the other end", Kind::Address, 15, 0, |row| Value::Text(&row.remote)),
        Column::new('s', "SENT/s", "bytes sent a second, last 10 s", Kind::Number, 6, 0, |row| {
            Value::Rate(row.bytes_per_second.sent)
        }),
        Column::new('r', "RCVD/s", "bytes received a second, last 10 s", Kind::Number, 6, 0, |row| {
            Value::Rate(row.bytes_per_second.received)
        }),
        Column::<Self>::new(
            'S',
            "MSG OUT",
            "WebSocket messages sent a second, last 10 s",
            Kind::Number,
            7,
            3,
            |row| Value::Rate(row.messages_per_second.sent),
        )
        .asked(Sort::Messages),
        Column::<Self>::new(
            'R',
            "MSG IN",
            "WebSocket messages received a second, last 10 s",
            Kind::Number,
            6,
            3,
            |row| Value::Rate(row.messages_per_second.received),
        )
        .asked(Sort::Messages),
        Column::new('b', "SENT", "bytes sent in all", Kind::Number, 5, 5, |row| Value::Count(row.bytes.sent)),
        Column::new('B', "RCVD", "bytes received in all", Kind::Number, 5, 5, |row| {
            Value::Count(row.bytes.received)
        }),
        Column::<Self>::new('u', "REQS", "HTTP requests so far", Kind::Number, 5, 4, |row| {
            row.http.as_ref().map_or(Value::Nothing, |http| Value::Count(http.requests))
        })
        .asked(Sort::Requests),
        Column::<Self>::new(
            'w',
            "WAIT",
            "how long the oldest HTTP request has not been answered whole",
            Kind::Number,
            6,
            4,
            |row| {
                let current = row.http.as_ref().and_then(|http| http.current.as_ref());
                current.and_then(|current| current.seconds).map_or(Value::Nothing, Value::Seconds)
            },
        )
        .asked(Sort::Waiting),
        Column::<Self>::new('a', "AGE", "since the connection was first seen", Kind::Number, 6, 4, |row| {
            Value::Seconds(row.age_seconds)
        })
        .asked(Sort::Age),
        Column::<Self>::new('t', "RTT", "TCP's smoothed round-trip time", Kind::Number, 6, 4, |row| {
            row.rtt_seconds.map_or(Value::Nothing, Value::Seconds)
        })
        .asked(Sort::Rtt),
        Column::<Self>::new('x', "RETX", "TCP segments sent again", Kind::Number, 5, 7, |row| {
            Value::Count(u64::from(row.retransmits))
        })
        .asked(Sort::Retransmits),
    ];
    const RATE: &'static str = "bytes/s";
    const NONE: &'static str = "nothing is open";

    fn id(&self) -> String {
        format!("{} {} {} {} {}", self.netns, self.local, self.remote, self.pid, self.role)
    }

    fn texts(&self) -> Vec<(&'static str, String)> {
        let current = self.http.as_ref().and_then(|http| http.current.as_ref());
        let route = current.map(|current| &current.route);
        [
            ("pid", self.pid.to_string()),
            ("process", self.process.clone()),
            ("container", self.container.clone()),
            ("protocol", self.protocol.clone()),
            ("role", self.role.clone()),
            ("local", self.local.clone()),
            ("remote", self.remote.clone()),
            ("client", self.client.clone()),
        ]
        .into_iter()
        .chain(route.map(|route| ("route", route.clone())))
        .collect()
    }

    fn rate(&self) -> Option<f64> {
        Some(self.bytes_per_second.sent + self.bytes_per_second.received)
    }
}
