//! nginx under each observer: as many requests as `wrk` can make, for a small page and for a large one.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use observer_tests::http::load;
use observer_tests::nginx::Nginx;

use crate::compare;
use crate::placement::Placement;

/// Connections that are kept alive.
const CONNECTIONS: u32 = 64;
/// Bytes of the page that is cheap to serve, of the one that is not, and the ratio that is to be left of each.
const PAGES: [(&str, usize, f64); 2] = [("small", 200, 0.90), ("large", 1 << 20, 0.98)];

/// Compares the rates of all.
pub(crate) fn http(rounds: usize, seconds: Duration) -> anyhow::Result<()> {
    let directives = "access_log off; sendfile on; keepalive_requests 100000000;";
    let server = Nginx::with(directives, "", "", false)?;
    for (page, bytes, _) in PAGES {
        fs::write(server.folder().join(page), "x".repeat(bytes))?;
    }
    // The server's process is where it is.
    let placements = [Placement::Any];
    for (page, bytes, goal) in PAGES {
        let title = format!("wrk, {CONNECTIONS} connections, {bytes} bytes, {rounds} rounds of {seconds:?}");
        let url = format!("http://127.0.0.1:{}/{page}", server.port);
        compare(&title, "requests/s", goal, &placements, rounds, || rate(&url, seconds))?;
    }
    Ok(())
}

/// Requests a second, as `wrk` counts them.
fn rate(url: &str, duration: Duration) -> anyhow::Result<f64> {
    // It takes whole seconds.
    let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    let load = load::wrk(url, u32::try_from(seconds.max(1))?, CONNECTIONS)?;
    ensure!(load.failed == 0.0, "{} requests failed", load.failed);
    load.rate.context("wrk tells no rate")
}
