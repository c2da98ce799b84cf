//! Sessions of a request and its answer, as calls: fed whole or in parts, and read from recordings.

use super::{Observed, recording};

/// What one call moved, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    /// Whether the server wrote it.
    pub(crate) server: bool,
    pub(crate) bytes: Vec<u8>,
    pub(crate) now_ns: u64,
}

/// Feeds a call, in parts of these lengths and then the rest.
pub(crate) fn parts(observed: &mut Observed, call: &Call, lengths: &[usize]) {
    observed.now_ns = call.now_ns;
    let mut rest = &call.bytes[..];
    for &length in lengths.iter().chain([&usize::MAX]) {
        let (part, behind) = rest.split_at(length.min(rest.len()));
        observed.by(call.server, part);
        rest = behind;
    }
}

/// The lengths of the parts that cuts at these places make, but for the last part.
pub(crate) fn lengths(cuts: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut cuts: Vec<usize> = cuts.collect();
    cuts.sort_unstable();
    let mut before = 0;
    cuts.into_iter().map(|cut| cut - core::mem::replace(&mut before, cut)).collect()
}

/// Feeds all calls whole.
pub(crate) fn observe(observed: &mut Observed, calls: &[Call]) {
    for call in calls {
        parts(observed, call, &[]);
    }
}

/// The calls of the recording of this name, each so long after the one before, the first so long after `start_ns`.
pub(crate) fn recorded(recordings: &[(&str, &str)], name: &str, start_ns: u64, each_ns: u64) -> Vec<Call> {
    let text = recordings.iter().find(|(known, _)| *known == name).expect("a recording of this name").1;
    let numbered = recording::calls(text).zip(1..);
    numbered
        .map(|((server, bytes), number)| Call { server, bytes, now_ns: start_ns + each_ns * number })
        .collect()
}

/// Adds who calls, and with what: with `joins`, to the call before, if that is of the same side.
pub(crate) fn add_call(calls: &mut Vec<(bool, Vec<u8>)>, server: bool, bytes: Vec<u8>, joins: bool) {
    match calls.last_mut() {
        Some((same, before)) if *same == server && joins => before.extend(bytes),
        _ => calls.push((server, bytes)),
    }
}
