//! What columns show of what requests were like lately.

use super::Value;
use crate::recent::Recent;

/// What the column of [`errors`] shows, in words.
pub(super) const ERRORS: &str = "of these, answered 5xx or not whole, in percent";
/// What the column of [`p95`] shows, in words.
pub(super) const P95: &str = "of these, 95 % took no longer; 10s stands for all above";

/// Requests a second.
pub(super) fn requests(recent: Option<&Recent>) -> Value<'static> {
    recent.map_or(Value::Nothing, |recent| Value::Rate(recent.requests_per_second))
}

/// The part of them that went wrong; nothing where there were none.
pub(super) fn errors(recent: Option<&Recent>) -> Value<'static> {
    match recent {
        Some(recent) if recent.requests_per_second > 0.0 => {
            Value::Share(recent.errors_per_second, recent.requests_per_second)
        }
        _ => Value::Nothing,
    }
}

/// The time that 95 % of them took at most; nothing where there were none.
pub(super) fn p95(recent: Option<&Recent>) -> Value<'static> {
    recent.and_then(|recent| recent.p95_seconds).map_or(Value::Nothing, Value::Seconds)
}
