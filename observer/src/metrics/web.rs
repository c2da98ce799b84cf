//! The agent's own HTTP server: who is connected, and who was turned away.

use super::family::{Families, Value};
use crate::web::{Counts, Reason};

families! {
    /// Families of the agent's own HTTP server.
    FAMILIES:
    CONNECTIONS = gauge(
        "observer_web_connections",
        &[],
        "Connections to the agent's HTTP server, open now.",
    );
    TURNED_AWAY = counter(
        "observer_web_turned_away_total",
        &["reason"],
        "Connections and requests that the agent's HTTP server turned away.",
    );
    WEB_CONFIG = gauge(
        "observer_web_config_in_force",
        &[],
        "Whether what the file of --web-config says now is in force; 0 after a change that was refused.",
    );
}

/// Adds the rows of the server. All reasons are there from the start, so that an increase shows the first one, too.
pub fn fill(families: &mut Families, counts: &Counts) {
    families.of(&CONNECTIONS).push([], Value::Gauge(counts.connections() as f64));
    for reason in Reason::ALL {
        let count = counts.turned_away(reason);
        families.of(&TURNED_AWAY).push([reason.name()], Value::Counter(count as f64));
    }
    if let Some(is_in_force) = counts.web_config() {
        families.of(&WEB_CONFIG).push([], Value::Gauge(f64::from(u8::from(is_in_force))));
    }
}
