//! Families of TLS, as far as records tell.

use observer_ebpf::layout::library::Kind;
use observer_ebpf::protocols::tls::layout;

use super::version;
use crate::labels;
use crate::ledger::View;
use crate::metrics::SERVER_LABELS;
use crate::metrics::family::{Families, SECOND_NS, Value, bounds, seconds};

const HANDSHAKE_BOUNDS: [f64; 8] = bounds(&layout::HANDSHAKE_BOUNDS, SECOND_NS);

families! {
    /// Families of TLS.
    FAMILIES:
    OPEN = gauge(
        "observer_tls_connections",
        &["process", "container", "role", "version", "library", "read", "reason"],
        "Encrypted connections open now.",
    );
    BYTES = counter(
        "observer_tls_bytes_total",
        &["process", "container", "role", "read"],
        "Bytes in application records, by whether they were read.",
    );
    HANDSHAKES = histogram(
        "observer_tls_handshake_seconds",
        &HANDSHAKE_BOUNDS,
        SERVER_LABELS,
        "Time from the client's hello to the end of the handshake.",
    );
    ALERTS = counter(
        "observer_tls_alerts_total",
        &["process", "container", "role", "direction", "description"],
        "Alerts in the clear.",
    );
}

/// Adds the rows of a view.
pub fn fill(families: &mut Families, view: &View) {
    for (group, totals) in &view.groups {
        let [process, container, role] = group.labels();
        let tls = &totals.books.tls;
        for (open, &count) in &tls.open {
            let [read, reason] = open.coverage.labels();
            let library = open.library.unwrap_or(Kind::Unknown).label();
            let labels = [process, container, role, version(open.version), library, read, reason];
            families.of(&OPEN).push(labels, Value::Gauge(count as f64));
        }
        for (read, bytes) in [("yes", tls.read), ("no", tls.unread)] {
            families.of(&BYTES).count([process, container, role, read], bytes);
        }
        for (&(direction, description), &count) in &tls.alerts {
            let labels = [process, container, role, labels::direction(direction), description];
            families.of(&ALERTS).count(labels, count);
        }
        for (server, handshakes) in &totals.books.handshakes {
            let labels = [process, container, role, server];
            families.of(&HANDSHAKES).observe(labels, &handshakes.counts, seconds(handshakes.nanoseconds));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::rc::Rc;

    use observer_ebpf::layout::library::Kind;
    use observer_ebpf::layout::{Direction, Role};

    use crate::labels::Group;
    use crate::ledger::{GroupTotals, View};
    use crate::metrics::encode;
    use crate::metrics::family::Families;
    use crate::protocols::tls::{Coverage, Handshakes, Open, Totals, Unread};

    #[test]
    fn records_read_as_the_contract_says() {
        let group = Group { process: "app".to_owned(), container: String::new(), role: Role::Client };
        let mut of_group = GroupTotals::default();
        of_group.books.tls = Totals {
            read: 500,
            unread: 70_000,
            alerts: BTreeMap::from([((Direction::Received, "unknown_ca"), 2)]),
            open: BTreeMap::from([
                (Open { version: 0x0304, library: None, coverage: Coverage::No(Unread::Off) }, 3),
                (Open { version: 0, library: None, coverage: Coverage::No(Unread::Unlinked) }, 1),
                (Open { version: 0x0303, library: Some(Kind::Openssl), coverage: Coverage::Yes }, 2),
            ]),
        };
        let server: Rc<str> = "10.0.0.7:443".into();
        let mut handshakes = Handshakes { nanoseconds: 25_000_000, ..Handshakes::default() };
        (handshakes.counts[1], handshakes.counts[3]) = (1, 1);
        of_group.books.handshakes.insert(server, handshakes);
        let view = View { groups: BTreeMap::from([(group, of_group)]), ..View::default() };
        let mut families = Families::new(&[super::FAMILIES]);
        super::fill(&mut families, &view);
        let text = encode::text(families);
        for row in [
            "observer_tls_connections{version=\"1.3\",library=\"unknown\",read=\"no\",reason=\"off\"} 3",
            "observer_tls_connections{version=\"unknown\",library=\"unknown\",read=\"no\",reason=\"unlinked\"} 1",
            "observer_tls_connections{version=\"1.2\",library=\"openssl\",read=\"yes\",reason=\"\"} 2",
            "observer_tls_bytes_total{read=\"yes\"} 500",
            "observer_tls_bytes_total{read=\"no\"} 70000",
            "observer_tls_alerts_total{direction=\"received\",description=\"unknown_ca\"} 2",
            "observer_tls_handshake_seconds_bucket{server=\"10.0.0.7:443\",le=\"0.005\"} 1",
            "observer_tls_handshake_seconds_bucket{server=\"10.0.0.7:443\",le=\"0.05\"} 2",
            "observer_tls_handshake_seconds_sum{server=\"10.0.0.7:443\"} 0.025",
        ] {
            let row = row.replacen('{', "{process=\"app\",container=\"\",role=\"client\",", 1);
            assert!(text.lines().any(|line| line == row), "{row} is not in:\n{text}");
        }
    }
}
