//! Families of Postgres (protocol 3).

use observer_ebpf::protocols::postgres::layout::{self, OTHER_CLASSES, QueryKind};

use super::{ACQUIRE_BOUNDS, Totals};
use crate::ledger::View;
use crate::metrics::SERVER_LABELS as LABELS;
use crate::metrics::family::{Families, SECOND_NS, Value, bounds, seconds};

const QUERY_BOUNDS: [f64; 8] = bounds(&layout::QUERY_BOUNDS, SECOND_NS);
const TRANSACTION_BOUNDS: [f64; 10] = bounds(&layout::TRANSACTION_BOUNDS, SECOND_NS);

families! {
    /// Families of Postgres.
    FAMILIES:
    ACTIVE = gauge("db_connections_active", LABELS, "Postgres sessions with a query in progress.");
    IDLE = gauge(
        "db_connections_idle",
        LABELS,
        "Postgres sessions that wait for a query outside a transaction.",
    );
    IN_TRANSACTION = gauge(
        "observer_db_connections_idle_in_transaction",
        LABELS,
        "Postgres sessions that wait for a query inside a transaction, open or failed.",
    );
    WAITING = gauge(
        "db_connections_waiting",
        LABELS,
        "Postgres connections before their first ReadyForQuery.",
    );
    REPLICATION = gauge(
        "observer_db_connections_replication",
        LABELS,
        "Postgres sessions that stream replication, physical or logical.",
    );
    OLDEST_TRANSACTION = gauge(
        "observer_db_oldest_transaction_seconds",
        LABELS,
        "The age of the oldest transaction that is open, 0 without one.",
    );
    OLDEST_QUERY = gauge(
        "observer_db_oldest_query_seconds",
        LABELS,
        "The age of the oldest query that is in progress, 0 without one.",
    );
    ACQUIRE = histogram(
        "db_connection_acquire_seconds",
        &ACQUIRE_BOUNDS,
        LABELS,
        "Time from connect to the first ReadyForQuery.",
    );
    QUERIES = histogram(
        "db_query_duration_seconds",
        &QUERY_BOUNDS,
        &["process", "container", "role", "server", "query_type"],
        "Time from a request's first byte to its ReadyForQuery.",
    );
    TRANSACTIONS = histogram(
        "observer_db_transaction_seconds",
        &TRANSACTION_BOUNDS,
        LABELS,
        "Time from the ReadyForQuery that enters a transaction to the one that leaves it.",
    );
    ERRORS = counter(
        "observer_db_errors_total",
        &["process", "container", "role", "server", "sqlstate_class"],
        "ErrorResponse messages by SQLSTATE class.",
    );
    REFUSED = counter(
        "observer_db_sessions_refused_total",
        &["process", "container", "role", "server", "sqlstate_class"],
        "Postgres sessions that got an error before their first ReadyForQuery, by its SQLSTATE class.",
    );
}

const fn query_type(kind: QueryKind) -> &'static str {
    match kind {
        QueryKind::Select => "select",
        QueryKind::Insert => "insert",
        QueryKind::Update => "update",
        QueryKind::Delete => "delete",
        QueryKind::Other => "other",
    }
}

/// Adds the rows of a view.
pub fn fill(families: &mut Families, view: &View) {
    for (group, totals) in &view.groups {
        let [process, container, role] = group.labels();
        for (server, totals) in &totals.books.postgres {
            fill_server(families, [process, container, role, server], totals, view.now_ns);
        }
    }
}

fn fill_server(families: &mut Families, labels: [&str; 4], totals: &Totals, now_ns: u64) {
    let Totals {
        acquired,
        acquire_seconds,
        queries,
        query_ns,
        transactions,
        transaction_ns,
        errors,
        refused,
        open,
    } = totals;
    let age = |since_ns: Option<u64>| {
        Value::Gauge(since_ns.map_or(0.0, |since_ns| seconds(now_ns.saturating_sub(since_ns))))
    };
    families.of(&ACTIVE).push(labels, Value::Gauge(open.active as f64));
    families.of(&IDLE).push(labels, Value::Gauge(open.idle as f64));
    families.of(&IN_TRANSACTION).push(labels, Value::Gauge(open.in_transaction as f64));
    families.of(&WAITING).push(labels, Value::Gauge(open.waiting as f64));
    families.of(&REPLICATION).push(labels, Value::Gauge(open.replication as f64));
    families.of(&OLDEST_TRANSACTION).push(labels, age(open.transaction_seen_ns));
    families.of(&OLDEST_QUERY).push(labels, age(open.query_began_ns));
    families.of(&ACQUIRE).observe(labels, acquired, *acquire_seconds);
    families.of(&TRANSACTIONS).observe(labels, transactions, seconds(*transaction_ns));
    let [process, container, role, server] = labels;
    for (kind, (counts, &nanoseconds)) in QueryKind::ALL.into_iter().zip(queries.iter().zip(query_ns)) {
        let labels = [process, container, role, server, query_type(kind)];
        families.of(&QUERIES).observe(labels, counts, seconds(nanoseconds));
    }
    for (family, counts) in [(&ERRORS, errors), (&REFUSED, refused)] {
        for (class, &count) in counts {
            let class = if *class == OTHER_CLASSES { "other".into() } else { String::from_utf8_lossy(class) };
            families.of(family).count([process, container, role, server, &class], count);
        }
    }
}
