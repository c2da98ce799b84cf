//! Families of Kafka.

use observer_ebpf::protocols::kafka::layout::{self, Api, ErrorCode};

use super::Totals;
use crate::ledger::View;
use crate::metrics::SERVER_LABELS as LABELS;
use crate::metrics::family::{Families, SECOND_NS, bounds, seconds};

const LATENCY_BOUNDS: [f64; 8] = bounds(&layout::LATENCY_BOUNDS, SECOND_NS);

const API_LABELS: &[&str] = &["process", "container", "role", "server", "api"];
const ERROR_LABELS: &[&str] = &["process", "container", "role", "server", "error"];

families! {
    /// Families of Kafka.
    FAMILIES:
    REQUESTS = counter("observer_kafka_requests_total", API_LABELS, "Requests sent to the broker.");
    DURATIONS = histogram(
        "observer_kafka_request_duration_seconds",
        &LATENCY_BOUNDS,
        API_LABELS,
        "Time from a request to the end of its response: produce, and fetch where messages were there to be read.",
    );
    WAITS = counter(
        "observer_kafka_fetch_waits_total",
        LABELS,
        "Fetch requests that waited for messages or found none, whose times are in no histogram.",
    );
    ERRORS = counter("observer_kafka_errors_total", ERROR_LABELS, "Errors in responses.");
    UNMATCHED = counter(
        "observer_kafka_unmatched_responses_total",
        LABELS,
        "Responses whose request is not known, as there were too many in flight.",
    );
    UNPARSED = counter(
        "observer_kafka_unparsed_total",
        LABELS,
        "Requests, responses and record batches of versions that are not looked into.",
    );
}

/// Adds the rows of a view.
pub fn fill(families: &mut Families, view: &View) {
    for (group, totals) in &view.groups {
        let [process, container, role] = group.labels();
        for (server, totals) in &totals.books.kafka {
            fill_server(families, [process, container, role, server], totals);
        }
    }
}

fn fill_server(families: &mut Families, labels: [&str; 4], totals: &Totals) {
    let [process, container, role, server] = labels;
    for (api, &count) in Api::ALL.into_iter().zip(&totals.requests) {
        families.of(&REQUESTS).count([process, container, role, server, api.name()], count);
    }
    let durations =
        [(Api::Produce, &totals.produces, totals.produce_ns), (Api::Fetch, &totals.fetches, totals.fetch_ns)];
    for (api, counts, nanoseconds) in durations {
        let labels = [process, container, role, server, api.name()];
        families.of(&DURATIONS).observe(labels, counts, seconds(nanoseconds));
    }
    families.of(&WAITS).count(labels, totals.waits);
    for (error, &count) in ErrorCode::ALL.into_iter().zip(&totals.errors) {
        families.of(&ERRORS).count([process, container, role, server, error.name()], count);
    }
    families.of(&UNMATCHED).count(labels, totals.unmatched);
    families.of(&UNPARSED).count(labels, totals.unparsed);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::rc::Rc;

    use observer_ebpf::layout::Role;
    use observer_ebpf::protocols::kafka::layout::{Api, ErrorCode};

    use crate::labels::Group;
    use crate::ledger::{GroupTotals, View};
    use crate::metrics::encode;
    use crate::metrics::family::Families;
    use crate::protocols::Totals as _;
    use crate::protocols::kafka::Totals;

    #[test]
    fn a_server_reads_as_the_documentation_says() {
        let group = Group { process: "app".to_owned(), container: String::new(), role: Role::Client };
        let mut totals = Totals {
            produces: [1, 0, 0, 0, 0, 0, 0, 0, 1],
            produce_ns: 6_000_500_000,
            fetches: [0, 3, 0, 0, 0, 0, 0, 0, 0],
            fetch_ns: 6_000_000,
            waits: 40,
            unmatched: 3,
            unparsed: 2,
            ..Totals::default()
        };
        totals.requests[Api::Produce as usize] = 1;
        totals.requests[Api::Fetch as usize] = 22;
        totals.errors[ErrorCode::RebalanceInProgress as usize] = 1;
        let mut both = Totals::default();
        both.requests[Api::Produce as usize] = 1;
        both.add_totals(&totals);
        let server: Rc<str> = "10.0.0.7:9092".into();
        let mut of_group = GroupTotals::default();
        of_group.books.kafka.insert(server, both);
        let view = View { groups: BTreeMap::from([(group, of_group)]), ..View::default() };
        let mut families = Families::new(&[super::FAMILIES]);
        super::fill(&mut families, &view);
        let text = encode::text(families);
        let labels = "process=\"app\",container=\"\",role=\"client\",server=\"10.0.0.7:9092\"";
        for row in [
            "observer_kafka_requests_total{,api=\"produce\"} 2",
            "observer_kafka_requests_total{,api=\"fetch\"} 22",
            "observer_kafka_request_duration_seconds_bucket{,api=\"produce\",le=\"0.001\"} 1",
            "observer_kafka_request_duration_seconds_bucket{,api=\"produce\",le=\"5\"} 1",
            "observer_kafka_request_duration_seconds_bucket{,api=\"produce\",le=\"+Inf\"} 2",
            "observer_kafka_request_duration_seconds_sum{,api=\"produce\"} 6.0005",
            "observer_kafka_request_duration_seconds_bucket{,api=\"fetch\",le=\"0.005\"} 3",
            "observer_kafka_fetch_waits_total{} 40",
            "observer_kafka_errors_total{,error=\"rebalance_in_progress\"} 1",
            "observer_kafka_unmatched_responses_total{} 3",
            "observer_kafka_unparsed_total{} 2",
        ] {
            let row = row.replace('{', &format!("{{{labels}"));
            assert!(text.lines().any(|line| line == row), "{row} is not in:\n{text}");
        }
        // What was never sent has no row.
        assert!(!text.contains("api=\"metadata\"") && !text.contains("error=\"other\""), "{text}");
    }
}
