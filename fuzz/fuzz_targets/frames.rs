//! Any bytes behind a handshake, cut anyhow, count as the plain decoder of the tests counts them, which holds each
//! header against `tungstenite`'s reading.
#![no_main]

#[path = "../../observer-ebpf/tests/common/mod.rs"]
mod common;

use arbitrary::Arbitrary;
use common::{Extension, Observed, refer};
use libfuzzer_sys::fuzz_target;
use observer_ebpf::layout::Role;
use observer_ebpf::layout::control::Thresholds;
use observer_ebpf::layout::losses::Desync;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    masked: bool,
    /// What the handshake agreed to.
    agreed: u8,
    passing: bool,
    cuts: [(u8, u8); 6],
    bytes: &'a [u8],
}

fuzz_target!(|input: Input| {
    let thresholds = Thresholds { medium: 20, large: 100, huge: 300 };
    let agreed = [Extension::None, Extension::Deflate, Extension::Vendor][usize::from(input.agreed) % 3];
    let reference = refer(input.bytes, input.masked, agreed, thresholds);
    let mut observed = Observed::agreed(Role::Client, agreed).with_thresholds(thresholds);
    observed.passing = input.passing;
    let mut rest = input.bytes;
    for &(length, buffer) in input.cuts.iter().cycle() {
        // What follows a length that cannot be followed may get in sync again, which the reference does not.
        if rest.is_empty() || !observed.desyncs.is_empty() {
            break;
        }
        let (part, behind) = rest.split_at((usize::from(length) + 1).min(rest.len()));
        observed.buffer = u32::from(buffer);
        if input.masked {
            observed.client(part)
        } else {
            observed.server(part)
        }
        rest = behind;
    }
    let counted = if input.masked { observed.by_client() } else { observed.by_server() };
    assert_eq!(counted, reference.counters);
    let direction = Role::Client.request_direction();
    let direction = if input.masked { direction } else { direction.opposite() };
    assert_eq!(observed.oversized[direction as usize], reference.oversized);
    assert_eq!(observed.desyncs, if reference.broken { vec![Desync::Length] } else { Vec::new() });
});
