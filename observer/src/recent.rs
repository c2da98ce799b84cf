//! What requests were like lately: how many there were a second, how many went wrong, and how long they took; and how old
//! messages were that were taken out of queues. Looks at what has been counted so far are kept for a while, and the one
//! of ten seconds ago is compared with now.
//!
//! ```text
//!   looks    t-12 s   t-10 s   t-8 s … t-2 s   now
//!                       └──── compared ─────────┘
//! ```
//!
//! Looks come from whoever looks, at least every ten seconds. So what they are compared over is ten seconds, or up to
//! twenty where nobody has looked for long, and no reader changes what another one counts.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::ops::AddAssign;
use std::rc::Rc;

use observer_ebpf::protocols::http::layout::{
    DURATIONS, ENDINGS, Ending, REQUESTS, RequestCounts, TIME_BOUNDS,
};
use serde::{Deserialize, Serialize};

/// What is compared with now is at least so long ago, once the agent has run for as long.
const WINDOW_NS: u64 = 10_000_000_000;
/// The least time between two looks that are kept: so there are few.
const EVERY_NS: u64 = 2_000_000_000;
/// Buckets of times, the one above all bounds last.
const BUCKETS: usize = TIME_BOUNDS.len() + 1;

/// What is counted, and compared with what it was.
pub trait Counted: Copy + Default {
    /// What is told of what was added lately.
    type Recent;

    /// What has been added since an earlier look, so many seconds ago.
    fn recent(&self, before: &Self, seconds: f64) -> Self::Recent;
}

/// What has been counted of some requests so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Requests that are over.
    pub requests: u64,
    /// Those that were answered with a status of 500 or above, or whose connection ended before the answer was whole.
    pub errors: u64,
    /// Requests by the time they took, in the buckets of `http_request_duration_seconds`.
    pub durations: [u64; BUCKETS],
}

impl Sums {
    /// Of requests that have one status, which is 0 without an answer.
    pub fn of(status: u16, counts: &RequestCounts) -> Self {
        let requests = counts.words[REQUESTS];
        let ended: u64 = counts.words[ENDINGS..ENDINGS + Ending::ALL.len()].iter().sum();
        let errors = if status >= 500 { requests } else { ended };
        Self { requests, errors, durations: counts.observed(DURATIONS).1 }
    }

    /// What has been added since an earlier look. What is counted under a name may have been forgotten in between.
    fn since(&self, before: &Self) -> Self {
        Self {
            requests: self.requests.saturating_sub(before.requests),
            errors: self.errors.saturating_sub(before.errors),
            durations: std::array::from_fn(|at| self.durations[at].saturating_sub(before.durations[at])),
        }
    }
}

impl Counted for Sums {
    type Recent = Recent;

    fn recent(&self, before: &Self, seconds: f64) -> Recent {
        Recent::new(&self.since(before), seconds)
    }
}

impl AddAssign for Sums {
    fn add_assign(&mut self, other: Self) {
        self.requests += other.requests;
        self.errors += other.errors;
        for (sum, more) in self.durations.iter_mut().zip(other.durations) {
            *sum += more;
        }
    }
}

/// What some requests were like lately.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Recent {
    /// Requests that were over, a second.
    pub requests_per_second: f64,
    /// Of these, the ones that went wrong, a second: see [`Sums::errors`].
    pub errors_per_second: f64,
    /// The time that 95 % of those whose time was taken did not exceed; `None` if there were none. It is estimated from
    /// the buckets of `http_request_duration_seconds`, and 10 stands for anything above that.
    pub p95_seconds: Option<f64>,
}

impl Recent {
    fn new(added: &Sums, seconds: f64) -> Self {
        Self {
            requests_per_second: added.requests as f64 / seconds,
            errors_per_second: added.errors as f64 / seconds,
            p95_seconds: quantile(0.95, &TIME_BOUNDS, &added.durations),
        }
    }
}

/// The time in seconds that a part of all did not exceed, by buckets up to bounds in nanoseconds, as Prometheus's
/// `histogram_quantile` estimates it: within a bucket they are taken to be spread evenly, and of those above all bounds no
/// more is said than the last bound.
pub fn quantile(part: f64, bounds: &[u64], counts: &[u64]) -> Option<f64> {
    let all: u64 = counts.iter().sum();
    if all == 0 {
        return None;
    }
    let rank = part * all as f64;
    let mut below = 0;
    let mut lower = 0.0;
    for (&count, &bound) in counts.iter().zip(bounds) {
        let upper = bound as f64 / 1e9;
        if (below + count) as f64 >= rank {
            return Some(lower + (upper - lower) * (rank - below as f64) / count as f64);
        }
        below += count;
        lower = upper;
    }
    Some(lower)
}

/// What had been counted at a moment.
#[derive(Debug)]
struct Look<K, S> {
    at_ns: u64,
    sums: HashMap<Rc<K>, S>,
}

/// The last looks.
#[derive(Debug)]
pub struct Looks<K, S = Sums>(VecDeque<Look<K, S>>);

impl<K: Eq + Hash, S: Counted> Looks<K, S> {
    /// Nothing has been counted yet.
    pub fn new(now_ns: u64) -> Self {
        Self(VecDeque::from([Look { at_ns: now_ns, sums: HashMap::new() }]))
    }

    /// Whether it is time to keep another look.
    pub fn is_due(&self, now_ns: u64) -> bool {
        self.0.back().is_none_or(|last| now_ns.saturating_sub(last.at_ns) >= EVERY_NS)
    }

    /// Keeps a look, and forgets those that nothing will be compared with any more.
    pub fn keep(&mut self, now_ns: u64, sums: HashMap<K, S>) {
        // Names are held once, and not once for each look.
        let known = self.0.back().map(|last| &last.sums);
        let shared = |name: K| match known.and_then(|known| known.get_key_value(&name)) {
            Some((name, _)) => Rc::clone(name),
            None => Rc::new(name),
        };
        let sums = sums.into_iter().map(|(name, sums)| (shared(name), sums)).collect();
        self.0.push_back(Look { at_ns: now_ns, sums });
        while self.0.get(1).is_some_and(|second| is_old(second, now_ns)) {
            self.0.pop_front();
        }
    }

    /// The look that is compared with now.
    fn before(&self, now_ns: u64) -> Option<&Look<K, S>> {
        self.0.iter().rev().find(|look| is_old(look, now_ns)).or_else(|| self.0.front())
    }

    /// How long ago that was, in seconds; at least one, as what there is in the agent's first second may have come in
    /// less.
    pub fn seconds(&self, now_ns: u64) -> f64 {
        self.before(now_ns).map_or(1.0, |look| now_ns.saturating_sub(look.at_ns) as f64 / 1e9).max(1.0)
    }

    /// What was added lately to what is counted now.
    pub fn compare<'a>(
        &'a self,
        now_ns: u64,
        sums: impl IntoIterator<Item = (K, S)> + 'a,
    ) -> impl Iterator<Item = (K, S, S::Recent)> + 'a {
        let (before, seconds) = (self.before(now_ns), self.seconds(now_ns));
        sums.into_iter().map(move |(name, sums)| {
            let former = before.and_then(|look| look.sums.get(&name)).copied().unwrap_or_default();
            let recent = sums.recent(&former, seconds);
            (name, sums, recent)
        })
    }
}

/// Whether a look is as long ago as what is compared with now has to be.
fn is_old<K, S>(look: &Look<K, S>, now_ns: u64) -> bool {
    now_ns.saturating_sub(look.at_ns) >= WINDOW_NS
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "quotients of small whole numbers are exact")]
mod tests {
    use std::collections::HashMap;

    use observer_ebpf::protocols::http::layout::{
        DURATIONS, Done, ENDINGS, Ending, REQUESTS, RequestCounts, TIME_BOUNDS,
    };

    use super::{BUCKETS, Looks, Recent, Sums, quantile};

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_request_goes_wrong_once() {
        let mut counts = RequestCounts::default();
        for milliseconds in [4, 30, 3000] {
            let duration_ns = milliseconds * 1_000_000;
            counts.add(&Done { duration_ns, is_timed: 1, ..Done::default() });
        }
        counts.words[REQUESTS] += 2;
        counts.words[ENDINGS + Ending::Closed as usize] += 1;
        counts.words[ENDINGS + Ending::Timeout as usize] += 1;
        let sums = Sums::of(200, &counts);
        assert_eq!((sums.requests, sums.errors), (5, 2));
        assert_eq!(sums.durations, [1, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0]);
        assert_eq!(counts.words[DURATIONS], 3_034_000_000);
        // Whose answer was an error, and not whole, is one of the requests that went wrong.
        assert_eq!(Sums::of(503, &counts).errors, 5);
    }

    fn durations(counts: &[(usize, u64)]) -> [u64; BUCKETS] {
        let mut durations = [0; BUCKETS];
        for &(at, count) in counts {
            durations[at] = count;
        }
        durations
    }

    /// What Prometheus 3 answers to `histogram_quantile(0.95, …)` over the same buckets, worked out by its documented
    /// formula.
    #[test]
    fn a_quantile_is_prometheus_s() {
        for (counts, expected) in [
            (&[][..], None),
            // All in the first bucket, up to 5 ms.
            (&[(0, 1)], Some(0.00475)),
            (&[(0, 100)], Some(0.00475)),
            // 0.1 to 0.25 s: the 95th of 100 is the 45th of 50 in it.
            (&[(2, 50), (5, 50)], Some(0.1 + 0.15 * 0.9)),
            // On a bound.
            (&[(4, 95), (6, 5)], Some(0.1)),
            // An empty bucket between.
            (&[(0, 94), (9, 6)], Some(2.0 + 3.0 / 6.0)),
            // Above all bounds.
            (&[(0, 9), (11, 1)], Some(10.0)),
        ] {
            let found = quantile(0.95, &TIME_BOUNDS, &durations(counts));
            let close = match (found, expected) {
                (Some(found), Some(expected)) => f64::abs(found - expected) < 1e-9,
                (found, expected) => found == expected,
            };
            assert!(close, "{counts:?}: {found:?}, and not {expected:?}");
        }
    }

    fn sums(requests: u64) -> Sums {
        Sums { requests, errors: requests / 2, durations: durations(&[(0, requests)]) }
    }

    fn rates(looks: &Looks<&'static str>, now_ns: u64, requests: u64) -> Recent {
        let all: Vec<_> = looks.compare(now_ns, [("a", sums(requests))]).collect();
        assert_eq!((all[0].0, all[0].1, all.len()), ("a", sums(requests), 1));
        all[0].2
    }

    #[test]
    fn a_rate_is_over_the_last_ten_seconds() {
        let mut looks = Looks::new(0);
        // A hundred a second, and whoever looks, looks every second.
        for second in 1..60 {
            let now_ns = second * SECOND;
            let recent = rates(&looks, now_ns, second * 100);
            assert_eq!((recent.requests_per_second, recent.errors_per_second), (100.0, 50.0), "{second}");
            if looks.is_due(now_ns) {
                looks.keep(now_ns, HashMap::from([("a", sums(second * 100))]));
            }
            assert!(looks.0.len() <= 7, "{}", looks.0.len());
        }
        // Nothing more: what was before goes out of it, and then there is nothing that took any time.
        assert_eq!(rates(&looks, 64 * SECOND, 5900).requests_per_second, 50.0);
        looks.keep(60 * SECOND, HashMap::from([("a", sums(5900))]));
        assert_eq!(rates(&looks, 70 * SECOND, 5900), Recent::default());
    }

    #[test]
    fn nobody_has_looked_for_long() {
        let mut looks = Looks::new(0);
        looks.keep(10 * SECOND, HashMap::from([("a", sums(1000))]));
        looks.keep(20 * SECOND, HashMap::from([("a", sums(1000))]));
        // Of the looks at 10 and 20 s, the latter is not old enough.
        assert_eq!(looks.seconds(25 * SECOND), 15.0);
        assert_eq!(rates(&looks, 25 * SECOND, 1300).requests_per_second, 20.0);
        assert_eq!(rates(&looks, 30 * SECOND, 1300).requests_per_second, 30.0);
        // What has been forgotten in between has not been less than nothing.
        assert_eq!(rates(&looks, 30 * SECOND, 7), Recent::default());
        // In the first second, nothing is made more of.
        assert_eq!(rates(&Looks::new(0), SECOND / 10, 7).requests_per_second, 7.0);
    }
}
