//! Columns of message queues.

use super::{Column, Kind, Listed, Value};
use crate::queues::shown::Queue;

/// The column of how old messages were lately, in words.
const AGE: &str = "how old they were when taken, last 10 s: the mean";

fn rate(rate: Option<f64>) -> Value<'static> {
    rate.map_or(Value::Nothing, Value::Rate)
}

fn time(seconds: Option<f64>) -> Value<'static> {
    seconds.map_or(Value::Nothing, Value::Seconds)
}

impl Queue {
    /// How long the oldest message has waited, where one waits.
    fn oldest(&self) -> Option<f64> {
        self.oldest_seconds.filter(|_| self.messages > Some(0))
    }

    /// The protocol that it is spoken to by: systems of Redis have names of several words.
    fn protocol(&self) -> &str {
        self.system.split('_').next().unwrap_or_default()
    }
}

impl Listed for Queue {
    const COLUMNS: &'static [Column<Self>] = &[
        Column::new('n', "PROCESS", "command name", Kind::Text, 15, 0, |row| Value::Text(&row.process)),
        Column::new('k', "CONTAINER", "its container's id", Kind::Text, 12, 9, |row| {
            Value::Text(&row.container)
        }),
        Column::new('r', "ROLE", "server, or client if it asks one", Kind::Text, 6, 1, |row| {
            Value::Text(&row.role)
        }),
        Column::new('s', "SERVER", "the server's end", Kind::Address, 15, 4, |row| Value::Text(&row.server)),
        Column::new('y', "SYSTEM", "a list or a stream of Redis, or Kafka", Kind::Text, 12, 7, |row| {
            Value::Text(&row.system)
        }),
        Column::new('u', "QUEUE", "its key, or the topic", Kind::Path, 20, 0, |row| Value::Text(&row.queue)),
        Column::new('g', "GROUP", "the consumer group", Kind::Text, 8, 2, |row| Value::Text(&row.group)),
        Column::new('w', "WAITING", "messages that wait now", Kind::Number, 7, 0, |row| {
            row.messages.map_or(Value::Nothing, Value::Count)
        }),
        Column::new('o', "OLDEST", "how long the next of them has waited", Kind::Number, 6, 0, |row| {
            time(row.oldest())
        }),
        Column::new('p', "PUT/s", "messages put in a second, last 10 s", Kind::Number, 5, 0, |row| {
            rate(row.put_per_second)
        }),
        Column::new('t', "TAKE/s", "messages taken out a second", Kind::Number, 6, 0, |row| {
            rate(row.taken_per_second)
        }),
        Column::new('c', "ACK/s", "messages acknowledged a second", Kind::Number, 5, 6, |row| {
            rate(row.acknowledged_per_second)
        }),
        Column::new('a', "AGE", AGE, Kind::Number, 6, 3, |row| time(row.ages.mean_age_seconds)),
        Column::new(
            'l',
            "P95",
            "95 % were no older; 1m00s stands for all above",
            Kind::Number,
            6,
            5,
            |row| time(row.ages.p95_age_seconds),
        ),
    ];
    const RATE: &'static str = "waiting";
    const NONE: &'static str = "no message queue has been seen yet";

    fn id(&self) -> String {
        let Self { process, container, role, server, system, queue, group, .. } = self;
        [process, container, role, server, system, queue, group].map(String::as_str).join(" ")
    }

    fn texts(&self) -> Vec<(&'static str, String)> {
        vec![
            ("process", self.process.clone()),
            ("container", self.container.clone()),
            ("role", self.role.clone()),
            ("server", self.server.clone()),
            ("system", self.system.clone()),
            ("queue", self.queue.clone()),
            ("group", self.group.clone()),
            ("protocol", self.protocol().to_owned()),
        ]
    }

    fn rate(&self) -> Option<f64> {
        self.messages.map(|messages| messages as f64)
    }
}
