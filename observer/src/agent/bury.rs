//! Processes that have ended, and what is kept of them no longer.

use std::time::{Duration, Instant};

use super::Agent;
use crate::{events, metrics};

/// How often it is looked at what is kept no longer, where no process has ended.
const EVERY: Duration = Duration::from_secs(5);

impl Agent {
    /// Takes note of processes that have ended, and forgets what is kept no longer. To be called once a second: it is a
    /// matter of time and of limits only, so that no reader of metrics sees less for another one's reading them.
    pub(super) fn bury(&mut self) {
        let ended = self.ledger.ended();
        if ended.is_empty() && self.last_bury.elapsed() < EVERY {
            return;
        }
        self.last_bury = Instant::now();
        let names = &mut self.probes.names;
        if let Err(error) = names.retire(&ended, &mut self.ledger) {
            log::warn!("cannot take over what was counted for processes that have ended: {error}");
        }
        let early = self.ledger.bury(&ended, events::monotonic_now_ns());
        names.forget(self.ledger.lives());
        metrics::leave_out(&early, self.ledger.node(), &mut self.folder);
    }
}
