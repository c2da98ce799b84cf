//! How long messages waited: between two times, as who puts one in knows only when it began to and when it was done.

use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::time::SystemTime;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::Shown;

/// Upper bounds of ages' buckets, in seconds.
pub const BOUNDS: [f64; 7] = [0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0];
/// How far the agent's times may be off: they are in steps of 1.05 ms, at both ends of an age.
const ERROR: f64 = 0.003;
/// How many ages in a hundred may be so close to a bound that they may be on either side of it.
const UNSURE_PERCENT: usize = 5;

/// Nanoseconds of a clock that all processes of this host share: `CLOCK_MONOTONIC`, as `time.monotonic_ns` in Python.
pub fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: it is written to, and nothing else.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

/// When an entry of a stream that has this id was added, in nanoseconds since 1970: anywhere in that millisecond, as far as the id tells.
pub fn added(id: &str) -> anyhow::Result<u64> {
    let milliseconds: u64 = id.split('-').next().context("an id")?.parse()?;
    Ok(milliseconds * 1_000_000)
}

/// Nanoseconds since 1970.
pub fn wall_clock() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// When something was begun, and when it was done.
pub type Span = [u64; 2];

/// Does something, and tells when as well.
pub fn timed<T>(what: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<(Span, T)> {
    let begun = now();
    let done = what()?;
    Ok(([begun, now()], done))
}

/// Seconds that a message waited: at least, and at most.
pub type Age = [f64; 2];

/// That of a message.
pub fn age(put: Span, taken: Span) -> Age {
    let seconds = |from: u64, to: u64| to.saturating_sub(from) as f64 / 1e9;
    [seconds(put[1], taken[0]), seconds(put[0], taken[1])]
}

/// How many messages apart those are of which the times are kept, of which one is so deep.
pub fn step(depth: usize) -> usize {
    let mut step = 1;
    while 255 * step + 1 < depth {
        step *= 4;
    }
    step
}

/// When one of many messages that were put in, one after the other, was put in as far as the agent knows: so far from the
/// last one, it does by those next to it.
pub fn interpolated(puts: &[Span], number: usize) -> Span {
    let step = step(puts.len() - number);
    // With a step of one it is the message's own time.
    let around = if step == 1 { 0 } else { step };
    let last = (number + around).min(puts.len() - 1);
    [puts[number.saturating_sub(around)][0], puts[last][1]]
}

/// When each message was put in, one after the other.
#[derive(Clone, Debug, Default)]
pub struct Puts {
    /// Since there was none.
    all: Vec<Span>,
    /// The places of those that are still there, by the messages' numbers.
    places: BTreeMap<u64, usize>,
}

impl Puts {
    /// Adds what a producer tells: `[[number, begun, done], ...]`.
    pub fn add(&mut self, told: &Value) -> anyhow::Result<usize> {
        let told: Vec<(u64, u64, u64)> = serde_json::from_value(told.clone()).context("what was put in")?;
        if self.places.is_empty() {
            self.all.clear();
        }
        for &(number, begun, done) in &told {
            self.places.insert(number, self.all.len());
            self.all.push([begun, done]);
        }
        Ok(told.len())
    }

    /// When one of those that are still there was, as far as the agent knows.
    pub fn of(&self, number: u64) -> anyhow::Result<Span> {
        let place = self.places.get(&number).with_context(|| format!("{number} was not there"))?;
        Ok(interpolated(&self.all, *place))
    }

    /// The ages of messages that a worker tells of, likewise. Each of them is gone then.
    pub fn ages(&mut self, told: &Value) -> anyhow::Result<Vec<Age>> {
        let told: Vec<(u64, u64, u64)> = serde_json::from_value(told.clone()).context("what was taken")?;
        let mut ages = Vec::new();
        for (number, begun, done) in told {
            ages.push(age(self.of(number)?, [begun, done]));
            self.places.remove(&number);
        }
        Ok(ages)
    }
}

/// What was done with a queue.
#[derive(Clone, Debug, Default)]
pub struct Truth {
    /// Messages put in.
    pub put: usize,
    /// Messages taken out whose age cannot be known.
    pub unknown: usize,
    /// The ages of the others that were taken out.
    pub ages: Vec<Age>,
}

impl AddAssign<&Self> for Truth {
    fn add_assign(&mut self, other: &Self) {
        self.put += other.put;
        self.unknown += other.unknown;
        self.ages.extend_from_slice(&other.ages);
    }
}

impl Truth {
    /// Fails if something else is shown.
    pub fn check(&self, shown: &Shown) -> anyhow::Result<()> {
        let taken = self.ages.len() + self.unknown;
        let counts = [self.put, taken, self.unknown].map(|count| count as f64);
        ensure!([shown.put, shown.taken, shown.unknown] == counts, "put, taken, unknown: not {counts:?}");
        let count = self.ages.len() as f64;
        ensure!(shown.ages[BOUNDS.len()] == count, "not {count} ages");
        let mut unsure = 0;
        for (bound, &within) in BOUNDS.into_iter().zip(&shown.ages) {
            let least = self.ages.iter().filter(|age| age[1] + ERROR <= bound).count();
            let most = self.ages.iter().filter(|age| age[0] - ERROR <= bound).count();
            ensure!(
                within >= least as f64 && within <= most as f64,
                "{within} of up to {bound} s, and not {least} to {most}"
            );
            unsure += most - least;
        }
        // What could be anything shows nothing.
        ensure!(
            100 * unsure <= UNSURE_PERCENT * self.ages.len() + 100,
            "{unsure} of {count} ages are too close to a bound"
        );
        let [least, most] = [0, 1].map(|side| self.ages.iter().map(|age| age[side]).sum::<f64>());
        let sum = shown.ages[BOUNDS.len() + 1];
        let error = count * ERROR;
        ensure!(sum >= least - error && sum <= most + error, "{sum} s in all, and not {least} to {most}");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Shown, Truth, age, interpolated, step};

    fn shown(ages: Vec<f64>) -> Shown {
        Shown { put: 3.0, taken: 3.0, unknown: 0.0, ages, length: None, oldest: None }
    }

    #[test]
    fn an_age_in_another_bucket_is_wrong() {
        let ages = vec![[0.05, 0.06], [0.2, 0.21], [0.098, 0.102]];
        let truth = Truth { put: 3, unknown: 0, ages };
        let with = |first: f64, second: f64, sum: f64| {
            truth.check(&shown(vec![first, second, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, sum])).is_ok()
        };
        assert!(with(1.0, 3.0, 0.36) && with(2.0, 3.0, 0.36));
        assert!(!with(3.0, 3.0, 0.36) && !with(0.0, 3.0, 0.36) && !with(1.0, 2.0, 0.36));
        assert!(!with(1.0, 3.0, 0.3) && !with(1.0, 3.0, 0.4));
    }

    #[test]
    fn ages_that_could_be_anything_show_nothing() {
        let truth = Truth { put: 3, unknown: 0, ages: vec![[0.0, 2.0]; 3] };
        assert!(truth.check(&shown(vec![3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0])).is_err());
    }

    #[test]
    fn deep_messages_are_known_by_those_next_to_them() {
        assert_eq!([256, 257, 1021, 1022].map(step), [1, 4, 4, 16]);
        assert_eq!(age([1_000_000_000, 2_000_000_000], [3_000_000_000, 5_000_000_000]), [1.0, 4.0]);
        let puts: Vec<[u64; 2]> = (0..1000).map(|number| [number, number + 1]).collect();
        assert_eq!(interpolated(&puts, 999), [999, 1000]);
        assert_eq!(interpolated(&puts, 100), [96, 105]);
        assert_eq!(interpolated(&puts, 1), [0, 6]);
    }
}
