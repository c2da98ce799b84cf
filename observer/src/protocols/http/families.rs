//! Families of HTTP: who was turned away, as HTTP or once the connection was a WebSocket.

use observer_ebpf::layout::Protocol;

use crate::connections;
use crate::ledger::View;
use crate::metrics::family::{Families, Value};
use crate::protocols::Books;

families! {
    /// Families of HTTP.
    FAMILIES:
    LIMITED = counter(
        "rate_limited_connections_total",
        &["process", "container", "role", "reason"],
        "Connections that the application turned away.",
    );
}

/// Adds the rows of a view.
pub fn fill(families: &mut Families, view: &View) {
    for (group, totals) in &view.groups {
        let [process, container, role] = group.labels();
        for (reason, count) in turned_away(&totals.connections, &totals.books) {
            let labels = [process, container, role, reason];
            families.of(&LIMITED).push(labels, Value::Counter(count as f64));
        }
    }
}

/// How often connections were turned away, by reason. From 0 on where it may come to be counted: an alert on an
/// increase must see the first one, too.
fn turned_away<'a>(
    connections: &connections::Totals,
    books: &'a Books,
) -> impl Iterator<Item = (&'static str, u64)> + use<'a> {
    let is_websocket = connections.spoke(Protocol::WebSocket) || books.websocket.has_users();
    let is_http = is_websocket || connections.spoke(Protocol::Http);
    let too_many_requests = books.http.too_many_requests + books.websocket.http.too_many_requests;
    let [policy, try_again_later] = books.websocket.turned_away;
    let reasons = [
        ("http_429", is_http, too_many_requests),
        ("ws_1008", is_websocket, policy),
        ("ws_1013", is_websocket, try_again_later),
    ];
    reasons
        .into_iter()
        .filter(|&(_, may_be, count)| may_be || count > 0)
        .map(|(reason, _, count)| (reason, count))
}
