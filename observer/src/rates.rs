//! Rates: of a connection over the last ten seconds ([`Window`]), of the node ([`node`]), and of a user in a
//! minute ([`minute`]).

pub mod minute;
pub mod node;

/// Seconds that a rate is taken over.
pub const SECONDS: usize = 10;

/// Totals of a connection at one moment: bytes, then messages, each by direction.
pub type Sample = [u64; 4];

/// When the last ticks were. They are a second apart, or more where the agent was kept from running.
#[derive(Clone, Debug)]
pub struct Ticks {
    at_ns: [u64; SECONDS + 1],
    newest: usize,
}

impl Ticks {
    /// The first is `now_ns`.
    pub const fn new(now_ns: u64) -> Self {
        Self { at_ns: [now_ns; SECONDS + 1], newest: 0 }
    }

    /// The next one.
    pub const fn push(&mut self, now_ns: u64) {
        self.newest = (self.newest + 1) % self.at_ns.len();
        self.at_ns[self.newest] = now_ns;
    }

    /// Seconds between the last tick and the one so many before it; at least one, as what a first tick finds
    /// may have come in less.
    fn seconds(&self, ticks: u8) -> f64 {
        let length = self.at_ns.len();
        let before = self.at_ns[(self.newest + length - usize::from(ticks).min(SECONDS)) % length];
        (self.at_ns[self.newest].saturating_sub(before) as f64 / 1e9).max(1.0)
    }
}

/// A connection's totals at the last ticks.
#[derive(Clone, Debug)]
pub struct Window {
    samples: [Sample; SECONDS + 1],
    newest: u8,
    filled: u8,
}

impl Window {
    /// Starts with totals that were the same at the last `ticks` ticks, at least one.
    pub fn new(first: Sample, ticks: u8) -> Self {
        Self { samples: [first; SECONDS + 1], newest: 0, filled: ticks.clamp(1, SECONDS as u8) }
    }

    /// Takes the totals at the next tick.
    pub fn push(&mut self, sample: Sample) {
        self.newest = (self.newest + 1) % self.samples.len() as u8;
        self.samples[usize::from(self.newest)] = sample;
        self.filled = (self.filled + 1).min(self.samples.len() as u8);
    }

    /// What was added a second, since the oldest tick held.
    pub fn rates(&self, ticks: &Ticks) -> [f64; 4] {
        let (newest, oldest) = (self.samples[usize::from(self.newest)], self.oldest());
        let seconds = ticks.seconds(self.filled - 1);
        std::array::from_fn(|at| newest[at].saturating_sub(oldest[at]) as f64 / seconds)
    }

    /// Whether nothing was added in all that time.
    pub fn is_idle(&self) -> bool {
        usize::from(self.filled) == self.samples.len()
            && self.samples[usize::from(self.newest)] == self.oldest()
    }

    fn oldest(&self) -> Sample {
        let length = self.samples.len() as u8;
        self.samples[usize::from((self.newest + length - (self.filled - 1)) % length)]
    }
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "quotients of small whole numbers are exact")]
mod tests {
    use super::{Ticks, Window};

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_rate_is_what_was_added_over_the_last_ten_ticks() {
        let (mut window, mut ticks) = (Window::new([0; 4], 1), Ticks::new(0));
        let mut now_ns = 0;
        let mut push = |window: &mut Window, sample| {
            now_ns += SECOND;
            ticks.push(now_ns);
            window.push(sample);
            window.rates(&ticks)
        };
        for tick in 1..=4 {
            push(&mut window, [tick * 100, 0, tick, 0]);
        }
        assert_eq!(push(&mut window, [500, 0, 5, 0]), [100.0, 0.0, 1.0, 0.0]);
        for _ in 0..3 {
            push(&mut window, [500, 0, 5, 0]);
        }
        assert_eq!(push(&mut window, [500, 0, 5, 0])[0], 500.0 / 9.0);
        assert!(!window.is_idle());
        for _ in 0..10 {
            push(&mut window, [500, 0, 5, 0]);
        }
        assert_eq!(push(&mut window, [500, 0, 5, 0]), [0.0; 4]);
        assert!(window.is_idle());
    }

    #[test]
    fn what_a_connection_does_after_a_silence_is_over_all_that_is_known_of_it() {
        let mut ticks = Ticks::new(0);
        for tick in 1..=30 {
            ticks.push(tick * SECOND);
        }
        let mut window = Window::new([7, 0, 0, 0], 30);
        window.push([1007, 0, 0, 0]);
        assert_eq!(window.rates(&ticks)[0], 100.0);
        let mut young = Window::new([0; 4], 3);
        young.push([900, 0, 0, 0]);
        assert_eq!(young.rates(&ticks)[0], 300.0);
    }

    #[test]
    fn ticks_that_came_late_count_for_their_time() {
        let (mut window, mut ticks) = (Window::new([0; 4], 1), Ticks::new(0));
        for (now_ns, total) in [(SECOND, 100), (4 * SECOND, 400), (5 * SECOND, 500)] {
            ticks.push(now_ns);
            window.push([total, 0, 0, 0]);
        }
        assert_eq!(window.rates(&ticks)[0], 100.0);
    }
}
