//! Families of rates: how fast messages come, and from how many users.

use observer_ebpf::layout::{Direction, Protocol};

use super::family::{Families, Value};
use crate::labels;
use crate::ledger::View;
use crate::protocols::websocket::minute::{BOUNDS, Rate};
use crate::protocols::websocket::node::Node;

families! {
    /// Families of rates.
    FAMILIES:
    GLOBAL = gauge(
        "global_message_rate_per_second",
        &[],
        "WebSocket data messages a second on the node over the last 10 seconds, those between two local processes once.",
    );
    SPIKES = counter(
        "message_rate_spike_total",
        &[],
        "Times that the node's message rate rose above the threshold.",
    );
    MINUTES = histogram(
        "user_messages_per_minute",
        &BOUNDS,
        &["process", "container", "role", "direction"],
        "Data messages of each open WebSocket connection in each of its full minutes.",
    );
    USERS = gauge(
        "active_users_by_rate",
        &["process", "container", "role", "rate_bucket"],
        "WebSocket connections open now, by the messages of their client in the current or the last minute.",
    );
    HIGH = counter(
        "high_rate_users_total",
        &["process", "container", "role"],
        "Minutes in which the client of a WebSocket connection sent more messages than the limit.",
    );
}

/// A label's value for a rate.
const fn bucket(rate: Rate) -> &'static str {
    match rate {
        Rate::Idle => "idle",
        Rate::Low => "low",
        Rate::Normal => "normal",
        Rate::High => "high",
    }
}

/// Adds the rows of a view, and of the node.
pub fn fill(families: &mut Families, view: &View, node: &Node) {
    families.of(&GLOBAL).push([], Value::Gauge(node.rate()));
    families.of(&SPIKES).push([], Value::Counter(node.spikes() as f64));
    for (group, totals) in &view.groups {
        let [process, container, role] = group.labels();
        let websocket = &totals.books.websocket;
        for (direction, total) in Direction::ALL.into_iter().zip(&websocket.minutes) {
            let row = [process, container, role, labels::direction(direction)];
            families.of(&MINUTES).observe(row, &total.counts, total.messages as f64);
        }
        if websocket.has_users() {
            for (rate, &count) in Rate::ALL.into_iter().zip(&websocket.users) {
                families
                    .of(&USERS)
                    .push([process, container, role, bucket(rate)], Value::Gauge(count as f64));
            }
        }
        // From 0 on where it may come to be counted: an alert on its increase must see the first one, too.
        if websocket.has_users() || totals.connections.spoke(Protocol::WebSocket) {
            families.of(&HIGH).push(group.labels(), Value::Counter(websocket.high_rate as f64));
        }
    }
}

#[cfg(test)]
mod tests {
    use observer_ebpf::layout::{Protocol, Role};

    use crate::labels::Group;
    use crate::ledger::{GroupTotals, View};
    use crate::metrics::family::{Families, Value};
    use crate::protocols::http;
    use crate::protocols::websocket::node::Node;

    #[test]
    fn counters_start_from_0_where_they_may_count() {
        let group = |process: &str| Group {
            process: process.to_owned(),
            container: String::new(),
            role: Role::Server,
        };
        let mut view = View::default();
        let mut http = GroupTotals::default();
        http.connections.bytes[0][Protocol::Http as usize] = [1, 1];
        let mut chat = GroupTotals::default();
        chat.connections.bytes[0][Protocol::WebSocket as usize] = [1, 1];
        let websocket = &mut chat.books.websocket;
        (websocket.high_rate, websocket.turned_away) = (2, [3, 0]);
        websocket.minutes[1].add(7);
        websocket.users = [1, 0, 0, 4];
        view.groups.insert(group("chat"), chat);
        view.groups.insert(group("http"), http);
        view.groups.insert(group("sql"), GroupTotals::default());

        let mut families = Families::new(&[super::FAMILIES, http::families::FAMILIES]);
        super::fill(&mut families, &view, &Node::new(10, 0));
        http::families::fill(&mut families, &view);
        let families = families.into_vec();
        let rows = |name: &str| -> Vec<(String, f64)> {
            let family = families.iter().find(|family| family.description.name == name);
            let rows = family.into_iter().flat_map(|family| &family.rows);
            rows.map(|row| match &row.value {
                Value::Counter(value) | Value::Gauge(value) => (row.labels.join(" "), *value),
                Value::Histogram(counts, _) => (row.labels.join(" "), counts.iter().sum::<u64>() as f64),
            })
            .collect()
        };
        let row = |labels: &str, value: f64| (labels.to_owned(), value);
        assert_eq!(rows("global_message_rate_per_second"), [row("", 0.0)]);
        assert_eq!(rows("message_rate_spike_total"), [row("", 0.0)]);
        assert_eq!(rows("high_rate_users_total"), [row("chat  server", 2.0)]);
        assert_eq!(rows("user_messages_per_minute"), [row("chat  server received", 1.0)]);
        assert_eq!(
            rows("active_users_by_rate"),
            ["idle", "low", "normal", "high"].map(|bucket| row(
                &format!("chat  server {bucket}"),
                match bucket {
                    "idle" => 1.0,
                    "high" => 4.0,
                    _ => 0.0,
                }
            ))
        );
        assert_eq!(
            rows("rate_limited_connections_total"),
            [
                row("chat  server http_429", 0.0),
                row("chat  server ws_1008", 3.0),
                row("chat  server ws_1013", 0.0),
                row("http  server http_429", 0.0),
            ]
        );
    }
}
