//! Bounded names: what the kernel half counts under names, of which only so many have a place at a time, and which names
//! give up their places. See [`observer_ebpf::layout::names`] for the other half.
//!
//! ```text
//!   services ──► process, server, protocol ──┐
//!                                            ├──► counts by name in the view of a scrape
//!   namespace ─► text of each number ────────┘
//!       ▲
//!       └── places: which names give up theirs
//! ```

pub mod namespace;
pub mod numbers;
pub mod places;
pub mod queues;
pub mod requests;
pub mod services;
pub mod templates;

use std::collections::{HashMap, HashSet};
use std::io;
use std::rc::Rc;

use observer_ebpf::layout::names::{FIRST, KeyCounts};

use self::namespace::{Counts, Namespace};
use self::queues::Queues;
use self::requests::Requests;
use self::services::{Place, Services};
use crate::events;
use crate::labels::Member;
use crate::ledger::lives::Lives;
use crate::ledger::{Ledger, View};
use crate::process::Identity;
use crate::queues::shown;
use crate::recent::{Recent, Sums};
use crate::routes::Routes;

/// The label of counts under [`observer_ebpf::layout::names::NONE`].
pub const NONE: &str = "none";
/// The label of counts of names that may not be labels, and of names that found no place.
pub const OTHER: &str = "other";

impl Counts for KeyCounts {
    fn uses(&self) -> u64 {
        self.hits + self.misses
    }
}

/// All namespaces.
#[derive(Debug)]
pub struct Names {
    /// Processes and servers, which all namespaces count for.
    pub services: Services,
    /// Prefixes of cache keys.
    pub prefixes: Namespace<KeyCounts>,
    /// Requests of HTTP, by route and authority.
    pub requests: Requests,
    /// Message queues.
    pub queues: Queues,
}

impl Names {
    /// Brings all counts up to date.
    pub fn collect(&mut self, ledger: &mut Ledger) -> io::Result<()> {
        self.prefixes.collect(&mut self.services, ledger)?;
        self.requests.collect(&mut self.services, ledger)?;
        let now_ns = events::monotonic_now_ns();
        self.requests.keep_look(&self.services, now_ns);
        self.queues.collect(&mut self.services, ledger, now_ns)?;
        self.queues.keep_look(&self.services, now_ns);
        Ok(())
    }

    /// Looks at message queues. To be called once a second.
    pub fn tick(&mut self, ledger: &mut Ledger, now_ns: u64) -> io::Result<()> {
        self.queues.tick(&mut self.services, ledger, now_ns)
    }

    /// Has names that have not been used for long give up their places where others find none. To be called now and
    /// then, after [`Names::collect`].
    pub fn free_places(&mut self, now_ns: u64) -> io::Result<()> {
        self.prefixes.free_places(now_ns)?;
        self.requests.free_places(now_ns, &self.services)
    }

    /// Takes note that processes have ended: what they have counted last is taken over, and stays with their name.
    ///
    /// # Errors
    ///
    /// If a map cannot be read or written; what was counted is still there then.
    pub fn retire(&mut self, ended: &HashSet<Rc<Identity>>, ledger: &mut Ledger) -> io::Result<()> {
        self.requests.forget_processes(ended);
        let numbers = self.services.of(ended);
        if numbers.is_empty() {
            return Ok(());
        }
        self.collect(ledger)?;
        self.prefixes.retire(&numbers, &self.services)?;
        self.requests.retire(&numbers, &self.services)?;
        self.queues.retire(&numbers, &self.services, events::monotonic_now_ns())?;
        self.services.remove(&numbers)
    }

    /// Forgets what was counted for processes that are gone, where the rows of their name are kept no longer.
    pub fn forget(&mut self, lives: &Lives) {
        let is_kept = |place: &Place| lives.has(&(place.group.clone(), Rc::clone(&place.server)));
        self.prefixes.retain_gone(is_kept);
        self.requests.retain_gone(is_kept);
        self.queues.retain_gone(is_kept);
    }

    /// Tells keys that processes have looked up, and whether they were found.
    pub fn for_each_lookup(&self, mut tell: impl FnMut(&Rc<Identity>, KeyCounts)) {
        self.prefixes.for_each_service(|service, counts| {
            if let Some(identity) = self.services.identity(service) {
                tell(identity, counts);
            }
        });
    }

    /// What each process's requests of HTTP were like lately.
    pub fn processes(&self, now_ns: u64) -> impl Iterator<Item = (Member, Sums, Recent)> {
        self.requests.processes(&self.services, now_ns)
    }

    /// The busiest routes, at most `limit`.
    pub fn routes(&self, limit: usize, now_ns: u64) -> Routes {
        let all = self.requests.routes(&self.services, now_ns);
        Routes::new(all, self.requests.seconds(now_ns), limit)
    }

    /// The message queues in which most wait, at most `limit`.
    pub fn shown_queues(&self, limit: usize, now_ns: u64) -> shown::Queues {
        self.queues.shown(&self.services, limit, now_ns)
    }

    /// Adds what was counted by name to a view.
    pub fn fill(&self, view: &mut View) {
        self.prefixes.for_each(&self.services, |place, prefix, counts| {
            let books = &mut view.groups.entry(place.group.clone()).or_default().books;
            books.add_keys(place.protocol, &place.server, prefix, counts);
        });
        self.requests.for_each(&self.services, |place, row, counts| {
            let books = &mut view.groups.entry(place.group.clone()).or_default().books;
            books.http.entry(Rc::clone(&place.server)).or_default().add_requests(row, counts);
        });
        self.queues.fill(&self.services, view.now_ns, &mut view.queues);
    }
}

/// Whether it is known what a number stands for: its text, or that it is of no single name.
fn has_text(texts: &HashMap<u32, Rc<str>>, number: u32) -> bool {
    number < FIRST || texts.contains_key(&number)
}
