//! What a session must count, by the messages that were written; and what was counted, in the same terms.

use std::collections::BTreeMap;

use observer_ebpf::protocols::kafka::layout::ErrorCode;

use super::{MS, Outcome};
use crate::common::queues::Queues;

/// What is known of a partition: the offsets that were told.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Known {
    pub(crate) high: Option<i64>,
    pub(crate) position: Option<i64>,
    pub(crate) committed: Option<i64>,
}

/// What a session comes to.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Model {
    pub(crate) requests: BTreeMap<String, u32>,
    pub(crate) errors: BTreeMap<String, u32>,
    /// By the name of the queue.
    pub(crate) put: BTreeMap<String, u64>,
    /// Ages of what was taken, -1 if not known.
    pub(crate) taken: BTreeMap<String, Vec<i64>>,
    pub(crate) partitions: BTreeMap<(String, u32), Known>,
    pub(crate) produces: u32,
    pub(crate) fetches: u32,
    pub(crate) waits: u32,
}

impl Model {
    pub(crate) fn error(&mut self, code: i16) {
        if code != 0 {
            let name = ErrorCode::NAMES[usize::from(ErrorCode::index(code))];
            *self.errors.entry(name.to_owned()).or_default() += 1;
        }
    }

    pub(crate) fn partition(&mut self, queue: &str, partition: i32) -> &mut Known {
        self.partitions.entry((queue.to_owned(), partition.cast_unsigned())).or_default()
    }
}

/// What was found of the same kind.
pub(crate) fn found(outcome: &Outcome, expected: &Model) -> Model {
    let queues: &Queues = &outcome.queues;
    let mut requests = outcome.requests();
    // The first one.
    requests.remove("api_versions");
    let taken = |name: &String| {
        let (_, counted) = queues.of(name, 0);
        assert_eq!(counted.taken, counted.unknown + counted.ages_ns.len() as u64);
        (name.clone(), counted)
    };
    let partitions = expected.partitions.keys().map(|(queue, number)| {
        let all = queues.partitions_of(queue);
        let one = all.get(number).copied().unwrap_or_default();
        let told = |at: u32, offset: u64| (at != 0).then_some(offset.cast_signed());
        let known = Known {
            high: told(one.high_at, one.high),
            position: told(one.position_at, one.position),
            committed: told(one.committed_at, one.committed),
        };
        ((queue.clone(), *number), known)
    });
    let counters = &outcome.counters;
    Model {
        requests,
        errors: outcome.errors(),
        put: expected.put.keys().map(|name| (name.clone(), queues.of(name, 0).1.put)).collect(),
        // Those whose age is not known are put where the model has them.
        taken: expected
            .taken
            .iter()
            .map(|(name, ages)| {
                let (name, counted) = taken(name);
                let mut known = counted.ages_ns.iter().map(|age_ns| (age_ns / MS).cast_signed());
                let mut unknown = counted.unknown;
                let mut all = Vec::new();
                for &age in ages {
                    if age < 0 && unknown > 0 {
                        unknown -= 1;
                        all.push(-1);
                    } else {
                        all.extend(known.next());
                    }
                }
                all.extend(known);
                all.extend((0..unknown).map(|_| -1));
                (name, all)
            })
            .collect(),
        partitions: partitions.collect(),
        produces: counters.produces.iter().sum(),
        fetches: counters.fetches.iter().sum(),
        waits: counters.waits,
    }
}
