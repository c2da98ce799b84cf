//! Families of message queues: how long messages wait, how many do, and how fast they come and go.

use observer_ebpf::queues::layout::{AGE_BOUNDS, System};

use super::family::{Description, Families, SECOND_NS, Value, bounds, seconds};
use crate::ledger::View;
use crate::queues::Totals;

const BOUNDS: [f64; 7] = bounds(&AGE_BOUNDS, SECOND_NS);

const LABELS: &[&str] = &["process", "container", "role", "server", "system", "queue", "group"];
const OPERATION_LABELS: &[&str] =
    &["process", "container", "role", "server", "system", "queue", "group", "operation"];

families! {
    /// Families of message queues.
    FAMILIES:
    AGE = histogram(
        "message_age_in_queue_seconds",
        &BOUNDS,
        LABELS,
        "How long messages had been in the queue when they were taken out of it.",
    );
    OLDEST = gauge(
        "observer_queue_oldest_message_seconds",
        LABELS,
        "How long the message that goes next has been in the queue, or at least has; 0 if there is none.",
    );
    LAG = gauge(
        "queue_processing_lag_messages",
        LABELS,
        "Messages that wait in the queue now; of Kafka, between what was acknowledged and the high watermark.",
    );
    CONSUMER_RATE = gauge(
        "queue_consumer_rate_per_second",
        LABELS,
        "Messages taken out of the queue a second, over the last 10 seconds.",
    );
    PRODUCER_RATE = gauge(
        "observer_queue_producer_rate_per_second",
        LABELS,
        "Messages put into the queue a second, over the last 10 seconds.",
    );
    MESSAGES = counter(
        "observer_queue_messages_total",
        OPERATION_LABELS,
        "Messages put into the queue, taken out of it, and acknowledged.",
    );
    LATENCY = histogram(
        "message_queue_processing_latency_seconds",
        &BOUNDS,
        LABELS,
        "Time from when messages were put into a stream or a topic until they were acknowledged.",
    );
    UNKNOWN_AGE = counter(
        "observer_queue_unknown_age_total",
        LABELS,
        "Messages taken out of the queue of which it is not known when they were put in.",
    );
}

/// The family of what is done with messages.
pub const fn counted() -> &'static Description {
    &MESSAGES
}

/// Adds the rows of a view.
pub fn fill(families: &mut Families, view: &View) {
    for ((group, server), queues) in &view.queues {
        let [process, container, role] = group.labels();
        for (row, totals) in queues {
            let system = row.system.label();
            let labels = [process, container, role, server, system, &row.queue, &row.group];
            fill_row(families, labels, totals, totals.rates_of(group.role, row));
            if row.system != System::RedisList {
                let counts = &totals.counts;
                families.of(&LATENCY).observe(labels, &counts.latencies, seconds(counts.latency_ns));
            }
        }
    }
}

fn fill_row(families: &mut Families, labels: [&str; 7], totals: &Totals, rates: [Option<f64>; 3]) {
    let Totals { counts, level, .. } = totals;
    families.of(&AGE).observe(labels, &counts.ages, seconds(counts.age_ns));
    families.of(&UNKNOWN_AGE).count(labels, counts.unknown);
    let [process, container, end, server, system, queue, group] = labels;
    let operations = [("put", counts.put), ("take", counts.taken), ("ack", counts.acknowledged)];
    for (operation, count) in operations {
        let labels = [process, container, end, server, system, queue, group, operation];
        families.of(&MESSAGES).count(labels, count);
    }
    let [put, taken, _] = rates;
    if let Some(taken) = taken {
        families.of(&CONSUMER_RATE).push(labels, Value::Gauge(taken));
    }
    if let Some(put) = put {
        families.of(&PRODUCER_RATE).push(labels, Value::Gauge(put));
    }
    if let Some(level) = level {
        families.of(&LAG).push(labels, Value::Gauge(level.messages as f64));
    }
    if let Some(oldest_ns) = level.and_then(|level| level.oldest_ns) {
        families.of(&OLDEST).push(labels, Value::Gauge(seconds(oldest_ns)));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use observer_ebpf::layout::Role;
    use observer_ebpf::queues::layout::{QueueCounts, System};

    use crate::labels::Group;
    use crate::ledger::View;
    use crate::metrics::encode;
    use crate::metrics::family::Families;
    use crate::queues::{Level, Row, Totals};

    fn row(system: System, queue: &str, group: &str) -> Row {
        Row { system, queue: queue.into(), group: group.into() }
    }

    /// The lines of a view of one process.
    fn shown(role: Role, queues: BTreeMap<Row, Totals>) -> Vec<String> {
        let group = Group { process: "app".to_owned(), container: String::new(), role };
        let server: std::rc::Rc<str> = "10.0.0.7:6379".into();
        let view = View { queues: BTreeMap::from([((group, server), queues)]), ..View::default() };
        let mut families = Families::new(&[super::FAMILIES]);
        super::fill(&mut families, &view);
        let text = encode::text(families);
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    }

    #[test]
    fn a_worker_reads_as_the_contract_says() {
        let mut counts =
            QueueCounts { put: 1, taken: 4, unknown: 1, age_ns: 72_050_000_000, ..QueueCounts::default() };
        (counts.ages[0], counts.ages[5], counts.ages[7]) = (1, 1, 1);
        let level = Some(Level { messages: 7, oldest_ns: Some(2_500_000_000) });
        let celery = Totals { counts, rates: [0.1, 0.4, 0.0], level };
        let mut counts =
            QueueCounts { taken: 2, acknowledged: 2, latency_ns: 3_000_000_000, ..QueueCounts::default() };
        (counts.ages[0], counts.latencies[3]) = (2, 2);
        let orders = Totals { counts, ..Totals::default() };
        let level = Some(Level { messages: 12, oldest_ns: None });
        let events = Totals { level, ..orders };
        let lines = shown(
            Role::Client,
            BTreeMap::from([
                (row(System::RedisList, "celery", ""), celery),
                (row(System::RedisStream, "orders", "billing"), orders),
                (row(System::KafkaTopic, "events", "billing"), events),
            ]),
        );
        for line in [
            "message_age_in_queue_seconds_bucket{L,le=\"0.1\"} 1",
            "message_age_in_queue_seconds_bucket{L,le=\"10\"} 1",
            "message_age_in_queue_seconds_bucket{L,le=\"30\"} 2",
            "message_age_in_queue_seconds_bucket{L,le=\"60\"} 2",
            "message_age_in_queue_seconds_bucket{L,le=\"+Inf\"} 3",
            "message_age_in_queue_seconds_sum{L} 72.05",
            "observer_queue_unknown_age_total{L} 1",
            "observer_queue_messages_total{L,operation=\"put\"} 1",
            "observer_queue_messages_total{L,operation=\"take\"} 4",
            "observer_queue_messages_total{S,operation=\"ack\"} 2",
            "observer_queue_producer_rate_per_second{L} 0.1",
            "queue_consumer_rate_per_second{L} 0.4",
            "queue_consumer_rate_per_second{S} 0",
            "queue_processing_lag_messages{L} 7",
            "observer_queue_oldest_message_seconds{L} 2.5",
            "message_queue_processing_latency_seconds_bucket{S,le=\"1\"} 0",
            "message_queue_processing_latency_seconds_bucket{S,le=\"5\"} 2",
            "message_queue_processing_latency_seconds_sum{S} 3",
            "message_queue_processing_latency_seconds_sum{T} 3",
            "queue_processing_lag_messages{T} 12",
        ] {
            let end = "process=\"app\",container=\"\",role=\"client\",server=\"10.0.0.7:6379\"";
            let list = format!("{{{end},system=\"redis_list\",queue=\"celery\",group=\"\"");
            let stream = format!("{{{end},system=\"redis_stream\",queue=\"orders\",group=\"billing\"");
            let topic = format!("{{{end},system=\"kafka\",queue=\"events\",group=\"billing\"");
            let line = line.replace("{L", &list).replace("{S", &stream).replace("{T", &topic);
            assert!(lines.contains(&line), "{line} is not in:\n{}", lines.join("\n"));
        }
        let has = |family: &str, queue: &str| {
            lines.iter().any(|line| line.starts_with(family) && line.contains(&format!("queue=\"{queue}\"")))
        };
        assert!(!has("message_queue_processing_latency_seconds", "celery"));
        assert!(!has("observer_queue_producer_rate_per_second", "orders"));
        assert!(!has("queue_processing_lag_messages", "orders"));
        assert!(!has("observer_queue_oldest_message_seconds", "events"));
    }

    #[test]
    fn a_server_has_both_rates_and_a_client_that_of_what_it_does() {
        let counts = QueueCounts { put: 5, ..QueueCounts::default() };
        let queues = || {
            let totals = Totals { counts, ..Totals::default() };
            BTreeMap::from([(row(System::RedisList, "jobs", ""), totals)])
        };
        let rates = |role| {
            let lines = shown(role, queues());
            lines.iter().filter(|line| line.contains("_rate_per_second")).count()
        };
        assert_eq!([rates(Role::Server), rates(Role::Client)], [2, 1]);
        // Nobody takes messages of a topic as a group, as far as a broker knows.
        let counts = QueueCounts { acknowledged: 5, ..QueueCounts::default() };
        let rates_of = |group: &str| {
            let topic = row(System::KafkaTopic, "events", group);
            Totals { counts, ..Totals::default() }.rates_of(Role::Server, &topic).map(|rate| rate.is_some())
        };
        assert_eq!([rates_of(""), rates_of("billing")], [[true, true, true], [false, false, true]]);
    }
}
