//! How far a partition of a Kafka topic is written, read and acknowledged.

use observer_ebpf::queues::partition::{COMMIT_STEPS, Partition, SPANS};

/// What a committed offset acknowledges: messages, and when they were written.
fn commit(partition: &mut Partition, offset: u64) -> Vec<(u64, Option<u32>)> {
    partition.commit(offset, 1);
    let mut all = Vec::new();
    for _ in 0..COMMIT_STEPS {
        let one = partition.acknowledge(offset);
        if one.messages > 0 {
            all.push((one.messages, one.is_known.then_some(one.written_ms)));
        }
        if !one.goes_on {
            return all;
        }
    }
    panic!("{offset} takes too long: {partition:?}");
}

#[test]
fn a_batch_counts_from_where_it_was_asked_for() {
    let mut partition = Partition::NONE;
    assert!(!partition.fetch(7, 1), "nothing is known yet");
    assert_eq!(partition.deliver(0, 9, 10, 1_000, 1), 3);
    assert_eq!(partition.deliver(0, 9, 10, 1_000, 1), 0, "the same again");
    assert_eq!(partition.deliver(10, 19, 4, 2_000, 1), 4, "a compacted one");
    assert_eq!(partition.position, 20);
    partition.watermark(30, false, 1);
    assert!(partition.fetch(20, 1) && !partition.fetch(30, 1));
    partition.watermark(25, true, 1);
    assert_eq!(partition.high, 30);
    partition.watermark(25, false, 1);
    assert_eq!(partition.high, 25);
}

#[test]
fn what_is_written_is_told_by_the_offset_of_the_first_of_it() {
    let mut partition = Partition::NONE;
    partition.write(7);
    partition.written(25, 1);
    assert_eq!(partition.high, 32);
    // Two are on their way at once.
    partition.write(3);
    partition.write(5);
    partition.written(32, 1);
    assert!(partition.high <= 40, "no more than there will be");
    partition.written(35, 1);
    assert_eq!(partition.high, 40);
    // It began before anybody looked.
    let mut partition = Partition::NONE;
    partition.written(9, 1);
    assert_eq!(partition.high, 10);
}

#[test]
fn what_is_committed_is_acknowledged_once() {
    let mut partition = Partition::NONE;
    partition.fetch(100, 1);
    partition.deliver(100, 109, 10, 1_000, 1);
    partition.deliver(110, 119, 10, 1_100, 1);
    partition.deliver(120, 129, 10, 5_000, 1);
    assert_eq!(commit(&mut partition, 105), [(5, Some(1_000))]);
    assert_eq!(commit(&mut partition, 105), []);
    assert_eq!(commit(&mut partition, 125), [(15, Some(1_000)), (5, Some(5_000))]);
    assert_eq!(commit(&mut partition, 130), [(5, Some(5_000))]);
    // Somebody goes on elsewhere: what was stepped over is nobody's.
    partition.fetch(500, 1);
    partition.deliver(500, 500, 1, 6_000, 1);
    assert_eq!(commit(&mut partition, 501), [(1, Some(6_000))]);
    // It is taken back, and acknowledged again.
    partition.fetch(490, 1);
    partition.deliver(490, 500, 11, 6_000, 1);
    assert_eq!(commit(&mut partition, 490), []);
    assert_eq!(commit(&mut partition, 501), [(11, Some(6_000))]);
}

#[test]
fn commits_at_another_broker_count_by_their_difference() {
    let mut partition = Partition::NONE;
    assert_eq!(commit(&mut partition, 40), []);
    assert_eq!(commit(&mut partition, 50), [(10, None)]);
}

#[test]
fn more_spans_than_there_is_room_for_are_taken_together() {
    let mut partition = Partition::NONE;
    let count = u64::from(SPANS) + 10;
    for one in 0..count {
        partition.deliver(one, one, 1, 1_000 * one, 1);
    }
    let all = commit(&mut partition, count);
    assert_eq!(all.iter().map(|(messages, _)| messages).sum::<u64>(), count);
    assert_eq!(all.last(), Some(&(11, Some(31_000))));
    // The spans are behind what is read then.
    for one in 0..2 * count {
        partition.deliver(10 * one + 1_000, 10 * one + 1_000, 1, 0, 1);
    }
    partition.commit(5_000, 1);
    assert!(partition.pushed.wrapping_sub(partition.popped) <= SPANS);
}
