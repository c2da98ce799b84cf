//! What encrypted connections tell without a key, whatever they speak inside.

mod coverage;
pub mod families;
mod hint;

pub use self::coverage::{Coverage, PlaintextUse, Unread};
pub use self::hint::Encrypted;

use std::collections::BTreeMap;

use observer_ebpf::layout::Direction;
use observer_ebpf::layout::buckets::bucket;
use observer_ebpf::layout::connection::Phase;
use observer_ebpf::layout::library::Kind;
use observer_ebpf::protocols::tls::layout::{ALERTS, HANDSHAKE_BOUNDS, HANDSHAKE_BUCKETS};

use super::Seen;
use crate::counts::add_all;

/// Sums over connections.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    /// Bytes in application records, both ways: those that moved inside calls of a library that is read.
    pub read: u64,
    /// The others.
    pub unread: u64,
    /// Alerts in the clear, by direction and description.
    pub alerts: BTreeMap<(Direction, &'static str), u64>,
    /// Connections that are open.
    pub open: BTreeMap<Open, u64>,
}

/// What is told of an open connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Open {
    /// Its version, as it is on the wire.
    pub version: u16,
    /// The library in whose calls its bytes move, as far as known.
    pub library: Option<Kind>,
    /// How much of it is read.
    pub coverage: Coverage,
}

/// Handshakes that are over, by the time they took.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Handshakes {
    /// By bucket of [`HANDSHAKE_BOUNDS`].
    pub counts: [u64; HANDSHAKE_BUCKETS],
    /// Nanoseconds of all.
    pub nanoseconds: u64,
}

impl super::Totals for Totals {
    fn add(&mut self, seen: &Seen<'_>) {
        let records = &seen.connection.tls;
        let (all, read) = (sum(records.application), sum(records.read_bytes()));
        self.read += read;
        self.unread += all.saturating_sub(read);
        for direction in Direction::ALL {
            let at = direction as usize;
            let count = usize::from(records.alerts_seen[at]);
            for &told in &records.alerts[at][..count.min(ALERTS)] {
                *self.alerts.entry((direction, description(told.saturating_sub(1)))).or_default() += 1;
            }
            if count > ALERTS {
                *self.alerts.entry((direction, OTHER)).or_default() += (count - ALERTS) as u64;
            }
        }
    }

    fn add_open(&mut self, seen: &Seen<'_>) {
        if Phase::from_u8(seen.connection.phase) == Phase::Open {
            let records = &seen.connection.tls;
            let open = Open {
                version: records.version,
                library: Kind::from_u8(records.library),
                coverage: Coverage::of(seen.connection, seen.unread),
            };
            *self.open.entry(open).or_default() += 1;
        }
    }

    fn add_totals(&mut self, other: &Self) {
        let Self { read, unread, alerts, open } = other;
        self.read += read;
        self.unread += unread;
        for (&key, count) in alerts {
            *self.alerts.entry(key).or_default() += count;
        }
        for (&one, count) in open {
            *self.open.entry(one).or_default() += count;
        }
    }
}

impl super::Totals for Handshakes {
    fn add(&mut self, seen: &Seen<'_>) {
        let took_ns = seen.connection.tls.handshake_ns;
        if took_ns != 0 {
            self.counts[bucket(&HANDSHAKE_BOUNDS, took_ns)] += 1;
            self.nanoseconds += took_ns;
        }
    }

    fn add_open(&mut self, _seen: &Seen<'_>) {}

    fn add_totals(&mut self, other: &Self) {
        add_all(&mut self.counts, &other.counts);
        self.nanoseconds += other.nanoseconds;
    }
}

fn sum([sent, received]: [u64; 2]) -> u64 {
    sent.saturating_add(received)
}

/// The name of a version.
const fn version(number: u16) -> &'static str {
    match number {
        0x0300 => "ssl3",
        0x0301 => "1.0",
        0x0302 => "1.1",
        0x0303 => "1.2",
        0x0304 => "1.3",
        _ => "unknown",
    }
}

/// What has no name, or was one alert too many on its connection.
const OTHER: &str = "other";

/// The name of an alert (the registry "TLS Alerts" of IANA, which RFC 8446 keeps).
const fn description(number: u8) -> &'static str {
    match number {
        0 => "close_notify",
        10 => "unexpected_message",
        20 => "bad_record_mac",
        21 => "decryption_failed",
        22 => "record_overflow",
        30 => "decompression_failure",
        40 => "handshake_failure",
        41 => "no_certificate",
        42 => "bad_certificate",
        43 => "unsupported_certificate",
        44 => "certificate_revoked",
        45 => "certificate_expired",
        46 => "certificate_unknown",
        47 => "illegal_parameter",
        48 => "unknown_ca",
        49 => "access_denied",
        50 => "decode_error",
        51 => "decrypt_error",
        52 => "too_many_cids_requested",
        60 => "export_restriction",
        70 => "protocol_version",
        71 => "insufficient_security",
        80 => "internal_error",
        86 => "inappropriate_fallback",
        90 => "user_canceled",
        100 => "no_renegotiation",
        109 => "missing_extension",
        110 => "unsupported_extension",
        111 => "certificate_unobtainable",
        112 => "unrecognized_name",
        113 => "bad_certificate_status_response",
        114 => "bad_certificate_hash_value",
        115 => "unknown_psk_identity",
        116 => "certificate_required",
        120 => "no_application_protocol",
        121 => "ech_required",
        _ => OTHER,
    }
}
