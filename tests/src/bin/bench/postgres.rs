//! Postgres under each observer: many short queries, in the clear and encrypted, and one with many rows.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::ensure;
use observer_tests::postgres::pgbench::Pgbench;
use observer_tests::postgres::program;
use observer_tests::postgres::server::{Options, Server};

use crate::compare;
use crate::placement::Placement;

/// Rows of the query with many.
const ROWS: u32 = 1_000_000;

/// Compares the rates of both.
pub(crate) fn postgres(rounds: usize, seconds: Duration) -> anyhow::Result<()> {
    let server = Server::start()?;
    let pgbench = Pgbench::new(&server.tcp())?;
    pgbench.prepare()?;
    // It takes whole seconds.
    let whole = seconds.as_secs().max(1);
    // The server's processes are where they are.
    let placements = [Placement::Any];
    let title = format!("pgbench -S -M prepared -c 2, {rounds} rounds of {whole} s");
    compare(&title, "queries/s", 0.97, &placements, rounds, || {
        let report = pgbench.run("prepared", &["-S", "-c", "2", "-T", &whole.to_string()], None)?;
        Ok(report.transactions / whole as f64)
    })?;
    let encrypted_server = Server::start_with(&Options { tls: true, ..Options::default() })?;
    let encrypted = Pgbench::new(&encrypted_server.tcp())?.encrypted();
    encrypted.prepare()?;
    let title = format!("pgbench -S -M prepared -c 2 over TLS, {rounds} rounds of {whole} s");
    compare(&title, "queries/s", 0.95, &placements, rounds, || {
        let report = encrypted.run("prepared", &["-S", "-c", "2", "-T", &whole.to_string()], None)?;
        Ok(report.transactions / whole as f64)
    })?;
    drop(encrypted_server);
    let title = format!("a query with {ROWS} rows in psql, {rounds} rounds");
    compare(&title, "queries/s", 0.97, &placements, rounds, || {
        let start = Instant::now();
        read_rows(&server)?;
        Ok(1.0 / start.elapsed().as_secs_f64())
    })
}

fn read_rows(server: &Server) -> anyhow::Result<()> {
    let address = server.tcp();
    let query = format!("SELECT i, i * 2, 'some text ' || i FROM generate_series(1, {ROWS}) i");
    let mut psql = Command::new(program("psql")?);
    psql.args(["-X", "-A", "-t", "-U", "postgres", "-d", "postgres", "-h", &address.host]);
    psql.args(["-p", &address.port.to_string(), "-c", &query]).stdout(Stdio::null());
    ensure!(psql.status()?.success(), "psql failed");
    Ok(())
}
