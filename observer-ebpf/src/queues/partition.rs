//! A partition of a Kafka topic: how far it is written, read and acknowledged.
//!
//! ```text
//!   offsets   0 … 41  42  43  44  45  46 │ 47          high watermark: 47
//!                      ▲           ▲                    committed: 43, position: 46
//!                      └─ spans ───┘                    lag of the group: 47 − 43 = 4
//! ```
//!
//! The high watermark comes from responses to Fetch and Produce, the position from Fetch requests and from the batches that
//! were delivered, the committed offset from `OffsetCommit`. When delivered messages were written is kept, by spans of
//! offsets, until they are committed.

/// A partition, as a process reads or writes it: a key of the `PARTITIONS` map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct PartitionKey {
    /// The number of the process and its server.
    pub service: u32,
    /// The number of the topic, or of the consumer group of the topic, as queues have them.
    pub queue: u32,
    /// The partition's own number.
    pub partition: u32,
    /// Zero.
    pub reserved: u32,
}

/// How many spans of delivered messages are kept until they are committed.
pub const SPANS: u32 = 32;

/// Messages of a span were written within so many milliseconds.
pub const SPAN_MS: u32 = 160;

/// Messages that were delivered, and written at about the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Span {
    /// The first one's offset.
    pub first: u64,
    /// How many offsets there are.
    pub length: u32,
    /// When its oldest was written, in milliseconds since 1970, of which these are the lower bits; 0 if that is not known.
    pub written_ms: u32,
}

/// How far a partition is written, read and acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Partition {
    /// The high watermark: the offset behind the last message that may be read.
    pub high: u64,
    /// The offset that is to be read next.
    pub position: u64,
    /// The offset that is to be acknowledged next; as long as none was told, the first that was asked for.
    pub committed: u64,
    /// When `high`, `position` and `committed` were last told, in ticks of [`TICK_BITS`](super::deque::TICK_BITS), and
    /// never 0; 0 if they were not.
    pub high_at: u32,
    /// Likewise.
    pub position_at: u32,
    /// Likewise.
    pub committed_at: u32,
    /// Spans so far, and how many of them are committed.
    pub pushed: u32,
    /// Likewise.
    pub popped: u32,
    /// Offsets of the last batch that was sent to be written.
    pub writing: u32,
    /// Spans that are not committed, by their number.
    pub spans: [Span; SPANS as usize],
}

impl Span {
    /// The offset behind the last one.
    #[inline(always)]
    const fn end(&self) -> u64 {
        self.first.wrapping_add(self.length as u64)
    }
}

/// Messages that have been acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// How many.
    pub messages: u64,
    /// When the oldest was written, as [`Span::written_ms`].
    pub written_ms: u32,
    /// Whether that is known.
    pub is_known: bool,
    /// Whether there may be more.
    pub goes_on: bool,
}

impl Acknowledged {
    const fn none(goes_on: bool) -> Self {
        Self { messages: 0, written_ms: 0, is_known: false, goes_on }
    }
}

impl Partition {
    /// Nothing is known of it.
    pub const NONE: Self = Self {
        high: 0,
        position: 0,
        committed: 0,
        high_at: 0,
        position_at: 0,
        committed_at: 0,
        pushed: 0,
        popped: 0,
        writing: 0,
        spans: [Span { first: 0, length: 0, written_ms: 0 }; SPANS as usize],
    };

    /// Somebody asks for the messages from an offset on. Tells whether there are some, as far as known.
    #[inline(always)]
    pub fn fetch(&mut self, offset: u64, now: u32) -> bool {
        if self.position_at == 0 && self.committed_at == 0 {
            self.committed = offset;
        }
        self.position = offset;
        self.position_at = now | 1;
        self.high_at != 0 && offset < self.high
    }

    /// The high watermark is this, or at least this.
    #[inline(always)]
    pub fn watermark(&mut self, offset: u64, at_least: bool, now: u32) {
        if !at_least || self.high_at == 0 || offset > self.high {
            self.high = offset;
        }
        self.high_at = now | 1;
    }

    /// A batch of so many offsets is to be written.
    #[inline(always)]
    pub fn write(&mut self, offsets: u64) {
        self.writing = offsets as u32;
    }

    /// A batch was written, from the offset `first` on. It is taken for the last one that was sent: where another one is on
    /// its way, which comes behind it, the high watermark will be as high once that is written.
    #[inline(always)]
    pub fn written(&mut self, first: u64, now: u32) {
        let offsets = if self.writing == 0 { 1 } else { self.writing };
        self.watermark(first.wrapping_add(u64::from(offsets)), true, now);
    }

    /// A batch of `records` messages was delivered, from the offset `first` to `last`. Tells how many of them had not been
    /// before: a batch comes whole, even where less of it was asked for.
    #[inline(always)]
    pub fn deliver(&mut self, first: u64, last: u64, records: u32, written_ms: u64, now: u32) -> u32 {
        let from = if self.position_at != 0 && self.position > first { self.position } else { first };
        if last < from || last - from >= u64::from(u32::MAX) {
            return 0;
        }
        let offsets = (last - from) as u32 + 1;
        self.position = last + 1;
        self.position_at = now | 1;
        self.push(from, offsets, written_ms as u32);
        // Where the log is compacted there are fewer messages than offsets.
        if records < offsets { records } else { offsets }
    }

    /// Keeps when some messages were written.
    #[inline(always)]
    fn push(&mut self, first: u64, length: u32, written_ms: u32) {
        let last = &mut self.spans[(self.pushed.wrapping_sub(1) & (SPANS - 1)) as usize];
        let waiting = self.pushed.wrapping_sub(self.popped);
        let is_next = waiting > 0 && last.end() == first;
        if is_next && (written_ms.wrapping_sub(last.written_ms) < SPAN_MS || waiting >= SPANS) {
            last.length = last.length.saturating_add(length);
            return;
        }
        if waiting >= SPANS {
            // What was asked for is elsewhere: the oldest is not known any more.
            self.popped = self.popped.wrapping_add(1);
        }
        self.spans[(self.pushed & (SPANS - 1)) as usize] = Span { first, length, written_ms };
        self.pushed = self.pushed.wrapping_add(1);
    }

    /// What is to be read next was `offset` before: nothing is acknowledged by that.
    #[inline(always)]
    pub fn know(&mut self, offset: u64, now: u32) {
        self.committed = offset;
        self.committed_at = now | 1;
    }

    /// What is to be read next is `offset`, by whoever goes on. To be called before [`Partition::acknowledge`].
    #[inline(always)]
    pub fn commit(&mut self, offset: u64, now: u32) {
        if self.committed_at == 0 || offset < self.committed {
            // Nothing is known of what was acknowledged before; or it is taken back.
            let oldest = self.spans[(self.popped & (SPANS - 1)) as usize].first;
            let is_known = self.popped != self.pushed && oldest <= offset;
            self.committed = if is_known { oldest } else { offset };
        }
        self.committed_at = now | 1;
    }

    /// The next messages that are acknowledged with a committed offset. To be called again while there may be more, which
    /// takes no more than [`COMMIT_STEPS`] times.
    #[inline(always)]
    pub fn acknowledge(&mut self, offset: u64) -> Acknowledged {
        let from = self.committed;
        if offset <= from {
            return Acknowledged::none(false);
        }
        let span = self.spans[(self.popped & (SPANS - 1)) as usize];
        let end = span.end();
        let has_spans = self.popped != self.pushed;
        if !has_spans || span.first >= offset {
            self.committed = offset;
            // What is delivered elsewhere is counted; what was stepped over is not.
            let is_elsewhere = self.pushed == 0;
            let messages = if is_elsewhere { offset - from } else { 0 };
            return Acknowledged { messages, ..Acknowledged::none(false) };
        }
        if span.first > from {
            self.committed = span.first;
            return Acknowledged::none(true);
        }
        if end <= from {
            // It is acknowledged already.
            self.popped = self.popped.wrapping_add(1);
            return Acknowledged::none(true);
        }
        let to = if end < offset { end } else { offset };
        self.committed = to;
        if to == end {
            self.popped = self.popped.wrapping_add(1);
        }
        Acknowledged {
            messages: to - from,
            written_ms: span.written_ms,
            is_known: span.written_ms != 0,
            goes_on: to < offset,
        }
    }
}

/// The most calls of [`Partition::acknowledge`] that a committed offset takes: each span may be stepped to, and over.
pub const COMMIT_STEPS: u32 = 2 * SPANS + 2;
