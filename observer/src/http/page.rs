//! The page at `/`.

/// What this is, and where the rest is.
pub(super) const PAGE: &str = concat!(
    "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n",
    "<meta name=\"viewport\" content=\"width=device-width\">\n",
    "<meta name=\"color-scheme\" content=\"light dark\">\n",
    "<title>observer</title>\n",
    "<style>body{font:16px/1.5 system-ui,sans-serif;max-width:40rem;margin:3rem auto;padding:0 1rem}",
    "td{padding:.2rem 1.5rem .2rem 0;vertical-align:top}</style>\n",
    "<h1>observer ",
    env!("CARGO_PKG_VERSION"),
    "</h1>\n<p>What the WebSocket, Postgres, Redis and other traffic of this host is doing, seen from the kernel.</p>\n",
    "<table>\n",
    "<tr><td><a href=\"/metrics\">/metrics</a><td>everything, for Prometheus\n",
    "<tr><td><a href=\"/flows?limit=100\">/flows</a><td>open connections with their rates, the busiest first (<code>?limit=N</code>)\n",
    "<tr><td><a href=\"/events\">/events</a><td>the most recent oversized messages\n",
    "<tr><td><a href=\"/status\">/status</a><td>each program's state, and what could not be seen\n",
    "<tr><td><a href=\"/healthz\">/healthz</a><td>200 while the agent lives\n",
    "<tr><td><a href=\"/readyz\">/readyz</a><td>200 once it observes\n",
    "</table>\n</html>\n"
);
