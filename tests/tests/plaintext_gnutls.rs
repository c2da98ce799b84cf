//! What clients and servers say by `GnuTLS` is counted exactly as the other end counts it: wget's, libcurl's, and those of
//! programs that use it in every way it has; and what cannot be read is told as it is.

// needs: nothing
// takes: 15 s

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;

use anyhow::ensure;
use observer_tests::agent::Agent;
use observer_tests::gnutls::{READ, puppet};
use observer_tests::http::shown::View;
use observer_tests::http::{Answer, Call, Tally};
use observer_tests::losses::Losses;
use observer_tests::plaintext::{Site, all_was_read, bytes, client, expect_open, open, port, shared_for};
use observer_tests::programs::{installed, named};
use observer_tests::puppet::Puppet;
use observer_tests::websocket::{alone, unique_name};
use serde_json::json;

/// `GnuTLS`'s names of versions.
const VERSIONS: [&str; 2] = ["TLS1.2", "TLS1.3"];

/// A server, a client called `process` that has no connection yet, and the agent that tests share.
struct Ground {
    site: Site,
    client: Puppet,
    process: String,
    agent: Arc<Agent>,
    losses: Losses,
}

impl Ground {
    fn new() -> anyhow::Result<Self> {
        let process = unique_name("gtls");
        let (site, client) = (Site::start("")?, puppet(&process)?);
        // It reads what is mapped when it starts, as the library is by now.
        let (agent, losses) = shared_for("http")?;
        Ok(Self { site, client, process, agent, losses })
    }

    /// Has the client speak a version, with more arguments of `use`.
    fn uses(&mut self, version: &str, more: &str) -> anyhow::Result<()> {
        self.client.run(&format!("use({}, '{version}'{more})", self.site.nginx.port))
    }

    /// So many more requests were made, and all are shown at both ends, as the server has logged them.
    fn expect(&mut self, more: usize) -> anyhow::Result<()> {
        self.site.logged(more)?;
        let all = self.site.all()?;
        let views = self.site.views(&self.process);
        views.iter().try_for_each(|view| view.expect(&self.agent, &all, View::tally))
    }

    /// All bytes were read, at both ends, and nothing was lost.
    fn end(self) -> anyhow::Result<()> {
        all_was_read(&self.agent, &self.process)?;
        all_was_read(&self.agent, &self.site.nginx.name)?;
        self.losses.no_more(&self.agent)
    }
}

#[test]
fn requests_of_wget() -> anyhow::Result<()> {
    let _alone = alone();
    let mut ground = Ground::new()?;
    ground.process = unique_name("wget");
    let site = &ground.site;
    let wget = named(&installed("wget")?, site.folder(), &ground.process)?;
    let body = site.folder().join("sent");
    std::fs::write(&body, "x".repeat(300_000))?;
    let mut count = 0;
    for version in ["TLSv1_2", "TLSv1_3"] {
        let paths = ["/page", "/large", "/fails", "/page?of=7", "/absent", "/large"];
        let takes = format!("--post-file={}", body.display());
        for (arguments, paths) in [(vec![], &paths[..]), (vec![takes.as_str()], &["/takes"; 2])] {
            let status = Command::new(&wget)
                .args([
                    "--quiet",
                    "--no-check-certificate",
                    "--no-config",
                    "--tries=1",
                    "--output-document=/dev/null",
                ])
                .arg(format!("--secure-protocol={version}"))
                .args(arguments)
                .args(paths.iter().map(|path| format!("{}{path}", site.url())))
                .status()?;
            // Those that have failed are among them: by its manual, 8 is that a server has answered with an error.
            let expected = if paths.len() == 2 { 0 } else { 8 };
            ensure!(status.code() == Some(expected), "wget: {status}");
            count += paths.len();
        }
    }
    ground.expect(count)?;
    ground.end()
}

#[test]
fn requests_of_libcurl() -> anyhow::Result<()> {
    let _alone = alone();
    let mut ground = Ground::new()?;
    let calls = [
        Call::get("/page", "/page"),
        Call::get("/large", "/large"),
        Call::post("/takes", "/takes", 10),
        Call::post("/takes", "/takes", 1_000_000),
        Call::get("/fails", "/fails").answered(503),
        Call::get("/absent", "unmatched").answered(404),
    ];
    for version in ["1.2", "1.3"] {
        ground.client.run(&format!("curl = Curl('{version}')"))?;
        let mut answers = Vec::new();
        for call in calls.iter().cycle().take(5 * calls.len()) {
            let length = call.sends.map_or_else(|| "None".to_owned(), |length| length.to_string());
            let url = format!("{}{}", ground.site.url(), call.path);
            let answer = ground.client.ask(&format!("curl.ask('{url}', {length})"))?;
            answers.push(serde_json::from_value::<Answer>(answer)?);
        }
        let many: Vec<Call> = calls.iter().cycle().take(answers.len()).cloned().collect();
        let mut told = Tally::default();
        told.add_calls(&many, &answers)?;
        let before = ground.site.count;
        ground.expect(many.len())?;
        ensure!(ground.site.count == before + many.len(), "{} requests", ground.site.count);
        // It keeps its connection.
        expect_open(&ground.agent, &ground.process, READ, 1.0)?;
        ground.client.run("curl.close()")?;
        expect_open(&ground.agent, &ground.process, READ, 0.0)?;
    }
    ground.end()
}

#[test]
fn calls_of_every_length() -> anyhow::Result<()> {
    let _alone = alone();
    let mut ground = Ground::new()?;
    for version in VERSIONS {
        ground.uses(version, "")?;
        ground.client.run("login(1)")?;
        for (length, step) in [(2_000, 1), (200_000, 16_384), (100_000, 16_385), (3_000_000, 1 << 20)] {
            let status = ground.client.number(&format!("put(sessions[-1], {length}, {step})"))?;
            ensure!(status == 201.0, "{length} bytes in calls of {step}: {status}");
        }
        // The head in calls of one byte, and all else.
        for (path, step) in [("/page", 1), ("/large", 16_384), ("/large", 1 << 20)] {
            let right = ground.client.number(&format!("ask(sessions[-1], '{path}', 2, {step})"))?;
            ensure!(right == 2.0, "{path} in calls of {step}");
        }
        ground.expect(10)?;
    }
    expect_open(&ground.agent, &ground.process, READ, 2.0)?;
    ground.client.run("logout()")?;
    expect_open(&ground.agent, &ground.process, READ, 0.0)?;
    ground.end()
}

/// A call that has sent nothing may be made again without its buffer, whatever the thread has done meanwhile.
#[test]
fn calls_that_are_made_again_without_their_buffer() -> anyhow::Result<()> {
    let _alone = alone();
    let mut ground = Ground::new()?;
    for version in VERSIONS {
        ground.uses(version, "")?;
        // Once its route is known, all of them are of that, also beyond those of which it is kept when they began.
        ground.client.run("login(2); ask(sessions[-2], '/page')")?;
        let told = ground.client.ask("ask_without_waiting(sessions[-2], sessions[-1], 900)")?;
        let [answers, again]: [usize; 2] = serde_json::from_value(told)?;
        ensure!(answers == 900, "{answers} answers");
        ensure!(again >= 3, "calls had to be made again {again} times only");
        // In the other session, one for each third of them.
        ground.expect(1 + 900 + again.div_ceil(3))?;
    }
    expect_open(&ground.agent, &ground.process, READ, 4.0)?;
    ground.client.run("logout()")?;
    ground.end()
}

#[test]
fn what_is_kept_back_until_all_is_there() -> anyhow::Result<()> {
    let _alone = alone();
    let mut ground = Ground::new()?;
    for version in VERSIONS {
        ground.uses(version, "")?;
        ground.client.run("login(1)")?;
        for (length, step, waits) in [(1_000, 1, true), (100_000, 5_000, true), (3_000_000, 16_384, false)] {
            let waits_too = if waits { "True" } else { "False" };
            let told = format!("put_corked(sessions[-1], {length}, {step}, {waits_too})");
            let [status, again] = ground.client.pair(&told)?;
            ensure!(status == 201.0, "{length} bytes: {status}");
            ensure!(waits == (again == 0.0), "{length} bytes: made again {again} times");
        }
        ground.expect(3)?;
    }
    expect_open(&ground.agent, &ground.process, READ, 2.0)?;
    ground.client.run("logout()")?;
    ground.end()
}

/// Other functions than the usual ones, and functions of the program's own that move records on the socket.
#[test]
fn other_ways_to_send_and_receive() -> anyhow::Result<()> {
    let _alone = alone();
    let mut ground = Ground::new()?;
    let status = ground.agent.json("/status")?;
    let listed = |name: &str| {
        let all = status["tls_libraries"].as_array().into_iter().flatten();
        let ours = all.filter(|one| one["path"].as_str().is_some_and(|path| path.contains(name)));
        ours.map(|one| [&one["library"], &one["version"], &one["reason"]]).collect::<Vec<_>>()
    };
    ensure!(listed("libgnutls.so") == [[&json!("gnutls"), &json!("3"), &json!(null)]], "{status:#}");
    ensure!(
        listed("libgnutls-openssl.so") == [[&json!("unknown"), &json!(null), &json!(null)]],
        "{status:#}"
    );
    for (version, more) in [
        ("TLS1.2", ", kind=Sequenced"),
        ("TLS1.3", ", kind=Sequenced"),
        ("TLS1.3", ", kind=Ranged"),
        ("TLS1.2", ", through=by_own_functions"),
        ("TLS1.3", ", through=by_own_functions"),
        // OpenSSL's functions, which call those of GnuTLS: nothing counts twice.
        ("TLS1.3", ", kind=Wrapped"),
    ] {
        ground.uses(version, more)?;
        ground.client.run("login(1)")?;
        let asks = "[ask(sessions[0], '/page', 5), ask(sessions[0], '/large', 2, 1000), \
                    put(sessions[0], 1000, 1), put(sessions[0], 300_000, 20_000)]";
        ensure!(ground.client.ask(asks)? == json!([5, 2, 201, 201]), "{version}{more}");
        ground.expect(9)?;
        expect_open(&ground.agent, &ground.process, READ, 1.0)?;
        ground.client.run("logout()")?;
    }
    ground.uses("TLS1.3", "")?;
    ground.client.run("login(1); ask(sessions[0], '/page'); update_keys(sessions[0])")?;
    ensure!(ground.client.number("ask(sessions[0], '/page', 3)")? == 3.0, "with new keys");
    ground.expect(4)?;
    expect_open(&ground.agent, &ground.process, READ, 1.0)?;
    ground.client.run("logout()")?;
    ground.end()
}

#[test]
fn sessions_one_after_the_other_and_in_threads() -> anyhow::Result<()> {
    let _alone = alone();
    let mut ground = Ground::new()?;
    for version in VERSIONS {
        ground.uses(version, "")?;
        let places = ground.client.number("in_one_place(40)")?;
        ensure!(places < 40.0, "no address was another session's before");
        ground.expect(40)?;
        ensure!(ground.client.number("in_threads(4, 10)")? == 40.0, "in threads");
        ground.expect(40)?;
        ground.client.run("login(1)")?;
        ensure!(ground.client.number("in_turns(sessions[-1], 10)")? == 21.0, "in turns");
        ground.expect(21)?;
    }
    ground.client.run("logout()")?;
    ground.end()
}

/// Requests by what their client says of them.
fn told(asked: &[(&str, usize)], taken: usize) -> Tally {
    let mut tally = Tally::default();
    for &(path, count) in asked {
        let length = if path.starts_with("/page") { 200.0 } else { 1e6 };
        for _ in 0..count {
            tally.add("GET", path, "200", [0.0, length]);
        }
    }
    for _ in 0..taken {
        tally.add("POST", "/takes", "201", [100_000.0, 0.0]);
    }
    tally.shown()
}

#[test]
fn a_server() -> anyhow::Result<()> {
    let _alone = alone();
    let Ground { site, client: mut server, process, agent, losses } = Ground::new()?;
    let [certificate, key] = &site.certificate;
    for version in VERSIONS {
        let port = port(server.ask(&format!("serve('{certificate}', '{key}', '{version}')"))?)?;
        let (name, label) = (unique_name("tlc"), format!("127.0.0.1:{port}"));
        let mut python = client(&name, port)?;
        python.run("login(2)")?;
        let asked =
            [("/page", 20), ("/large", 3), ("/large-corked", 3), ("/page-bytes", 3), ("/large-file", 3)];
        for (number, (path, times)) in asked.iter().enumerate() {
            let right = python.number(&format!("ask(sessions[{}], '{path}', {times})", number % 2))?;
            ensure!(right == *times as f64, "{path}: {right} answers");
        }
        ensure!(python.number("put(sessions[1], 100_000, 30_000)")? == 201.0, "/takes");
        let told = told(&asked, 1);
        for view in [View::client(&name, &label), View::server(&process, &label)] {
            view.expect(&agent, &told, View::tally)?;
        }
        expect_open(&agent, &process, READ, 2.0)?;
        python.run("logout()")?;
        expect_open(&agent, &process, READ, 0.0)?;
        all_was_read(&agent, &name)?;
    }
    all_was_read(&agent, &process)?;
    losses.no_more(&agent)
}

/// Records that a function returns which is not read, and those that go through memory.
#[test]
fn what_cannot_be_read() -> anyhow::Result<()> {
    let _alone = alone();
    let mut ground = Ground::new()?;
    let of_client = &ground.site.views(&ground.process)[1];
    for (more, ways) in [
        (", kind=Packets", &[["gnutls", "partly", "bypassed"]][..]),
        (", through=through_memory", &[["unknown", "no", "unlinked"]]),
    ] {
        for version in VERSIONS {
            ground.uses(version, more)?;
            ground.client.run("login(1)")?;
            let before = bytes(&ground.agent.scrape()?, &ground.process)[1];
            ensure!(ground.client.number("ask(sessions[0], '/large', 3)")? == 3.0, "answers");
            ground.site.logged(3)?;
            let is_told = |labels: &[String; 3]| ways.iter().any(|way| labels == way);
            let metrics = ground.agent.wait_until(&format!("{version}{more}: {ways:?}"), |metrics| {
                let open: BTreeMap<_, _> = open(metrics, &ground.process).into_iter().collect();
                !open.is_empty() && open.keys().all(is_told)
            })?;
            let more = bytes(&metrics, &ground.process)[1] - before;
            ensure!(more >= 3e6, "{more} bytes were not read, and that is too few");
            // No answer is known: what a request of before ended with is not.
            let requests = of_client.requests(&metrics);
            ensure!(requests.keys().all(|[_, _, status]| status == "none"), "{requests:?}");
            ground.client.run("logout()")?;
        }
    }
    // The server's end has them all.
    let all = ground.site.all()?;
    ground.site.views("")[0].expect(&ground.agent, &all, View::tally)?;
    all_was_read(&ground.agent, &ground.site.nginx.name)
}
