//! Families of Postgres (protocol 3).

use observer_ebpf::protocols::postgres::layout::{self, QueryKind};

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
            fill_server(families, [process, container, role, server], totals);
        }
    }
}

fn fill_server(families: &mut Families, labels: [&str; 4], totals: &Totals) {
    let Totals { acquired, acquire_seconds, queries, query_ns, transactions, transaction_ns, errors, open } =
        totals;
    families.of(&ACTIVE).push(labels, Value::Gauge(open.active as f64));
    families.of(&IDLE).push(labels, Value::Gauge(open.idle as f64));
    families.of(&IN_TRANSACTION).push(labels, Value::Gauge(open.in_transaction as f64));
    families.of(&WAITING).push(labels, Value::Gauge(open.waiting as f64));
    families.of(&ACQUIRE).observe(labels, acquired, *acquire_seconds);
    families.of(&TRANSACTIONS).observe(labels, transactions, seconds(*transaction_ns));
    let [process, container, role, server] = labels;
    for (kind, (counts, &nanoseconds)) in QueryKind::ALL.into_iter().zip(queries.iter().zip(query_ns)) {
        let labels = [process, container, role, server, query_type(kind)];
        families.of(&QUERIES).observe(labels, counts, seconds(nanoseconds));
    }
    for (class, &count) in errors {
        let class = String::from_utf8_lossy(class);
        families.of(&ERRORS).count([process, container, role, server, &class], count);
    }
}
