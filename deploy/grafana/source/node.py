"""A host as a whole: what moves, which layer is in trouble, and whether the agent sees everything."""

from .panels import GREEN, ORANGE, RED, YELLOW, bars, dashboard, heat, histogram_quantiles, lines, query, row
from .panels import stat, to

HOST = 'instance=~"$instance"'
OF = f'{HOST}, process=~"$process", role=~"$role"'
WHOSE = "{{process}} ({{role}}) on {{instance}}"
BY = "by (instance, process, role)"

NOW = row(
    "Now",
    stat(
        "Alerts firing", "Alerts of the rules in deploy/prometheus that fire on these hosts.",
        f'count(ALERTS{{alertstate="firing", {HOST}}}) or vector(0)', "short", thresholds=[(1, RED)], decimals=0,
    ),
    stat(
        "Hosts seen", "Agents that answer Prometheus. Yellow: some of those that should do not.",
        f'100 * sum(up{{job="observer", {HOST}}}) / count(up{{job="observer", {HOST}}})', "percent",
        base=RED, thresholds=[(1, YELLOW), (100, GREEN)],
    ),
    stat(
        "Connections", "Open TCP and UNIX stream connections. One between two local processes has two ends here.",
        f"sum(observer_connections{{{OF}}})", "short", decimals=0,
    ),
    stat(
        "Payload moved", "Bytes that processes sent and received through socket calls, of all protocols.",
        f"sum(rate(observer_bytes_total{{{OF}}}[$__rate_interval]))", "Bps",
    ),
    stat(
        "WebSocket messages", "Data messages a second, over 10 s; one between two local processes counts once.",
        f"sum(global_message_rate_per_second{{{HOST}}})", "short", thresholds=[(5e3, YELLOW), (1e4, RED)],
    ),
    stat(
        "Failed connects", "Connects that were refused, reset or timed out, a second.",
        f"sum(rate(observer_connect_failures_total{{{OF}}}[$__rate_interval])) or vector(0)", "cps",
        thresholds=[(0.01, YELLOW), (1, RED)],
    ),
)

LAYERS = row(
    "Layers: which one makes users wait",
    lines(
        "HTTP requests: p95", "First byte of the request to last byte of the response, over 5 minutes, the slowest route. "
        "Streams are not in it. 10 s means 10 s or more.",
        [query(f"max by (process, role) (observer:http_request_duration_seconds:p95{{{OF}}})", "{{process}} ({{role}})")],
        "s", 8, thresholds=[(1, YELLOW), (2, RED)], links=[to("observer-http", "HTTP")],
    ),
    lines(
        "Postgres pools: used", "Active sessions and those in a transaction, of all that a process holds to a server. "
        "At 100 % whoever needs a connection waits. Click a series for its dashboard.",
        [query(f"observer:db_pool_used:ratio{{{OF}}}", "{{process}} ({{role}}) → {{server}}")], "percentunit", 8,
        max=1, thresholds=[(0.8, YELLOW), (0.95, RED)], links=[to("observer-postgres", "Postgres")],
    ),
    lines(
        "Postgres queries: p99", "A request's first byte to ReadyForQuery, over 5 minutes. 5 s means 5 s or more.",
        [query(f"observer:db_query_duration_seconds:p99{{{OF}}}", "{{process}} ({{role}}) → {{server}}")], "s", 8,
        thresholds=[(0.5, YELLOW), (1, RED)], links=[to("observer-postgres", "Postgres")],
    ),
    lines(
        "Redis: keys found", "Hits of all keys looked up, over 5 minutes. What misses goes to the database.",
        [query(f"observer:redis_cache_hits:ratio5m{{{OF}}}", "{{process}} ({{role}}) → {{server}}")], "percentunit", 12,
        max=1, base=RED, thresholds=[(0.7, YELLOW), (0.8, GREEN)], links=[to("observer-redis", "Redis")],
    ),
    lines(
        "WebSocket messages: p99 of sizes", "Within the decade that it lies in, a guess. 10 MB means 10 MB or more.",
        [query(f"observer:message_size_bytes:p99{{{OF}}}", "{{process}} ({{role}}) {{direction}}")], "decbytes", 12,
        thresholds=[(1e6, YELLOW), (5e6, RED)], links=[to("observer-websocket", "WebSocket")],
    ),
)

TRAFFIC = row(
    "Traffic",
    lines(
        "Payload by protocol", "Bytes a second through socket calls; received goes downwards.",
        [query(f"sum by (protocol, direction) (rate(observer_bytes_total{{{OF}}}[$__rate_interval]))",
               "{{protocol}} {{direction}}")],
        "Bps", 8, mirrored="received$",
    ),
    lines(
        "Payload by process", "The same by who moves it, both directions together.",
        [query(f"sum {BY} (rate(observer_bytes_total{{{OF}}}[$__rate_interval]))", WHOSE)], "Bps", 8,
        links=[to("observer-flows", "Flows")],
    ),
    lines(
        "Open connections by protocol", "unknown: encrypted by other means than TLS, never said anything, or not told.",
        [query(f"sum by (protocol) (observer_connections{{{OF}}})", "{{protocol}}")], "short", 8, stacked=True,
    ),
    lines(
        "Opened and closed", "Connections a second; closed goes downwards. Many of both is a pool that is not used.",
        [query(f"sum by (protocol) (rate(observer_connections_opened_total{{{OF}}}[$__rate_interval]))",
               "{{protocol}} opened"),
         query(f"sum by (protocol) (rate(observer_connections_closed_total{{{OF}}}[$__rate_interval]))",
               "{{protocol}} closed")],
        "cps", 8, mirrored="closed$",
    ),
    bars(
        "Processes with most connections", "Ends open now, the ten processes that have most.",
        f"topk(10, sum {BY} (observer_connections{{{OF}}}))", WHOSE, "short", 16,
        thresholds=[(1e3, YELLOW), (1e4, ORANGE)],
    ),
)

CONNECTING = row(
    "Connecting",
    lines(
        "Time to connect", "SYN sent to established, by process. Slow: the network, or a listener's queue is full.",
        histogram_quantiles(f"observer_connect_seconds_bucket{{{OF}}}", ["process"], "{{process}}"), "s", 8,
        thresholds=[(1, RED)],
    ),
    heat("Time to connect, all", "How many connects took how long.", f"observer_connect_seconds_bucket{{{OF}}}", "s"),
    lines(
        "Failed connects", "By reason. refused: nobody listens; timeout: nobody answers.",
        [query(f"sum by (process, reason) (rate(observer_connect_failures_total{{{OF}}}[$__rate_interval]))",
               "{{process}}: {{reason}}")],
        "cps", 4,
    ),
    lines(
        "Retransmits", "TCP segments sent again, a second: loss, or a peer that is overwhelmed.",
        [query(f"sum by (process) (rate(observer_retransmits_total{{{OF}}}[$__rate_interval]))", "{{process}}")],
        "short", 4,
    ),
)

LOST = "by (instance) (rate(observer_{}_total{{" + HOST + "}}[$__rate_interval]))"
AGENT = row(
    "The agent: does it see everything",
    lines(
        "Programs attached", "1 while a BPF program is attached. Without one, what it counts is missing.",
        [query(f"min by (instance, probe) (observer_probe_up{{{HOST}}})", "{{probe}} on {{instance}}")], "short", 6,
        max=1, decimals=0,
    ),
    lines(
        "What it missed", "Connections past the limit, lost records, streams out of sync, folded series: a second.",
        [query("sum " + LOST.format("untracked_connections"), "untracked on {{instance}}"),
         query("sum " + LOST.format("events_lost"), "lost events on {{instance}}"),
         query("sum " + LOST.format("desyncs"), "out of sync on {{instance}}"),
         query("sum " + LOST.format("series_folded"), "folded on {{instance}}")],
        "cps", 6,
    ),
    lines(
        "Bytes it could not read", "Counted, but not parsed: io_uring, splice, 32-bit programs, faults.",
        [query(f"sum by (reason) (rate(observer_unparsed_bytes_total{{{HOST}}}[$__rate_interval]))", "{{reason}}")],
        "Bps", 6,
    ),
    lines(
        "Connections it tracks", "Tracked, and among them those not in sync with their parser.",
        [query(f"sum by (instance) (observer_tracked_connections{{{HOST}}})", "tracked on {{instance}}"),
         query(f"sum by (instance) (observer_unsynchronised_connections{{{HOST}}})", "out of sync on {{instance}}")],
        "short", 6,
    ),
    lines(
        "Its processor time", "Of one processor. What BPF programs take is the observed processes' own time.",
        [query(f'sum by (instance) (rate(process_cpu_seconds_total{{job="observer", {HOST}}}[$__rate_interval]))',
               "{{instance}}")],
        "percentunit", 8, thresholds=[(0.02, YELLOW)],
    ),
    lines(
        "Its memory", "Resident bytes of the agent, without the kernel's maps.",
        [query(f'sum by (instance) (process_resident_memory_bytes{{job="observer", {HOST}}})', "{{instance}}")],
        "bytes", 8,
    ),
    lines(
        "Time to collect", "What each collection takes: with every scrape, and once a second for rates.",
        histogram_quantiles(f"observer_collect_seconds_bucket{{{HOST}}}", ["instance"], "{{instance}}"), "s", 8,
    ),
)

DASHBOARD = dashboard(
    "observer-node", "node overview", "A host as a whole: traffic, layers, connects, and the agent itself.", None,
    [NOW, LAYERS, TRAFFIC, CONNECTING, AGENT],
)
