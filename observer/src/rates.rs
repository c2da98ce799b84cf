//! Rates of a connection: over the last ten seconds.

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

/// What a connection added at each of the last ticks.
#[derive(Clone, Debug)]
pub struct Window {
    /// As much as matters to a rate: numbers up to 2^24 are exact, and greater ones to a ten-millionth. There is
    /// one of these for each connection.
    added: [[f32; 4]; SECONDS],
    newest: u8,
    filled: u8,
}

impl Window {
    /// Starts before a tick, for a connection that nothing was added to at the last `ticks` ticks.
    pub fn new(ticks: u8) -> Self {
        Self { added: [[0.0; 4]; SECONDS], newest: 0, filled: ticks.min(SECONDS as u8) }
    }

    /// Takes what was added between the last tick and the next one.
    pub fn push(&mut self, before: &Sample, now: &Sample) {
        self.newest = (self.newest + 1) % SECONDS as u8;
        self.added[usize::from(self.newest)] =
            std::array::from_fn(|at| now[at].saturating_sub(before[at]) as f32);
        self.filled = (self.filled + 1).min(SECONDS as u8);
    }

    /// What was added a second.
    pub fn rates(&self, ticks: &Ticks) -> [f64; 4] {
        let seconds = ticks.seconds(self.filled);
        // What was before the first tick is zero.
        let sum = |at: usize| self.added.iter().map(|added| f64::from(added[at])).sum::<f64>();
        std::array::from_fn(|at| sum(at) / seconds)
    }

    /// Whether nothing was added in all that time.
    pub fn is_idle(&self) -> bool {
        usize::from(self.filled) == SECONDS && self.added.iter().flatten().all(|&added| added == 0.0)
    }
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "quotients of small whole numbers are exact")]
mod tests {
    use super::{Ticks, Window};

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_rate_is_what_was_added_over_the_last_ten_ticks() {
        let (mut window, mut ticks) = (Window::new(0), Ticks::new(0));
        let (mut now_ns, mut before) = (0, [0; 4]);
        let mut push = |window: &mut Window, sample| {
            now_ns += SECOND;
            ticks.push(now_ns);
            window.push(&before, &sample);
            before = sample;
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
        let mut window = Window::new(30);
        window.push(&[7, 0, 0, 0], &[1007, 0, 0, 0]);
        assert_eq!(window.rates(&ticks)[0], 100.0);
        let mut young = Window::new(2);
        young.push(&[0; 4], &[900, 0, 0, 0]);
        assert_eq!(young.rates(&ticks)[0], 300.0);
    }

    #[test]
    fn ticks_that_came_late_count_for_their_time() {
        let (mut window, mut ticks) = (Window::new(0), Ticks::new(0));
        for (now_ns, before, total) in [(SECOND, 0, 100), (4 * SECOND, 100, 400), (5 * SECOND, 400, 500)] {
            ticks.push(now_ns);
            window.push(&[before, 0, 0, 0], &[total, 0, 0, 0]);
        }
        assert_eq!(window.rates(&ticks)[0], 100.0);
    }
}
