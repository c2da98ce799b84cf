//! Families of rates and abuse: how fast messages come, from how many users, and who was turned away.

use observer_ebpf::layout::{Direction, Protocol};

use super::family::{Description, Family, Value};
use super::{direction, role};
use crate::ledger::View;
use crate::rates::minute::{BOUNDS, Rate};
use crate::rates::node::Node;
use crate::totals::{TURNED_AWAY, Totals};

const GLOBAL: Description = Description::gauge(
    "global_message_rate_per_second",
    &[],
    "WebSocket data messages a second on the node over the last 10 seconds, those between two local processes once.",
);
const SPIKES: Description = Description::counter(
    "message_rate_spike_total",
    &[],
    "Times that the node's message rate rose above the threshold.",
);
const MINUTES: Description = Description::histogram(
    "user_messages_per_minute",
    &BOUNDS,
    &["process", "container", "role", "direction"],
    "Data messages of each open WebSocket connection in each of its full minutes.",
);
const USERS: Description = Description::gauge(
    "active_users_by_rate",
    &["process", "container", "role", "rate_bucket"],
    "WebSocket connections open now, by the messages of their client in the current or the last minute.",
);
const HIGH: Description = Description::counter(
    "high_rate_users_total",
    &["process", "container", "role"],
    "Minutes in which the client of a WebSocket connection sent more messages than the limit.",
);
const LIMITED: Description = Description::counter(
    "rate_limited_connections_total",
    &["process", "container", "role", "reason"],
    "Connections that the application turned away.",
);

/// A label's value for a rate.
const fn bucket(rate: Rate) -> &'static str {
    match rate {
        Rate::Idle => "idle",
        Rate::Low => "low",
        Rate::Normal => "normal",
        Rate::High => "high",
    }
}

/// The families of a view, and of the node.
pub fn families(view: &View, node: &Node) -> Vec<Family> {
    let [mut global, mut spikes, mut minutes, mut users, mut high, mut limited] =
        [GLOBAL, SPIKES, MINUTES, USERS, HIGH, LIMITED].map(Family::new);
    global.push([], Value::Gauge(node.rate()));
    spikes.push([], Value::Counter(node.spikes() as f64));

    for (group, by_rate) in &view.users {
        for (rate, &count) in Rate::ALL.into_iter().zip(by_rate) {
            let labels = [&*group.process, &*group.container, role(group.role), bucket(rate)];
            users.push(labels, Value::Gauge(count as f64));
        }
    }
    for (group, totals) in &view.totals {
        let (name, container, role) = (&*group.process, &*group.container, role(group.role));
        for (way, total) in Direction::ALL.into_iter().zip(&totals.minutes) {
            minutes.observe([name, container, role, direction(way)], &total.counts, total.messages as f64);
        }
        // From 0 on where it may come to be counted: an alert on its increase must see the first one, too.
        let has_users = spoke(totals, Protocol::WebSocket) || view.users.contains_key(group);
        if has_users {
            high.push([name, container, role], Value::Counter(totals.high_rate as f64));
        }
        let is_http = has_users || spoke(totals, Protocol::Http);
        let may_be = [is_http, has_users, has_users];
        for ((reason, &count), may_be) in TURNED_AWAY.into_iter().zip(&totals.rate_limited).zip(may_be) {
            if may_be || count > 0 {
                limited.push([name, container, role, reason], Value::Counter(count as f64));
            }
        }
    }
    vec![global, spikes, minutes, users, high, limited]
}

fn spoke(totals: &Totals, protocol: Protocol) -> bool {
    totals.bytes[protocol as usize] != [0; 2]
}

#[cfg(test)]
mod tests {
    use observer_ebpf::layout::{Protocol, Role};

    use super::families;
    use crate::ledger::{Group, View};
    use crate::metrics::family::Value;
    use crate::rates::node::Node;
    use crate::totals::Totals;

    #[test]
    fn counters_start_from_0_where_they_may_count() {
        let group = |process: &str| Group {
            process: process.to_owned(),
            container: String::new(),
            role: Role::Server,
        };
        let mut view = View::default();
        let mut http = Totals::default();
        http.bytes[Protocol::Http as usize] = [1, 1];
        let mut chat = Totals::default();
        chat.bytes[Protocol::WebSocket as usize] = [1, 1];
        (chat.high_rate, chat.rate_limited) = (2, [0, 3, 0]);
        chat.minutes[1].add(7);
        view.totals.insert(group("chat"), chat);
        view.totals.insert(group("http"), http);
        view.totals.insert(group("sql"), Totals::default());
        view.users.insert(group("chat"), [1, 0, 0, 4]);

        let families = families(&view, &Node::new(10, 0));
        let rows = |name: &str| -> Vec<(String, f64)> {
            let family = families.iter().find(|family| family.description.name == name);
            let rows = family.into_iter().flat_map(|family| &family.rows);
            rows.map(|(labels, value)| match value {
                Value::Counter(value) | Value::Gauge(value) => (labels.join(" "), *value),
                Value::Histogram(counts, _) => (labels.join(" "), counts.iter().sum::<u64>() as f64),
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
