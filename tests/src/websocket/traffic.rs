//! One direction of one process's WebSocket connections, as series and their values.

use std::collections::BTreeMap;

use crate::metrics::Sample;

/// Upper bounds of all histograms of sizes.
const BOUNDS: [f64; 7] = [1e2, 1e3, 1e4, 1e5, 1e6, 1e7, f64::INFINITY];

/// A type of frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// A further frame of a message.
    Continuation,
    /// The first frame of a text message.
    Text,
    /// The first frame of a binary message.
    Binary,
    /// A close.
    Close,
    /// A ping.
    Ping,
    /// A pong.
    Pong,
}

impl Opcode {
    /// As on the wire.
    pub const fn number(self) -> u8 {
        match self {
            Self::Continuation => 0,
            Self::Text => 1,
            Self::Binary => 2,
            Self::Close => 8,
            Self::Ping => 9,
            Self::Pong => 10,
        }
    }

    const fn label(self) -> &'static str {
        match self {
            Self::Continuation => "continuation",
            Self::Text => "text",
            Self::Binary => "binary",
            Self::Close => "close",
            Self::Ping => "ping",
            Self::Pong => "pong",
        }
    }
}

/// Series without the labels that tell whose they are, and their values; none are zero.
pub type Values = BTreeMap<String, f64>;

/// Frames and messages.
#[derive(Clone, Debug)]
pub struct Traffic {
    values: Values,
    /// From how many bytes on a message is oversized, by category, the greatest first.
    limits: [(&'static str, u64); 3],
}

impl Default for Traffic {
    fn default() -> Self {
        Self::with_limits(1_000_000, 5_000_000, 10_000_000)
    }
}

impl Traffic {
    /// Nothing yet, with other limits than the agent's own.
    pub fn with_limits(medium: u64, large: u64, huge: u64) -> Self {
        Self { values: Values::new(), limits: [("huge", huge), ("large", large), ("medium", medium)] }
    }

    /// A complete frame.
    pub fn frame(&mut self, opcode: Opcode, size: u64) {
        self.observe("observer_websocket_frame_size_bytes", &[("opcode", opcode.label())], size);
    }

    /// A complete message, the frames of which are counted on their own.
    pub fn message(&mut self, opcode: Opcode, compressed: bool, size: u64) {
        self.observe("message_size_bytes", &[], size);
        let compressed = if compressed { "true" } else { "false" };
        let labels = [("compressed", compressed), ("type", opcode.label())];
        self.add(&key("observer_websocket_messages_total", labels), 1.0);
        self.oversized(size);
    }

    /// An oversized message, if it is one, of which no more than its size is known yet.
    pub fn oversized(&mut self, size: u64) {
        if let Some((category, _)) = self.limits.into_iter().find(|&(_, limit)| size >= limit) {
            self.add(&key("oversized_message_total", [("size_category", category)]), 1.0);
        }
    }

    /// So many bytes that are declared of messages which are not over.
    pub fn unfinished(&mut self, bytes: u64) {
        self.values.insert("observer_websocket_unfinished_bytes".to_owned(), bytes as f64);
    }

    /// A message in frames of these sizes, uncompressed.
    pub fn fragments(&mut self, opcode: Opcode, sizes: &[u64]) {
        for (place, &size) in sizes.iter().enumerate() {
            self.frame(if place == 0 { opcode } else { Opcode::Continuation }, size);
        }
        self.message(opcode, false, sizes.iter().sum());
    }

    /// All that another one has, too, `times` over.
    pub fn add_all(&mut self, other: &Self, times: u32) {
        for (series, value) in &other.values {
            self.add(series, value * f64::from(times));
        }
    }

    /// What the agent must say, without the zeros.
    pub fn values(&self) -> Values {
        self.values
            .iter()
            .filter(|&(_, &value)| value != 0.0)
            .map(|(key, &value)| (key.clone(), value))
            .collect()
    }

    fn observe(&mut self, family: &str, labels: &[(&str, &str)], size: u64) {
        for bound in BOUNDS.into_iter().filter(|&bound| size as f64 <= bound) {
            let bound = bound.to_string();
            let all = labels.iter().copied().chain([("le", bound.as_str())]);
            self.add(&key(&format!("{family}_bucket"), all), 1.0);
        }
        self.add(&key(&format!("{family}_sum"), labels.iter().copied()), size as f64);
        self.add(&key(&format!("{family}_count"), labels.iter().copied()), 1.0);
    }

    fn add(&mut self, series: &str, value: f64) {
        *self.values.entry(series.to_owned()).or_default() += value;
    }
}

/// The series that a sample is of, without the labels `but`.
pub fn series(sample: &Sample, but: &[&str]) -> String {
    let labels = sample.labels.iter().filter(|(name, _)| !but.contains(&name.as_str()));
    let labels: Vec<(&str, String)> = labels
        .map(|(name, value)| match value.parse::<f64>() {
            Ok(bound) if name == "le" => (name.as_str(), bound.to_string()),
            _ => (name.as_str(), value.clone()),
        })
        .collect();
    key(&sample.name, labels.iter().map(|(name, value)| (*name, value.as_str())))
}

fn key<'a>(name: &str, labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let labels: BTreeMap<&str, &str> = labels.into_iter().collect();
    labels.into_iter().fold(name.to_owned(), |key, (name, value)| format!("{key} {name}={value}"))
}
