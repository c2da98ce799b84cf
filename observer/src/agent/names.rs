//! What is counted by name, and which names are other ones from now on. Where any of it fails, the rest goes on.

use std::time::Instant;

use super::Agent;
use crate::events;

impl Agent {
    /// Reads what is counted by name. It stays what it was where that fails.
    pub(super) fn collect_names(&mut self) {
        if let Err(error) = self.probes.names.collect(&mut self.ledger) {
            log::warn!("cannot read what is counted by name: {error}");
        }
    }

    /// Has names give up their places to others.
    pub(super) fn free_names(&mut self) {
        self.last_names = Instant::now();
        if let Err(error) = self.probes.names.free_places(events::monotonic_now_ns()) {
            log::warn!("cannot give places of names to others: {error}");
        }
    }

    /// Looks at message queues, once a second.
    pub(super) fn tick_queues(&mut self) {
        if let Err(error) = self.probes.names.tick(&mut self.ledger, events::monotonic_now_ns()) {
            log::warn!("cannot look at message queues: {error}");
        }
    }
}
