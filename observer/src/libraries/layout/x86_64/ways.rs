//! The ways through a function, one by one.

use std::collections::HashSet;

use iced_x86::InstructionInfoFactory;

use super::values::State;
use crate::libraries::x86_64::listing::{Listing, Way};

/// How often instructions are come to with something else known, of all of a function together. The longest that is
/// looked into of Node 24, with OpenSSL 3.5, has 79 instructions, which are come to 165 times.
pub(super) const STEPS: usize = 8192;

/// Tells `see` of each instruction what is known before it, on each way from the function's start on which that is
/// something else. `None` as soon as `see` is, or if the ways are too many.
pub(super) fn follow(
    listing: &Listing<'_>,
    start: &State,
    mut see: impl FnMut(usize, &State) -> Option<()>,
) -> Option<()> {
    let mut info = InstructionInfoFactory::new();
    let mut seen = HashSet::new();
    let mut next = vec![(0, *start)];
    while let Some((index, state)) = next.pop() {
        if !seen.insert((index, state)) {
            continue;
        }
        if seen.len() > STEPS {
            return None;
        }
        see(index, &state)?;
        let after = state.after(&listing.instructions()[index], &mut info);
        for way in listing.ways(index).both() {
            if let Way::To(target) = way {
                next.push((target, after));
            }
        }
    }
    Some(())
}
