//! What the server counts of itself: connections, and everything and everybody that was turned away.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// Why a client was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Reason {
    /// Its connection made way for another, of as many as may be open.
    Crowded,
    /// It did not say in time what it wants.
    SlowRequest,
    /// It did not take its answer in time.
    SlowAnswer,
    /// Its answer made way for others, of as many bytes as may wait to be taken.
    Memory,
    /// Its request was larger than it may be, or had a body.
    TooLarge,
    /// What it sent was not HTTP.
    Malformed,
    /// It did not get through a TLS handshake.
    Tls,
    /// It did not give a user's name and password.
    Unauthorized,
    /// Its password could not be looked at, as too many waited for that.
    Busy,
    /// There were more requests than `rate_limit` allows.
    RateLimit,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Crowded,
        Self::SlowRequest,
        Self::SlowAnswer,
        Self::Memory,
        Self::TooLarge,
        Self::Malformed,
        Self::Tls,
        Self::Unauthorized,
        Self::Busy,
        Self::RateLimit,
    ];

    /// A label's value.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Crowded => "crowded",
            Self::SlowRequest => "slow_request",
            Self::SlowAnswer => "slow_answer",
            Self::Memory => "memory",
            Self::TooLarge => "too_large",
            Self::Malformed => "malformed",
            Self::Tls => "tls",
            Self::Unauthorized => "unauthorized",
            Self::Busy => "busy",
            Self::RateLimit => "rate_limit",
        }
    }
}

/// Counts, kept by the server and read by the agent.
#[derive(Debug, Default)]
pub struct Counts {
    turned_away: [AtomicU64; Reason::ALL.len()],
    connections: AtomicU64,
    /// Whether there is a file for `--web-config`, and whether what it says now is what is in force.
    has_web_config: AtomicBool,
    is_in_force: AtomicBool,
}

impl Counts {
    /// Counts one that was turned away.
    pub(super) fn turn_away(&self, reason: Reason) {
        self.turned_away[reason as usize].fetch_add(1, Relaxed);
    }

    /// How many were turned away for a reason.
    pub fn turned_away(&self, reason: Reason) -> u64 {
        self.turned_away[reason as usize].load(Relaxed)
    }

    /// Notes how many connections are open.
    pub(super) fn set_connections(&self, count: usize) {
        self.connections.store(count as u64, Relaxed);
    }

    /// How many connections are open.
    pub fn connections(&self) -> u64 {
        self.connections.load(Relaxed)
    }

    /// Notes whether what the file of `--web-config` says is in force.
    pub(super) fn set_web_config(&self, is_in_force: bool) {
        self.has_web_config.store(true, Relaxed);
        self.is_in_force.store(is_in_force, Relaxed);
    }

    /// Whether what the file of `--web-config` says is in force; `None` without one.
    pub fn web_config(&self) -> Option<bool> {
        self.has_web_config.load(Relaxed).then(|| self.is_in_force.load(Relaxed))
    }
}
