//! What HTTP connections have done, by process.

pub mod families;

use super::Seen;

/// Sums over connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Responses with status 429 (RFC 6585, section 4).
    pub too_many_requests: u64,
}

impl super::Totals for Totals {
    // Messages are looked for where each call starts.
    const MAY_BE_LOST: bool = false;

    fn add(&mut self, seen: &Seen<'_>) {
        self.too_many_requests += u64::from(seen.connection.http().too_many_requests);
    }

    fn add_open(&mut self, _seen: &Seen<'_>) {}

    fn add_totals(&mut self, other: &Self) {
        self.too_many_requests += other.too_many_requests;
    }
}
