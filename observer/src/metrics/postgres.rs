//! Postgres families (protocol 3).

use observer_ebpf::layout::postgres::QueryKind;

use super::family::{Description, Family, Value};
use super::{SERVER_LABELS as LABELS, role, seconds};
use crate::ledger::View;
use crate::postgres::ACQUIRE_BOUNDS;

/// As [`observer_ebpf::layout::postgres::QUERY_BOUNDS`], in seconds.
const QUERY_BOUNDS: [f64; 8] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];
/// As [`observer_ebpf::layout::postgres::TRANSACTION_BOUNDS`], in seconds.
const TRANSACTION_BOUNDS: [f64; 10] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 300.0];

const ACTIVE: Description =
    Description::gauge("db_connections_active", LABELS, "Postgres sessions with a query in progress.");
const IDLE: Description = Description::gauge(
    "db_connections_idle",
    LABELS,
    "Postgres sessions that wait for a query outside a transaction.",
);
const IN_TRANSACTION: Description = Description::gauge(
    "observer_db_connections_idle_in_transaction",
    LABELS,
    "Postgres sessions that wait for a query inside a transaction, open or failed.",
);
const WAITING: Description = Description::gauge(
    "db_connections_waiting",
    LABELS,
    "Postgres connections before their first ReadyForQuery.",
);
const ACQUIRE: Description = Description::histogram(
    "db_connection_acquire_seconds",
    &ACQUIRE_BOUNDS,
    LABELS,
    "Time from connect to the first ReadyForQuery.",
);
const QUERIES: Description = Description::histogram(
    "db_query_duration_seconds",
    &QUERY_BOUNDS,
    &["process", "container", "role", "server", "query_type"],
    "Time from a request's first byte to its ReadyForQuery.",
);
const TRANSACTIONS: Description = Description::histogram(
    "observer_db_transaction_seconds",
    &TRANSACTION_BOUNDS,
    LABELS,
    "Time from the ReadyForQuery that enters a transaction to the one that leaves it.",
);
const ERRORS: Description = Description::counter(
    "observer_db_errors_total",
    &["process", "container", "role", "server", "sqlstate_class"],
    "ErrorResponse messages by SQLSTATE class.",
);

const fn query_type(kind: QueryKind) -> &'static str {
    match kind {
        QueryKind::Select => "select",
        QueryKind::Insert => "insert",
        QueryKind::Update => "update",
        QueryKind::Delete => "delete",
        QueryKind::Other => "other",
    }
}

/// The families of a view.
pub fn families(view: &View) -> Vec<Family> {
    let [mut active, mut idle, mut in_transaction, mut waiting] =
        [ACTIVE, IDLE, IN_TRANSACTION, WAITING].map(Family::new);
    let [mut acquire, mut queries, mut transactions, mut errors] =
        [ACQUIRE, QUERIES, TRANSACTIONS, ERRORS].map(Family::new);
    for ((group, server), (totals, open)) in &view.postgres {
        let labels = [&*group.process, &*group.container, role(group.role), server];
        active.push(labels, Value::Gauge(open.active as f64));
        idle.push(labels, Value::Gauge(open.idle as f64));
        in_transaction.push(labels, Value::Gauge(open.in_transaction as f64));
        waiting.push(labels, Value::Gauge(open.waiting as f64));
        acquire.observe(labels, &totals.acquired, totals.acquire_seconds);
        transactions.observe(labels, &totals.transactions, seconds(totals.transaction_ns));
        let [process, container, role, server] = labels;
        for (kind, (counts, nanoseconds)) in
            QueryKind::ALL.into_iter().zip(totals.queries.iter().zip(totals.query_ns))
        {
            queries.observe(
                [process, container, role, server, query_type(kind)],
                counts,
                seconds(nanoseconds),
            );
        }
        for (class, &count) in &totals.errors {
            let class = String::from_utf8_lossy(class);
            errors.count([process, container, role, server, &class], count);
        }
    }
    vec![active, idle, in_transaction, waiting, acquire, queries, transactions, errors]
}

#[cfg(test)]
mod tests {
    use observer_ebpf::layout::postgres;

    #[test]
    fn bounds_are_those_of_the_kernel_half() {
        let as_nanoseconds = |seconds: &f64| (seconds * 1e9).round();
        let as_float = |nanoseconds: &u64| *nanoseconds as f64;
        assert!(
            super::QUERY_BOUNDS.iter().map(as_nanoseconds).eq(postgres::QUERY_BOUNDS.iter().map(as_float))
        );
        assert!(
            super::TRANSACTION_BOUNDS
                .iter()
                .map(as_nanoseconds)
                .eq(postgres::TRANSACTION_BOUNDS.iter().map(as_float))
        );
    }
}
