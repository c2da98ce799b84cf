//! Bytes and messages a second, over the last ten seconds.

/// Seconds that a rate is taken over.
pub const SECONDS: usize = 10;

/// Totals of a connection at one moment: bytes, then messages, each by direction.
pub type Sample = [u64; 4];

/// A connection's totals at the last ticks, one a second.
#[derive(Clone, Debug)]
pub struct Window {
    samples: [Sample; SECONDS + 1],
    newest: u8,
    filled: u8,
}

impl Window {
    /// Starts with the totals at a tick.
    pub const fn new(first: Sample) -> Self {
        Self { samples: [first; SECONDS + 1], newest: 0, filled: 1 }
    }

    /// Takes the totals at the next tick.
    pub fn push(&mut self, sample: Sample) {
        self.newest = (self.newest + 1) % self.samples.len() as u8;
        self.samples[usize::from(self.newest)] = sample;
        self.filled = (self.filled + 1).min(self.samples.len() as u8);
    }

    /// What was added a second, since the oldest tick held.
    pub fn rates(&self) -> [f64; 4] {
        let (newest, oldest) = (self.samples[usize::from(self.newest)], self.oldest());
        let seconds = f64::from((self.filled - 1).max(1));
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
    use super::Window;

    #[test]
    fn a_rate_is_what_was_added_over_the_last_ten_ticks() {
        let mut window = Window::new([0; 4]);
        for tick in 1..=4 {
            window.push([tick * 100, 0, tick, 0]);
        }
        assert_eq!(window.rates(), [100.0, 0.0, 1.0, 0.0]);
        for _ in 0..5 {
            window.push([400, 0, 4, 0]);
        }
        assert_eq!(window.rates()[0], 400.0 / 9.0);
        assert!(!window.is_idle());
        for _ in 0..10 {
            window.push([400, 0, 4, 0]);
        }
        assert_eq!(window.rates(), [0.0; 4]);
        assert!(window.is_idle());
    }
}
