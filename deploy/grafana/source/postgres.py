"""Postgres: whether pools have room, how long queries take, and what fails."""

from .panels import GREEN, ORANGE, RED, YELLOW, bars, colored, dashboard, heat, histogram_quantiles, lines
from .panels import quantiles, query, row, stat

OF = 'instance=~"$instance", process=~"$process", role=~"$role", server=~"$server"'
POOL = "{{process}} ({{role}}) → {{server}}"
BY = "by (process, role, server)"

NOW = row(
    "Now",
    stat("Fullest pool", "Sessions that are active or in a transaction, of all that a process holds to a server.",
         f"max(observer:db_pool_used:ratio{{{OF}}})", "percentunit", thresholds=[(0.8, YELLOW), (0.95, RED)]),
    stat("Sessions waiting", "Connecting or not yet authenticated.",
         f"sum(db_connections_waiting{{{OF}}})", "short", decimals=0, thresholds=[(1, YELLOW), (10, RED)]),
    stat("Idle in transaction", "Neither working nor free: they hold locks and their place in the pool.",
         f"sum(observer_db_connections_idle_in_transaction{{{OF}}})", "short", decimals=0, thresholds=[(5, YELLOW)]),
    stat("Slowest p99 of queries", "Of any process and server, over 5 minutes. 5 s means 5 s or more.",
         f"max(observer:db_query_duration_seconds:p99{{{OF}}})", "s", thresholds=[(0.5, YELLOW), (1, RED)]),
    stat("Queries a second", "By process and end, most.",
         f"max(sum {BY} (rate(db_query_duration_seconds_count{{{OF}}}[$__rate_interval])))", "reqps"),
    stat("Errors in the last hour", "For each query, by process and server, most.",
         f"max(observer:db_errors:ratio1h{{{OF}}})", "percentunit", thresholds=[(0.001, YELLOW), (0.05, RED)]),
)

POOLS = row(
    "Pools",
    lines("Used", "DatabaseConnectionPoolExhausted is above 95 %, for pools of five sessions and more.",
          [query(f"observer:db_pool_used:ratio{{{OF}}}", POOL)], "percentunit", 8, max=1,
          thresholds=[(0.8, YELLOW), (0.95, RED)]),
    lines("Sessions by state", "Choose one process and end: both ends of local sessions are here otherwise.",
          [query(f"sum(db_connections_active{{{OF}}})", "active"),
           query(f"sum(observer_db_connections_idle_in_transaction{{{OF}}})", "idle in transaction"),
           query(f"sum(db_connections_idle{{{OF}}})", "idle"),
           query(f"sum(db_connections_waiting{{{OF}}})", "waiting"),
           query(f"sum(observer_db_connections_replication{{{OF}}})", "replication")],
          "short", 8, stacked=True,
          overrides=[colored("active", ORANGE), colored("idle in transaction", YELLOW), colored("idle", GREEN),
                     colored("waiting", RED)]),
    bars("Sessions of each pool", "All that are open and through with authentication, the twenty largest.",
         f"topk(20, observer:db_pool_connections:sum{{{OF}}})", POOL, "short", 8),
    lines("Time to get a session", "Connect to the first ReadyForQuery, over 5 minutes; more than 1 s reads as 1 s.",
          histogram_quantiles(f"db_connection_acquire_seconds_bucket{{{OF}}}", ["process", "role", "server"], POOL, "5m"),
          "s", 12, thresholds=[(1, RED)]),
    heat("Time to get a session, all", "How many sessions took how long to open: many a minute is no pool at all.",
         f"db_connection_acquire_seconds_bucket{{{OF}}}", "s", 12),
)

QUERIES = row(
    "Queries",
    lines("Percentiles", "A request's first byte to ReadyForQuery, over 5 minutes. 5 s means 5 s or more.",
          quantiles(f"observer:db_query_duration_seconds:{{q}}{{{{{OF}}}}}", POOL), "s", 8, thresholds=[(1, RED)]),
    heat("Durations", "How many queries took how long.", f"db_query_duration_seconds_bucket{{{OF}}}", "s"),
    lines("p95 by type", "By the command's tag.",
          [query(f"histogram_quantile(0.95, sum by (query_type, le) "
                 f"(rate(db_query_duration_seconds_bucket{{{OF}}}[$__rate_interval]))) >= 0", "{{query_type}}")],
          "s", 8),
    lines("Queries a second by process", "One for each ReadyForQuery.",
          [query(f"sum {BY} (rate(db_query_duration_seconds_count{{{OF}}}[$__rate_interval]))", POOL)], "reqps", 8),
    lines("Queries a second by type", "A rise of select alone, with requests as before, is the pattern N+1.",
          [query(f"sum by (query_type) (rate(db_query_duration_seconds_count{{{OF}}}[$__rate_interval]))",
                 "{{query_type}}")],
          "reqps", 8, stacked=True),
    lines("Sessions at work", "Seconds of queries in a second: how many sessions a pool needs at the least.",
          [query(f"sum {BY} (rate(db_query_duration_seconds_sum{{{OF}}}[$__rate_interval]))", POOL)], "short", 8),
)

TRANSACTIONS = row(
    "Transactions and errors",
    lines("Length of transactions", "BEGIN to the end, over 5 minutes. Long ones hold locks.",
          histogram_quantiles(f"observer_db_transaction_seconds_bucket{{{OF}}}", ["process", "role", "server"], POOL, "5m"),
          "s", 8, thresholds=[(30, RED)]),
    lines("Errors by class", "A minute, by the first two characters of SQLSTATE: 53 no room, 40 conflicts, 57 cancelled, "
          "23 constraints, 42 wrong statements.",
          [query(f"sum by (process, role, sqlstate_class) (60 * rate(observer_db_errors_total{{{OF}}}[$__rate_interval]))",
                 "{{sqlstate_class}}: {{process}} ({{role}})")],
          "short", 8),
    lines("Errors for each query", "Over a sliding hour.",
          [query(f"observer:db_errors:ratio1h{{{OF}}}", POOL)], "percentunit", 8, thresholds=[(0.05, RED)]),
    lines("Oldest that is open",
          "Of transactions and of queries, now: pg_stat_activity has them by xact_start and query_start.",
          [query(f"max {BY} (observer_db_oldest_transaction_seconds{{{OF}}})", f"transaction: {POOL}"),
           query(f"max {BY} (observer_db_oldest_query_seconds{{{OF}}})", f"query: {POOL}")],
          "s", 12, thresholds=[(300, RED)]),
    lines("Sessions refused", "A minute, by the first two characters of SQLSTATE: 53 a server without room, 08 a pooler "
          "without, 57 a server that starts or stops, 28 a wrong password.",
          [query(f"sum by (process, role, sqlstate_class) "
                 f"(60 * rate(observer_db_sessions_refused_total{{{OF}}}[$__rate_interval]))",
                 "{{sqlstate_class}}: {{process}} ({{role}})")],
          "short", 12),
)

DASHBOARD = dashboard(
    "observer-postgres", "Postgres", "Whether pools have room, how long queries take, and what fails.", "postgres",
    [NOW, POOLS, QUERIES, TRANSACTIONS], process="db_connections_idle", server="db_connections_idle",
)
