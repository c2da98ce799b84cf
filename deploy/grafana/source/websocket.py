"""WebSocket: sizes of messages, their rate, and the users who send them."""

from .panels import ORANGE, RED, YELLOW, colored, dashboard, heat, lines, quantiles, query, row, stat

HOST = 'instance=~"$instance"'
OF = f'{HOST}, process=~"$process", role=~"$role"'
WHOSE = "{{process}} ({{role}}) {{direction}}"
BY = "by (process, role, direction)"

NOW = row(
    "Now",
    stat("Connections", "WebSocket connections, by their ends on these hosts.",
         f"sum(observer_websocket_connections{{{OF}}})", "short", decimals=0),
    stat("Messages a second", "Of the whole host over 10 s; one between two local processes counts once.",
         f"sum(global_message_rate_per_second{{{HOST}}})", "short", thresholds=[(5e3, YELLOW), (1e4, RED)]),
    stat("Largest p99 of sizes", "Of any process, end and direction, over 5 minutes. 10 MB means 10 MB or more.",
         f"max(observer:message_size_bytes:p99{{{OF}}})", "decbytes", thresholds=[(1e6, YELLOW), (5e6, RED)]),
    stat("Oversized messages", "Above the thresholds of --oversized, in the time that is shown; by process and end, most.",
         f"max(sum {BY} (increase(oversized_message_total{{{OF}}}[$__range]))) or vector(0)", "short", decimals=0,
         thresholds=[(1, YELLOW), (10, RED)]),
    stat("Users at a high rate", "Connections whose client sends more than --message-rate-limit a minute.",
         f'sum(active_users_by_rate{{{OF}, rate_bucket="high"}})', "short", decimals=0,
         thresholds=[(1, YELLOW), (5, RED)]),
    stat("Spikes", "Times that the host's rate rose above --spike-threshold, in the time that is shown.",
         f"sum(increase(message_rate_spike_total{{{HOST}}}[$__range]))", "short", decimals=0, thresholds=[(1, RED)]),
)

SIZES = row(
    "Sizes",
    heat("Sizes of messages", "How many data messages were of which size: payload, all fragments together.",
         f"message_size_bytes_bucket{{{OF}}}", "decbytes", 12),
    lines("Percentiles of sizes", "Over 5 minutes. Within the decade that one lies in, a guess.",
          quantiles(f"observer:message_size_bytes:{{q}}{{{{{OF}}}}}", WHOSE), "decbytes", 12,
          thresholds=[(5e6, RED)]),
    lines("Oversized messages", "A minute, by category: from 1 MB on medium, 5 MB large, 10 MB huge, if not set otherwise. "
          "/events of the agent names their senders.",
          [query(f"sum by (process, role, direction, size_category) "
                 f"(60 * rate(oversized_message_total{{{OF}}}[$__rate_interval]))",
                 "{{size_category}}: " + WHOSE)],
          "short", 8),
    lines("Payload in messages", "Bytes a second inside data messages; received goes downwards.",
          [query(f"sum {BY} (rate(message_size_bytes_sum{{{OF}}}[$__rate_interval]))", WHOSE)], "Bps", 8,
          mirrored="received$"),
    heat("Sizes of frames", "Of all frames, control frames included.",
         f"observer_websocket_frame_size_bytes_bucket{{{OF}}}", "decbytes"),
)

RATES = row(
    "Messages",
    lines("Messages a second on the host", "Over 10 s. The alert GlobalMessageRateBurst is at the dashed line.",
          [query(f"global_message_rate_per_second{{{HOST}}}", "{{instance}}")], "short", 8,
          thresholds=[(1e4, RED)]),
    lines("Messages by process", "Data messages a second; received goes downwards.",
          [query(f"sum {BY} (rate(observer_websocket_messages_total{{{OF}}}[$__rate_interval]))", WHOSE)], "short", 8,
          mirrored="received$"),
    lines("Messages by type", "Text or binary, compressed or not.",
          [query(f"sum by (type, compressed) (rate(observer_websocket_messages_total{{{OF}}}[$__rate_interval]))",
                 "{{type}}, compressed: {{compressed}}")],
          "short", 8, stacked=True),
)

USERS = row(
    "Users: the client's end of a connection",
    lines("Users by rate", "idle sent nothing in its last minute, low up to a tenth of the limit, normal up to it, high more.",
          [query(f"sum by (rate_bucket) (active_users_by_rate{{{OF}}})", "{{rate_bucket}}")], "short", 8, stacked=True,
          overrides=[colored("high", RED), colored("normal", ORANGE)]),
    heat("Messages of a user in a minute", "Full minutes of connections, by how many messages they had; both directions.",
         f"user_messages_per_minute_bucket{{{OF}}}", "short"),
    lines("Users over the limit", "Minutes in which a user went over it, in 5 minutes. ExcessivePerUserRate is above 5.",
          [query(f"sum by (process, role) (increase(high_rate_users_total{{{OF}}}[5m]))", "{{process}} ({{role}})")],
          "short", 4, thresholds=[(5, RED)]),
    lines("Turned away", "By the application, a minute: HTTP 429, or closed with 1008 or 1013.",
          [query(f"sum by (process, reason) (60 * rate(rate_limited_connections_total{{{OF}}}[$__rate_interval]))",
                 "{{process}}: {{reason}}")],
          "short", 4),
)

HEALTH = row(
    "Connections",
    lines("Open connections", "By process and end.",
          [query(f"sum by (process, role) (observer_websocket_connections{{{OF}}})", "{{process}} ({{role}})")], "short", 8),
    lines("Closed by code", "A minute. none: without a close frame or code; 1006 is never on the wire.",
          [query(f"sum by (code) (60 * rate(observer_websocket_closes_total{{{OF}}}[$__rate_interval]))", "{{code}}")],
          "short", 8),
    lines("Frames that break RFC 6455", "A minute: a wrong mask, reserved bits, an unknown opcode, an impossible length.",
          [query(f"sum by (process, kind) (60 * rate(observer_websocket_violations_total{{{OF}}}[$__rate_interval]))",
                 "{{process}}: {{kind}}")],
          "short", 8),
)

DASHBOARD = dashboard(
    "observer-websocket", "WebSocket", "Sizes and rates of messages, and the users who send them.", "websocket|rates",
    [NOW, SIZES, RATES, USERS, HEALTH], process="observer_websocket_connections",
)
