//! The agent's own HTTP server: who is connected, and who was turned away.

use super::family::{Description, Family, Value};
use crate::http::{Counts, Reason};

const CONNECTIONS: Description =
    Description::gauge("observer_http_connections", &[], "Connections to the agent's HTTP server, open now.");
const TURNED_AWAY: Description = Description::counter(
    "observer_http_turned_away_total",
    &["reason"],
    "Connections and requests that the agent's HTTP server turned away.",
);
const WEB_CONFIG: Description = Description::gauge(
    "observer_web_config_in_force",
    &[],
    "Whether what the file of --web-config says now is in force; 0 after a change that was refused.",
);

/// The families of the server. All reasons are there from the start, so that an increase shows the first one, too.
pub fn families(counts: &Counts) -> Vec<Family> {
    let [mut connections, mut turned_away, mut web_config] =
        [CONNECTIONS, TURNED_AWAY, WEB_CONFIG].map(Family::new);
    connections.push([], Value::Gauge(counts.connections() as f64));
    for reason in Reason::ALL {
        turned_away.push([reason.name()], Value::Counter(counts.turned_away(reason) as f64));
    }
    if let Some(is_in_force) = counts.web_config() {
        web_config.push([], Value::Gauge(f64::from(u8::from(is_in_force))));
    }
    vec![connections, turned_away, web_config]
}
