"""Flows: the busiest connections, and which processes hold how many."""

from .panels import YELLOW, bars, dashboard, lines, query, row, stat, table

HOST = 'instance=~"$instance"'
OF = f'{HOST}, process=~"$process", role=~"$role"'
ENDS = "{{process}} {{local}} ↔ {{remote}} {{direction}}"

NOW = row(
    "Now",
    stat("Busiest flow", "Bytes a second in one direction of one connection, over 10 s.",
         f"max(observer_flow_bytes_per_second{{{OF}}})", "Bps", 6),
    stat("Busiest by messages", "Messages a second in one direction: WebSocket messages, queries, commands.",
         f"max(observer_flow_messages_per_second{{{OF}}})", "short", 6),
    stat("Share of the busiest", "Of the bytes that all flows move, what the busiest moves: near 100 %, one user is the load.",
         f"max(observer_flow_bytes_per_second{{{OF}}}) / "
         f"(sum(rate(observer_bytes_total{{{OF}}}[$__rate_interval])) > 0)", "percentunit", 6, max=1,
         thresholds=[(0.5, YELLOW)]),
    stat("Connections", "Open now, by their ends on these hosts.", f"sum(observer_connections{{{OF}}})", "short", 6,
         decimals=0),
)

BUSIEST = row(
    "Busiest flows: only the first --flow-series have series; /flows of the agent has all",
    table(
        "Busiest flows now", "Of the last 10 s, a row for each direction.",
        [("Bytes/s", f"topk(50, observer_flow_bytes_per_second{{{OF}}})"),
         ("Messages/s", f"observer_flow_messages_per_second{{{OF}}} and topk(50, observer_flow_bytes_per_second{{{OF}}})")],
        ["job"],
        {"instance": "Host", "process": "Process", "pid": "PID", "container": "Container", "role": "End",
         "protocol": "Protocol", "local": "Local", "remote": "Remote", "direction": "Direction"},
        {"Bytes/s": "Bps", "Messages/s": "short"}, sort="Bytes/s",
    ),
    lines("Bytes a second", "Of the busiest flows; a series ends when its flow leaves the list.",
          [query(f"observer_flow_bytes_per_second{{{OF}}}", ENDS)], "Bps", 12),
    lines("Messages a second", "One far above the others is one user, or a loop.",
          [query(f"observer_flow_messages_per_second{{{OF}}}", ENDS)], "short", 12),
)

HELD = row(
    "Who holds connections",
    lines("Open by process", "By process, end and protocol. A line that only rises is a leak.",
          [query(f"sum by (process, role, protocol) (observer_connections{{{OF}}})", "{{process}} ({{role}}) {{protocol}}")],
          "short", 8),
    lines("Opened", "Connections a second. Many of one client: it does not reuse them.",
          [query(f"sum by (process, role, protocol) (rate(observer_connections_opened_total{{{OF}}}[$__rate_interval]))",
                 "{{process}} ({{role}}) {{protocol}}")],
          "cps", 8),
    bars("Bytes by process", "A second, both directions, the fifteen processes and ends that move most.",
         f"topk(15, sum by (process, role) (rate(observer_bytes_total{{{OF}}}[$__rate_interval])))",
         "{{process}} ({{role}})", "Bps", 8),
)

DASHBOARD = dashboard(
    "observer-flows", "flows", "The busiest connections, and which processes hold how many.", None, [NOW, BUSIEST, HELD],
)
