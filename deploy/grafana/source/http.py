"""HTTP: what is asked for, how long it takes, and what fails, by endpoint and by provider; streams apart."""

from .panels import ORANGE, RED, YELLOW, colored, dashboard, heat, lines, query, row, stat, table

OF = 'instance=~"$instance", process=~"$process", role=~"$role"'
CLIENT = 'instance=~"$instance", process=~"$process", role="client"'
PROCESS = 'instance=~"$instance", process=~"$process"'
ENDPOINT = "{{process}} ({{role}}) {{authority}} {{route}}"
PROVIDER = "{{process}} → {{authority}}"
BY = "by (instance, process, role, authority, route)"
RATE = "$__rate_interval"
# Series of endpoints are many: the ones that matter most, by their value now.
TOP = "topk(15, {})"

NOW = row(
    "Now",
    stat("Requests a second", "By process and end, most.",
         f"max(sum by (instance, process, role) (rate(http_requests_total{{{OF}}}[{RATE}])))", "reqps"),
    stat("Errors in the last hour", "Of an endpoint's requests, most; endpoints with 20 and more.",
         f"max(observer:http_errors:ratio1h{{{OF}}} and observer:http_requests:rate1h{{{OF}}} * 3600 >= 20)",
         "percentunit", thresholds=[(0.01, YELLOW), (0.05, RED)]),
    stat("Slowest p95", "Of any endpoint, over 5 minutes. 10 s means 10 s or more. Streams are not in it.",
         f"max(observer:http_request_duration_seconds:p95{{{OF}}})", "s", thresholds=[(1, YELLOW), (2, RED)]),
    stat("In flight", "Requests that have begun and not been answered to the end.",
         f"sum(observer_http_requests_in_flight{{{OF}}})", "short", decimals=0),
    stat("Streams open", "Server-sent events, and other answers without a length that have been open for long.",
         f"sum(observer_http_streams{{{OF}}})", "short", decimals=0),
    stat("Queries for each request", "Postgres queries that a process asks for each request that it serves, most.",
         f"max(observer:http_queries_per_request:ratio5m{{{PROCESS}}})", "short", decimals=1,
         thresholds=[(10, YELLOW), (20, RED)]),
)

ENDPOINTS = row(
    "Endpoints",
    table("Endpoints", "By process and route, of a client by whom it asks, too. Over 5 minutes, errors over an hour.",
          [("requests", f"observer:http_requests:rate5m{{{OF}}} > 0"),
           ("errors", f"observer:http_errors:ratio1h{{{OF}}}"),
           ("mean", f"observer:http_request_duration_seconds:mean5m{{{OF}}}"),
           ("p95", f"observer:http_request_duration_seconds:p95{{{OF}}}")],
          ["job", "container"],
          {"instance": "host", "process": "process", "role": "end", "authority": "whom", "route": "route"},
          {"requests": "reqps", "errors": "percentunit", "mean": "s", "p95": "s"}, sort="requests"),
    lines("Requests by endpoint", "A second, the fifteen with most.",
          [query(TOP.format(f"observer:http_requests:rate5m{{{OF}}}"), ENDPOINT)], "reqps", 8),
    lines("Requests by status", "A second. none: the connection ended before there was any.",
          [query(f"sum by (status) (rate(http_requests_total{{{OF}}}[{RATE}]))", "{{status}}")], "reqps", 8, stacked=True),
    lines("Requests by method", "A second. other: none of the usual methods.",
          [query(f"sum by (method) (rate(http_requests_total{{{OF}}}[{RATE}]))", "{{method}}")], "reqps", 8, stacked=True),
)

TIMES = row(
    "Times",
    lines("p95 by endpoint", "First byte of the request to last byte of the response, over 5 minutes, the fifteen slowest. "
          "HttpRequestsSlow is above 2 s. 10 s means 10 s or more.",
          [query(TOP.format(f"observer:http_request_duration_seconds:p95{{{OF}}}"), ENDPOINT)], "s", 8,
          thresholds=[(2, RED)]),
    heat("Durations", "How many requests took how long.", f"http_request_duration_seconds_bucket{{{OF}}}", "s"),
    lines("p95 to the first byte", "Of the final response, over 5 minutes, the fifteen slowest. Fast here and slow to the "
          "last byte: large answers, or a peer that reads slowly.",
          [query(TOP.format(f"histogram_quantile(0.95, sum {BY[:-1]}, le) "
                            f"(rate(observer_http_first_byte_seconds_bucket{{{OF}}}[5m]))) >= 0"), ENDPOINT)],
          "s", 8, thresholds=[(2, RED)]),
    lines("p50 and p99", "Over 5 minutes, the slowest endpoint of each process.",
          [query(f"max by (process, role) (observer:http_request_duration_seconds:p50{{{OF}}})", "p50 {{process}} ({{role}})"),
           query(f"max by (process, role) (observer:http_request_duration_seconds:p99{{{OF}}})", "p99 {{process}} ({{role}})")],
          "s", 8),
    lines("Requests in flight", "By process: what grows without more requests waits for something.",
          [query(f"sum by (process, role) (observer_http_requests_in_flight{{{OF}}})", "{{process}} ({{role}})")], "short", 8),
    lines("Queries for each request", "Postgres queries of a process for each request that it serves, over 5 minutes. "
          "DatabaseQueriesPerRequestHigh is above 20.",
          [query(f"observer:http_queries_per_request:ratio5m{{{PROCESS}}}", "{{process}}")], "short", 8,
          thresholds=[(20, RED)]),
)

ERRORS = row(
    "Errors",
    lines("Errors by endpoint", "Of its requests, over a sliding hour, the fifteen with most. HttpErrorRateHigh is above 5 %.",
          [query(TOP.format(f"observer:http_errors:ratio1h{{{OF}}} > 0"), ENDPOINT)], "percentunit", 8,
          thresholds=[(0.05, RED)]),
    lines("Errors by endpoint, over 5 minutes", "Of its requests, the fifteen with most: whether it is over.",
          [query(TOP.format(f"observer:http_errors:ratio5m{{{OF}}} > 0"), ENDPOINT)], "percentunit", 8),
    lines("Errors by kind", "A minute. 5xx: answered so. closed, reset, timeout: how connections ended before the answer was "
          "whole.",
          [query(f"sum by (process, role, kind) (60 * rate(http_request_errors_total{{{OF}}}[{RATE}]))",
                 "{{kind}}: {{process}} ({{role}})")],
          "short", 8, overrides=[colored("5xx", RED), colored("closed", YELLOW), colored("reset", ORANGE)]),
)

PROVIDERS = row(
    "Providers: whom processes of these hosts ask",
    lines("Calls by provider and status", "A second.",
          [query(f"sum by (provider, status) (rate(provider_api_calls_total{{{CLIENT}}}[{RATE}]))",
                 "{{provider}} {{status}}")],
          "reqps", 6, stacked=True),
    lines("p95 by provider", "Over 5 minutes. What is not answered has no duration: see the errors.",
          [query(f"histogram_quantile(0.95, sum by (provider, le) "
                 f"(rate(provider_api_latency_seconds_bucket{{{CLIENT}}}[5m]))) >= 0", "{{provider}}")],
          "s", 6, thresholds=[(2, RED)]),
    lines("Failing", "Of the requests of 15 minutes. HttpProviderFailing is above 20 %.",
          [query(f"sum by (process, authority) (rate(http_request_errors_total{{{CLIENT}}}[15m])) / "
                 f"(sum by (process, authority) (rate(http_requests_total{{{CLIENT}}}[15m])) > 0)", PROVIDER)],
          "percentunit", 6, thresholds=[(0.2, RED)]),
    lines("Webhooks: p95", "POST requests to a host or a route with hook in its name, over 5 minutes.",
          [query(f"histogram_quantile(0.95, sum by (authority, le) "
                 f"(rate(webhook_delivery_time_seconds_bucket{{{CLIENT}}}[5m]))) >= 0", "{{authority}}")],
          "s", 6, thresholds=[(2, RED)]),
)

SIZES = row(
    "Streams and sizes",
    lines("Streams open", "By endpoint, the fifteen with most.",
          [query(TOP.format(f"sum {BY} (observer_http_streams{{{OF}}})"), ENDPOINT)], "short", 6),
    lines("Events", "Server-sent events a second, of all streams of an endpoint, the fifteen with most.",
          [query(TOP.format(f"sum {BY} (rate(observer_http_stream_events_total{{{OF}}}[{RATE}]))"), ENDPOINT)], "cps", 6),
    heat("How long streams lasted", "Of those that have ended.", f"observer_http_stream_seconds_bucket{{{OF}}}", "s", 4),
    heat("Bodies of requests", "As on the wire, without the framing of chunks.",
         f"observer_http_request_size_bytes_bucket{{{OF}}}", "decbytes", 4),
    heat("Bodies of responses", "Likewise.", f"observer_http_response_size_bytes_bucket{{{OF}}}", "decbytes", 4),
)

DASHBOARD = dashboard(
    "observer-http", "HTTP", "What is asked for, how long it takes, and what fails, by endpoint and by provider.", "http",
    [NOW, ENDPOINTS, TIMES, ERRORS, PROVIDERS, SIZES], process="http_requests_total",
)
