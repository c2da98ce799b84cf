//! The agent's HTTP where strangers may reach it: who is let in, and what each may take.

// needs: nothing
// takes: 16 s

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use observer_tests::agent::{Agent, binary};
use observer_tests::credentials::{Credentials, python};
use observer_tests::metrics::Metrics;
use observer_tests::puppet::Puppet;

const TLS: &str = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n";

/// How long a change of a file may take to be in force.
const RELOAD: Duration = Duration::from_secs(8);

/// Waits until something holds.
fn wait_until(
    what: &str,
    limit: Duration,
    mut holds: impl FnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let start = Instant::now();
    while !holds()? {
        ensure!(start.elapsed() < limit, "not within {limit:?}: {what}");
        sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// What the certificate at an address is, by OpenSSL in Python.
fn certificate(agent: &Agent) -> anyhow::Result<String> {
    let line = "import ssl, sys; host, port = sys.argv[1].split(':'); \
        print(ssl.get_server_certificate((host, int(port))))";
    python(line, &[agent.address()], Path::new("/dev/null"))
}

fn flows(arguments: &[&str]) -> anyhow::Result<Output> {
    Ok(Command::new(binary()?).args(["flows", "--limit", "1"]).args(arguments).output()?)
}

/// Some that are there, and one that is not.
const PATHS: [&str; 13] = [
    "/",
    "/page.js",
    "/tables.js",
    "/metrics",
    "/healthz",
    "/readyz",
    "/status",
    "/flows",
    "/processes",
    "/routes",
    "/queues",
    "/events",
    "/nothing",
];

#[test]
fn users_and_certificates_change_without_a_restart() -> anyhow::Result<()> {
    let credentials = Credentials::new()?;
    credentials.sign("server", "IP:127.0.0.1")?;
    let sections =
        format!("{TLS}http_server_config:\n  headers:\n    Strict-Transport-Security: max-age=1\n");
    let config = credentials.web_config(&sections, &[("alice", "one"), ("bob", "two")])?;
    let agent = Agent::start_guarded(&["--web-config", &config])?;
    let url = |path: &str| format!("{}{path}", agent.url());
    assert!(agent.url().starts_with("https://"), "{}", agent.url());
    let status =
        |user: &str| -> anyhow::Result<u16> { Ok(credentials.curl(&["--user", user, &url("/healthz")])?.0) };
    for path in PATHS {
        let expected = if path == "/nothing" { 404 } else { 200 };
        assert_eq!(credentials.curl(&["--user", "alice:one", &url(path)])?.0, expected, "{path}");
        let (refused, said) = credentials.curl(&["--include", &url(path)])?;
        let said = said.to_ascii_lowercase();
        assert!(refused == 401 && said.contains("www-authenticate: basic"), "{path}: {refused} {said}");
        assert!(said.contains("strict-transport-security: max-age=1"), "{said}");
    }
    for (user, expected) in [
        ("bob:two", 200),
        ("alice:two", 401),
        ("alice:", 401),
        ("carol:one", 401),
        ("alice:one", 200),
        (":", 401),
    ] {
        assert_eq!(status(user)?, expected, "{user}");
    }
    // Neither without TLS, nor with what is not safe any more, nor for who trusts others.
    let plain = url("/healthz").replace("https:", "http:");
    assert_eq!(credentials.curl(&[&plain])?.0, 0);
    assert_eq!(credentials.curl(&["--tls-max", "1.1", "--user", "alice:one", &url("/healthz")])?.0, 0);
    assert_eq!(credentials.curl(&["--tls-max", "1.2", "--user", "alice:one", &url("/healthz")])?.0, 200);
    assert_eq!(credentials.curl(&["--capath", "/etc/ssl/certs", "--cacert", "/dev/null", &url("/")])?.0, 0);

    // The agent's own client.
    credentials.write("password", "one\n")?;
    let (ca, password) = (credentials.path("ca.crt"), credentials.path("password"));
    let address = agent.url();
    let user = ["--url", &address, "--user", "alice", "--password-file", &password];
    for (more, succeeds, said) in [
        (&["--ca-file", &ca][..], true, "PROCESS"),
        (&["--insecure"], true, "PROCESS"),
        (&[], false, "--ca-file"),
    ] {
        let output = flows(&[&user[..], more].concat())?;
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() == succeeds && text.contains(said), "{more:?}: {text}");
    }
    let output = flows(&["--url", &address, "--ca-file", &ca])?;
    let said = String::from_utf8(output.stderr)?;
    assert!(said.contains("status 401") && said.contains("--password-file"), "{said}");

    // Another password for one, another certificate, and the other user gone.
    let old = certificate(&agent)?;
    credentials.sign("server", "IP:127.0.0.1")?;
    credentials.web_config(&sections, &[("alice", "three")])?;
    wait_until("the new password lets in", RELOAD, || Ok(status("alice:three")? == 200))?;
    wait_until("the new certificate is shown", RELOAD, || Ok(certificate(&agent)? != old))?;
    assert_eq!(certificate(&agent)?, fs::read_to_string(credentials.path("server.crt"))?.trim());
    assert_eq!((status("alice:one")?, status("bob:two")?), (401, 401));

    // What is broken, or would open it to everybody, changes nothing, and is told of.
    let good = fs::read_to_string(&config)?;
    let in_force = || -> anyhow::Result<f64> {
        let (_, text) = credentials.curl(&["--user", "alice:three", &url("/metrics")])?;
        Ok(Metrics::parse(&text).sum("observer_web_config_in_force", &[]))
    };
    assert_eq!(in_force()?, 1.0);
    for (broken, told) in [
        (format!("{good}nonsense: 1\n"), "nonsense"),
        (String::new(), "switches TLS off"),
        (TLS.to_owned(), "switches authentication off"),
        (good.replace("server.key", "ca.key"), "ca.key"),
    ] {
        credentials.write("web.yml", &broken)?;
        wait_until(told, RELOAD, || Ok(agent.log().iter().any(|line| line.contains(told))))?;
        assert_eq!(in_force()?, 0.0, "{told}");
        assert_eq!(status("")?, 401);
    }
    credentials.write("web.yml", &good)?;
    wait_until("all is well again", RELOAD, || Ok(in_force()? == 1.0))?;
    let (_, text) = credentials.curl(&["--user", "alice:three", &url("/metrics")])?;
    let metrics = Metrics::parse(&text);
    for reason in ["unauthorized", "tls"] {
        let count = metrics.sum("observer_web_turned_away_total", &[("reason", reason)]);
        assert!(count > 0.0, "{reason}: {text}");
    }
    credentials.write("web.yml", &format!("{good}rate_limit: {{interval: 1h, burst: 1}}\n"))?;
    wait_until("requests are limited", RELOAD, || Ok(status("alice:three")? == 429))?;
    let log = agent.log().join("\n");
    assert!(!log.contains("$2b$"), "a hash in the log: {log}");
    Ok(())
}

#[test]
fn certificates_of_clients() -> anyhow::Result<()> {
    let credentials = Credentials::new()?;
    for (name, host) in [
        ("server", "DNS:localhost,IP:127.0.0.1"),
        ("scraper", "DNS:scraper.test"),
        ("other", "DNS:other.test"),
    ] {
        credentials.sign(name, host)?;
    }
    let strangers = Credentials::new()?;
    strangers.sign("stranger", "DNS:scraper.test")?;
    let config = credentials.web_config(
        &format!(
            "{TLS}  client_ca_file: ca.crt\n  client_auth_type: RequireAndVerifyClientCert\n  \
            client_allowed_sans: [\"scraper.test\"]\n  min_version: TLS13\n  curve_preferences: [CurveP256]\n"
        ),
        &[],
    )?;
    let agent = Agent::start_guarded(&["--web-config", &config])?;
    let url = format!("{}/readyz", agent.url());
    let with = |folder: &Credentials, name: &str| {
        let (certificate, key) = (folder.path(&format!("{name}.crt")), folder.path(&format!("{name}.key")));
        credentials.curl(&["--cert", &certificate, "--key", &key, &url])
    };
    assert_eq!(with(&credentials, "scraper")?, (200, "ready\n".to_owned()));
    assert_eq!(with(&credentials, "other")?.0, 0);
    assert_eq!(with(&strangers, "stranger")?.0, 0);
    assert_eq!(credentials.curl(&[&url])?.0, 0);
    let (certificate, key) = (credentials.path("scraper.crt"), credentials.path("scraper.key"));
    let ca = credentials.path("ca.crt");
    let own = ["--url", &agent.url(), "--ca-file", &ca, "--cert-file", &certificate, "--key-file", &key];
    let output = flows(&own)?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Scrapes for some time, as fast as one after the other goes; none may fail. Returns how long the slowest took.
fn scrape_for(agent: &Agent, time: Duration) -> anyhow::Result<Duration> {
    let start = Instant::now();
    let mut slowest = Duration::ZERO;
    while start.elapsed() < time {
        let before = Instant::now();
        // On a connection of its own.
        let text = ureq::Agent::new_with_defaults().get(format!("{}/metrics", agent.url())).call();
        let text = text.context("a scrape fails")?.body_mut().read_to_string()?;
        ensure!(text.contains("\nobserver_build_info"), "{text}");
        slowest = slowest.max(before.elapsed());
        sleep(Duration::from_millis(20));
    }
    Ok(slowest)
}

const HELD: usize = 256;

/// How long a scrape takes beside strangers, and how much of a processor and of memory they cost.
// needs: host
// takes: 24 s
mod on_idle_processors {
    use anyhow::Context as _;

    use super::{
        Agent, Credentials, Duration, HELD, Instant, Path, Puppet, ensure, fs, python, scrape_for, sleep,
    };

    #[test]
    fn strangers_neither_stop_a_scrape_nor_grow_memory() -> anyhow::Result<()> {
        let agent = Agent::start(&[])?;
        let mut strangers = Puppet::start("strangers")?;
        strangers.run("import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (8192, 8192))")?;
        let port = agent.address().rsplit_once(':').context("no port")?.1;
        strangers.run(&format!("there = ('127.0.0.1', {port})"))?;
        let turned_away = |reason: &str| -> anyhow::Result<f64> {
            Ok(agent.scrape()?.sum("observer_web_turned_away_total", &[("reason", reason)]))
        };
        // What is once allocated stays so.
        scrape_for(&agent, Duration::from_millis(500))?;
        let before = agent.own_bytes()?;

        // One that says nothing is there for a while; a thousand are not.
        strangers.run("idle = connect_all(there, 1000)")?;
        let slowest = scrape_for(&agent, Duration::from_secs(1))?;
        ensure!(slowest < Duration::from_secs(1), "a scrape took {slowest:?}");
        let metrics = agent.scrape()?;
        let open = metrics.sum("observer_web_connections", &[]);
        ensure!(open <= HELD as f64, "{open} connections");
        let descriptors = fs::read_dir(format!("/proc/{}/fd", agent.pid()))?.count();
        ensure!(descriptors < HELD + 100, "{descriptors} descriptors");
        ensure!(turned_away("crowded")? >= 1000.0 - HELD as f64, "{}", metrics.text());
        let idle = agent.own_bytes()?;

        // They send their requests byte by byte, come again when they are cut off, and never come to an end.
        strangers.run("close_all(idle)")?;
        let drip = "exec('''def drip(count, seconds):
        import select
        open_now, end, cut = [connect(there) for _ in range(count)], time.monotonic() + seconds, 0
        for one in open_now: one.sendall(b\"GET /metrics HTTP/1.1\\\\r\\\\nX-Slow: \")
        while time.monotonic() < end:
            for at, one in enumerate(open_now):
                try: one.sendall(b\"a\")
                except OSError:
                    one.close(); cut += 1; open_now[at] = connect(there)
            time.sleep(0.2)
        close_all(open_now)
        return cut
    ''', globals())";
        strangers.run(&drip.replace('\n', "\\n"))?;
        strangers.tell("drip(400, 12)")?;
        let slowest = scrape_for(&agent, Duration::from_secs(11))?;
        ensure!(slowest < Duration::from_secs(2), "a scrape took {slowest:?}");
        let cut = strangers.answer()?.as_f64().context("no count")?;
        ensure!(cut > 0.0, "nobody was cut off");
        let (crowded, slow) = (turned_away("crowded")?, turned_away("slow_request")?);
        ensure!(crowded + slow >= cut, "{crowded} and {slow} of {cut}");

        // They ask without end, and take no answer.
        strangers.run("greedy = connect_all(there, 200)")?;
        strangers.run("for one in greedy: one.setblocking(False)")?;
        strangers.run("exec('def push(one, data):\\n    try: one.send(data)\\n    except BlockingIOError: pass', globals())")?;
        let asked = "for one in greedy: push(one, b'GET /metrics HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n' * 200)";
        strangers.run(asked)?;
        let slowest = scrape_for(&agent, Duration::from_secs(2))?;
        ensure!(slowest < Duration::from_secs(4), "a scrape took {slowest:?}");
        strangers.run("close_all(greedy)")?;
        let after = agent.own_bytes()?;
        println!("own memory: {before} before, {idle} with idle connections, {after} at the end");
        for (what, bytes) in [("idle", idle), ("at the end", after)] {
            ensure!(bytes < before + (24 << 20), "{what}: {bytes} bytes after {before}");
        }

        // Malformed, too large, with a body.
        for (request, status, reason) in [
            ("b'GET / HTTP/1.1\\r\\nX: ' + b'a' * 20000 + b'\\r\\n\\r\\n'", "431", "too_large"),
            ("b'GET /' + b'a' * 20000 + b' HTTP/1.1\\r\\n\\r\\n'", "414", "too_large"),
            ("b'GET / HTTP/1.1\\r\\n' + b'A: b\\r\\n' * 500 + b'\\r\\n'", "431", "too_large"),
            (
                "b'POST /metrics HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: 9999999\\r\\n\\r\\n' + b'a' * 1000",
                "413",
                "too_large",
            ),
            ("b'\\x16\\x03\\x01 hello\\r\\n\\r\\n'", "400", "malformed"),
        ] {
            let counted = turned_away(reason)?;
            strangers.run("one = connect(there); one.settimeout(5)")?;
            strangers.run(&format!("one.sendall({request})"))?;
            let answer = strangers.ask("one.recv(4096).split(b'\\r\\n')[0].decode()")?;
            let answer = answer.as_str().unwrap_or_default();
            ensure!(
                answer.contains(status) || (status == "414" && answer.contains("431")),
                "{request}: {answer}"
            );
            ensure!(turned_away(reason)? > counted, "{request} is not counted");
        }
        ensure!(agent.get("/healthz")? == "ok\n", "it does not live");
        Ok(())
    }

    /// Guesses of passwords from one address neither keep a user out nor take the processor.
    #[test]
    fn guessing_is_slow_and_users_are_not() -> anyhow::Result<()> {
        let credentials = Credentials::new()?;
        let costly = "import bcrypt; print(bcrypt.hashpw(b'one', bcrypt.gensalt(10)).decode())";
        let hash = python(costly, &[], Path::new("/dev/null"))?;
        credentials.write("web.yml", &format!("basic_auth_users: {{alice: {hash}}}\n"))?;
        let agent = Agent::start_guarded(&["--web-config", &credentials.path("web.yml")])?;
        let address = agent.address().to_owned();
        // Known before the others come, as who scrapes is.
        let scrape = || credentials.curl(&["--user", "alice:one", &format!("http://{address}/metrics")]);
        assert_eq!(scrape()?.0, 200);
        let ticks = || -> anyhow::Result<u64> {
            let stat = fs::read_to_string(format!("/proc/{}/stat", agent.pid()))?;
            let fields: Vec<&str> = stat.rsplit_once(") ").context("no name")?.1.split(' ').collect();
            Ok(fields[11].parse::<u64>()? + fields[12].parse::<u64>()?)
        };
        let mut guessers = Puppet::start("guessers")?;
        let guess = format!(
            "exec('''def guess(seconds):
        import http.client, threading, base64
        end, answers = time.monotonic() + seconds, []
        def work(number):
            while time.monotonic() < end:
                try:
                    client = http.client.HTTPConnection(\"{address}\", timeout=10)
                    secret = base64.b64encode(b\"alice:%d\" % number).decode()
                    client.request(\"GET\", \"/metrics\", headers={{\"Authorization\": \"Basic \" + secret}})
                    answers.append(client.getresponse().status)
                    time.sleep(0.05)
                except OSError: pass
        threads = [threading.Thread(target=work, args=[number]) for number in range(16)]
        for one in threads: one.start()
        for one in threads: one.join()
        return [answers.count(401), answers.count(429), len(answers)]
    ''', globals())"
        );
        guessers.run(&guess.replace('\n', "\\n"))?;
        let (start, used) = (Instant::now(), ticks()?);
        guessers.tell("guess(3)")?;
        let mut scrapes = 0;
        while start.elapsed() < Duration::from_millis(2_500) {
            let before = Instant::now();
            let (status, text) = scrape()?;
            ensure!(status == 200, "{status}: {text}");
            ensure!(before.elapsed() < Duration::from_secs(1), "a scrape took {:?}", before.elapsed());
            scrapes += 1;
            sleep(Duration::from_millis(100));
        }
        let answers: [u64; 3] = serde_json::from_value(guessers.answer()?)?;
        let [wrong, busy, all] = answers;
        let share = (ticks()? - used) as f64 / 100.0 / start.elapsed().as_secs_f64();
        println!(
            "{scrapes} scrapes; of {all} guesses {wrong} looked at, {busy} turned away; {share:.2} of a processor"
        );
        ensure!(wrong > 0 && busy > 0 && wrong + busy == all, "{answers:?}");
        ensure!(share < 0.5, "{share} of a processor");
        Ok(())
    }
}
