//! Record batches of any messages, as the `kafka-protocol` crate writes them.

use bytes::{BufMut as _, Bytes, BytesMut};
use kafka_protocol::records::{Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType};

use super::super::{NOW_MS, text};
use super::Talk;

/// A record batch: its bytes, the offsets of its first and last message, how many there are, and when the newest was written.
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    pub(super) first: i64,
    pub(super) last: i64,
    pub(super) count: u64,
    pub(super) newest_ms: i64,
}

impl Talk {
    /// A record batch of the messages from an offset on.
    fn batch(&mut self, first: i64) -> Batch {
        let noise = &mut self.noise;
        let (is_control, is_transactional) = (noise.below(8) == 0, noise.is());
        let mut offset = first;
        let timed_ms = if noise.below(8) == 0 { -1 } else { (NOW_MS - noise.below(100_000)).cast_signed() };
        let records: Vec<Record> = (0..=noise.below(5))
            .map(|_| {
                let record = Record {
                    transactional: is_transactional,
                    control: is_control,
                    delete_horizon: false,
                    partition_leader_epoch: 3,
                    producer_id: -1,
                    producer_epoch: -1,
                    timestamp_type: TimestampType::Creation,
                    offset,
                    sequence: offset as i32,
                    timestamp: if timed_ms < 0 { -1 } else { timed_ms - noise.below(50).cast_signed() },
                    key: if noise.is() { None } else { Some(noise.bytes(20)) },
                    value: if noise.is() { None } else { Some(noise.bytes(200)) },
                    headers: [(text("h"), Some(noise.bytes(5)))].into_iter().collect(),
                };
                offset += 1 + if noise.below(6) == 0 { noise.below(5).cast_signed() } else { 0 };
                record
            })
            .collect();
        // Of what is inside of a batch that is compressed, nothing matters.
        let compression = [Compression::None, Compression::Gzip, Compression::Zstd][noise.below(3) as usize];
        let options = RecordEncodeOptions { version: 2, compression };
        let mut bytes = BytesMut::new();
        let squeeze = |from: &mut BytesMut, to: &mut BytesMut, _| {
            to.put_slice(from);
            Ok(())
        };
        RecordBatchEncoder::encode_with_custom_compression(&mut bytes, &records, &options, Some(squeeze))
            .expect("a batch");
        Batch {
            bytes: bytes.to_vec(),
            first,
            last: records.last().expect("one at least").offset,
            count: if is_control { 0 } else { records.len() as u64 },
            newest_ms: records.iter().map(|record| record.timestamp).max().expect("one at least"),
        }
    }

    pub(super) fn batches(&mut self, first: i64) -> Vec<Batch> {
        let mut next = first;
        (0..self.noise.below(4))
            .map(|_| {
                let batch = self.batch(next);
                next = batch.last + 1;
                batch
            })
            .collect()
    }

    pub(super) fn records(&mut self, batches: &[Batch]) -> Option<Bytes> {
        let all: Vec<u8> = batches.iter().flat_map(|batch| batch.bytes.iter().copied()).collect();
        if all.is_empty() && self.noise.is() { None } else { Some(all.into()) }
    }
}
