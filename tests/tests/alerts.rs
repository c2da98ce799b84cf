//! Incidents played against real servers, watched by a real Prometheus with the rules of `deploy/`, which tells a
//! real Alertmanager, which tells a channel: each alert is pending, fires, is told once, and that it is over,
//! once. Meanwhile every panel of every dashboard shows data.
//!
//! What waits for minutes waits for seconds here: Prometheus's durations are a sixtieth (ranges included),
//! Alertmanager's a fortieth, and nothing else is different.

// Alerts are about rates and pools of the whole host: what others do would be told, too.
// needs: host
// takes: 35 s

use std::collections::BTreeSet;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use observer_tests::agent::Agent;
use observer_tests::alertmanager::{Alertmanager, Channel, Posts};
use observer_tests::dashboards;
use observer_tests::deployed::all_rules;
use observer_tests::http::shop::Shop;
use observer_tests::postgres::clients::{Clients as Pool, Library as Driver, State};
use observer_tests::postgres::server::Server as Postgres;
use observer_tests::prometheus::Prometheus;
use observer_tests::puppet::Puppet;
use observer_tests::redis::clients::{Clients as Cache, Library, Protocol};
use observer_tests::redis::server::{Server as Redis, Transport};
use observer_tests::talk::Talk;
use serde_json::Value;

const PROMETHEUS_DIVISOR: u32 = 60;
const ALERTMANAGER_DIVISOR: u32 = 40;
/// The 10 minutes in which an alert is told at most once.
const ONCE: Duration = Duration::from_secs(10 * 60 / ALERTMANAGER_DIVISOR as u64);
/// How long all alerts may take to be told, and to be over.
const PATIENCE: Duration = Duration::from_secs(45);

/// Queries that rightly give nothing here: their panel, of which metric, and why.
const EMPTY: [(&str, &str, &str); 4] = [
    ("observer-postgres / Sessions refused", "observer_db_sessions_refused_total", "no server refuses any"),
    ("observer-node / Retransmits", "observer_retransmits_total", "loopback loses no segment"),
    ("observer-node / What it missed", "observer_series_folded_total", "no family has so many series"),
    (
        "observer-websocket / Messages of a user in a minute",
        "user_messages_per_minute_bucket",
        "no connection has been open for a whole one",
    ),
];

/// An alert that must come of an incident.
#[derive(Clone, Debug)]
struct Expected {
    name: &'static str,
    severity: &'static str,
    /// What its message names: the process, or the server.
    whose: String,
    /// Fires in the moment that its condition holds.
    at_once: bool,
}

/// Everything that traffic is played with. Dropping it ends all.
struct Scene {
    postgres: Postgres,
    pool: Pool,
    slow: Pool,
    redis: Redis,
    filled: Cache,
    penetrated: Cache,
    oversized: Talk,
    huge: Talk,
    burst: Talk,
    users: (Puppet, Puppet),
    worker: Pool,
    shop: Shop,
    /// Others, that are done, and whose counts stay as long as they do.
    _odd: Vec<Talk>,
}

impl Scene {
    /// Processes that do what they do every day: every row is there before it grows, as counters of a service
    /// that has run for a while are.
    fn open(redis: Redis) -> anyhow::Result<Self> {
        let postgres = Postgres::start()?;
        let pool = |driver, count| -> anyhow::Result<Pool> {
            let mut clients = Pool::start(driver, &postgres.tcp())?;
            clients.login(count)?;
            Ok(clients)
        };
        let mut worker = pool(Driver::Psycopg, 3)?;
        worker.put(&[(State::Idle, 1), (State::InTransaction, 1), (State::Failed, 1)])?;
        worker.puppet()?.run("run(0, 'CREATE TABLE t (i int)')")?;

        let cache = || -> anyhow::Result<Cache> {
            let mut clients = Cache::start(Library::Python, Protocol::Resp2, &redis.target())?;
            clients.login(1)?;
            clients.puppet()?.run("[sessions[0].set(f'user:{n}', 'x', ex=900) for n in range(20)][0]")?;
            clients.puppet()?.run("[sessions[0].get(f'user:{n}') for n in range(20)][0]")?;
            Ok(clients)
        };
        let (mut filled, penetrated) = (cache()?, cache()?);
        let wrong = filled.puppet()?.ask("run(0, [['SET', 'kept', 'x'], ['LPUSH', 'kept', '1']])")?;
        ensure!(wrong.to_string().contains("WRONGTYPE"), "{wrong}");
        filled.puppet()?.run("sessions[0].rpush('jobs', 1); sessions[0].lpop('jobs')")?;

        let talk = |name: &str, size: u32| -> anyhow::Result<Talk> {
            let mut talk = Talk::open([&format!("{name}-client"), &format!("{name}-server")])?;
            talk.server.tell("receive_to_end(one)")?;
            talk.client.run(&format!("one.sendall(frame({size}, True))"))?;
            Ok(talk)
        };
        let shop = Shop::open(worker.puppet()?)?;
        Ok(Self {
            shop,
            pool: pool(Driver::Asyncpg, 20)?,
            slow: pool(Driver::Asyncpg, 1)?,
            worker,
            postgres,
            filled,
            penetrated,
            redis,
            oversized: talk("over", 2_000_000)?,
            huge: talk("huge", 6_000_000)?,
            burst: Talk::open(["burst-client", "burst-server"])?,
            users: crowd()?,
            _odd: odd()?,
        })
    }

    /// What goes wrong, all at once, and what must be told of it.
    fn play(&mut self, instance: &str) -> anyhow::Result<Vec<Expected>> {
        // Every connection of a pool is in use.
        self.pool.put(&[(State::Active, 20)])?;
        // 20,000 messages a second for 15 s.
        self.burst.start(20_000, 100, 15)?;
        // More in a cache than there is room for, and its INFO.
        let cache = self.filled.puppet()?;
        cache.run("[sessions[0].set(f'page:{n}', 'x' * 10_000, ex=3600) for n in range(2000)][0]")?;
        cache.run("sessions[0].info()['used_memory']")?;
        // More jobs than anybody does.
        cache.run("[sessions[0].rpush('jobs', n) for n in range(200)][0]")?;

        let alert = |name, severity, whose: &str, at_once| Expected {
            name,
            severity,
            whose: whose.to_owned(),
            at_once,
        };
        Ok(vec![
            alert("DatabaseConnectionPoolExhausted", "CRITICAL", &self.pool.process, false),
            alert("DatabaseConnectionAcquisitionSlow", "WARNING", &self.slow.process, false),
            alert("RedisLowCacheHitRate", "WARNING", &self.penetrated.process, false),
            alert("RedisMemoryNearLimit", "WARNING", &self.redis.target().label(), false),
            alert("MessageQueueBacklogAccumulating", "WARNING", &self.redis.target().label(), false),
            alert("QueueProcessingSlowing", "WARNING", &self.redis.target().label(), false),
            alert("QueueLengthHigh", "WARNING", &self.redis.target().label(), false),
            alert("OversizedMessageDetected", "WARNING", "over-server", true),
            alert("MessageSizeBurstDetected", "CRITICAL", "huge-server", false),
            alert("GlobalMessageRateBurst", "WARNING", instance, false),
            alert("ExcessivePerUserRate", "WARNING", "crowd-server", false),
            // Of both ends, the server's is told.
            alert("HttpErrorRateHigh", "WARNING", self.shop.names()[0], false),
            alert("HttpProviderFailing", "WARNING", self.shop.names()[1], false),
            alert("HttpRequestsSlow", "WARNING", self.shop.slow(), false),
            alert("DatabaseQueriesPerRequestHigh", "WARNING", &self.worker.process, false),
        ])
    }

    /// Repeats each incident that has not been told of. One that is over at once may come and go between two scrapes,
    /// or before Alertmanager sends, and is rightly not told then.
    fn go_on(&mut self, missing: &[&Expected]) -> anyhow::Result<()> {
        for alert in missing {
            match alert.name {
                // A server that takes its time to accept.
                "DatabaseConnectionAcquisitionSlow" => {
                    self.postgres.pause()?;
                    self.slow.puppet()?.run("login_together(1)")?;
                    sleep(Duration::from_millis(1_500));
                    self.postgres.resume()?;
                    self.slow.puppet()?.run("logged_in()")?;
                }
                // Requests for what is in no cache.
                "RedisLowCacheHitRate" => {
                    self.penetrated
                        .puppet()?
                        .run("[sessions[0].get(f'search:{n}') for n in range(50)][0]")?;
                }
                "OversizedMessageDetected" => {
                    self.oversized
                        .client
                        .run("for _ in range(8): one.sendall(frame(2_000_000, True)); time.sleep(0.1)")?;
                }
                "MessageSizeBurstDetected" => self.huge.client.run("one.sendall(frame(6_000_000, True))")?,
                // Three more users who say too much.
                "ExcessivePerUserRate" => {
                    let (client, server) = &mut self.users;
                    client.run("opened = opened[3:] + opened[:3]")?;
                    server.run("served = served[3:] + served[:3]")?;
                    client.run("for one in opened[:3]: one.sendall(frame(5, True) * 150)")?;
                    server.run("receive(served[:3], 150 * 11)")?;
                }
                // Goes on by itself.
                _ => {}
            }
        }
        Ok(())
    }

    /// What goes on meanwhile.
    fn work(&mut self) -> anyhow::Result<()> {
        let statements = ["BEGIN", "INSERT INTO t VALUES (1)", "SELECT i FROM t", "COMMIT", "SELECT 1/0"];
        let told =
            self.worker.puppet()?.ask(&statements.map(|one| format!("run(0, '{one}')")).join(" + "))?;
        ensure!(told == serde_json::json!(["22012"]), "{told}");
        self.shop.work(self.worker.puppet()?)?;
        let cache = self.filled.puppet()?;
        cache.run("sessions[0].rpush('jobs', 1, 2); sessions[0].lpop('jobs')")?;
        cache.run("sessions[0].set('user:0', 'x', ex=900) and sessions[0].get('user:0')")
    }

    /// Ends what does not end by itself.
    fn calm(&mut self) -> anyhow::Result<()> {
        ensure!(self.postgres.cancel_all()? == 20, "not all sessions were active");
        self.shop.calm()?;
        let cache = self.filled.puppet()?;
        cache.run("while sessions[0].lpop('jobs'): pass")?;
        cache.run("sessions[0].config_set('maxmemory', '256mb'); sessions[0].info()['used_memory']")
    }
}

/// A hundred users of one server, one of whom has said too much before.
fn crowd() -> anyhow::Result<(Puppet, Puppet)> {
    let (mut client, mut server) = (Puppet::start("crowd-client")?, Puppet::start("crowd-server")?);
    let port = server.listen()?;
    client.run(&format!("opened = connect_all(('127.0.0.1', {port}), 100)"))?;
    server.run("served = accept_all(listener, 100)")?;
    client.run("for one in opened: ask_upgrade(one)")?;
    server.run("for one in served: grant_upgrade(one)")?;
    client.run("for one in opened: finish_upgrade(one)")?;
    client.run("opened[0].sendall(frame(5, True) * 150)")?;
    server.run("receive(served[:1], 150 * 11)")?;
    Ok((client, server))
}

/// What is rare: a frame that breaks the RFC, a user who is turned away, a stream that cannot be followed, and
/// connects that are refused.
fn odd() -> anyhow::Result<Vec<Talk>> {
    let mut broken = Talk::open(["odd-client", "odd-server"])?;
    broken.client.run("one.sendall(frame(5, False) + frame(5, True))")?;
    broken
        .server
        .run("receive([one], 7 + 11); one.sendall(header(2, False, 8) + struct.pack('>H', 1008))")?;
    broken.client.run("receive([one], 4); one.close()")?;
    broken.server.run("one.close()")?;
    let mut lost = Talk::open(["lost-client", "lost-server"])?;
    lost.client.run("one.sendall(header(1 << 63, True) + filler(100))")?;
    lost.server.run("receive([one], 114)")?;
    let refused = lost.client.ask("[try_connect(('127.0.0.1', 1)) for _ in range(5)]")?;
    ensure!(refused[0] == libc::ECONNREFUSED, "{refused}");
    Ok(vec![broken, lost])
}

/// The states that an alert has been in, as Prometheus has recorded them.
fn states(prometheus: &Prometheus, alert: &Expected) -> anyhow::Result<BTreeSet<String>> {
    let samples =
        prometheus.query(&format!("last_over_time(ALERTS{{alertname=\"{}\"}}[10m])", alert.name))?;
    let labels = samples.iter().map(|sample| &sample["metric"]);
    let whose = ["process", "server", "instance"];
    let its = labels.filter(|labels| whose.iter().any(|label| labels[label] == *alert.whose));
    Ok(its.filter_map(|labels| Some(labels["alertstate"].as_str()?.to_owned())).collect())
}

/// A message, as far as it must be known.
#[derive(Debug)]
struct Message {
    at: Instant,
    title: String,
    color: String,
    text: String,
}

fn messages(posts: &Posts) -> anyhow::Result<Vec<Message>> {
    let read = |(at, post): &(Instant, Value)| {
        let [attachment] = post["attachments"].as_array().map(Vec::as_slice).unwrap_or_default() else {
            anyhow::bail!("no attachment: {post}");
        };
        ensure!(post["username"] == "observer", "{post}");
        let part = |name: &str| {
            attachment[name].as_str().map(str::to_owned).with_context(|| format!("{name}: {post}"))
        };
        Ok(Message { at: *at, title: part("title")?, color: part("color")?, text: part("text")? })
    };
    posts.iter().map(read).collect()
}

/// Messages of an alert.
fn of<'a>(messages: &'a [Message], alert: &Expected) -> Vec<&'a Message> {
    messages.iter().filter(|message| message.title.split(' ').any(|word| word == alert.name)).collect()
}

/// Fails unless an alert was told as it must be: once, and once that it is over.
fn told_once(messages: &[Message], alert: &Expected, instance: &str) -> anyhow::Result<()> {
    let told = of(messages, alert);
    let over = told.iter().filter(|message| message.title.starts_with("RESOLVED")).count();
    let [first, between @ .., last] = &told[..] else { anyhow::bail!("{alert:?} was told so: {told:?}") };
    ensure!(over == 1 && last.title == format!("RESOLVED {} on {instance}", alert.name), "{told:?}");
    ensure!(last.color == "good" && last.text.starts_with("Over: "), "{last:?}");
    for message in [first].into_iter().chain(between) {
        let color = if alert.severity == "CRITICAL" { "danger" } else { "warning" };
        ensure!(message.title == format!("{} {} on {instance}", alert.severity, alert.name), "{message:?}");
        // One alert: of two ends of a connection, one is told.
        ensure!(message.color == color && message.text.matches("*First:* ").count() == 1, "{message:?}");
        ensure!(message.text.contains(&alert.whose), "{} is not in {message:?}", alert.whose);
    }
    // What still fired after that time was told again; sooner, nothing is.
    for two in told.windows(2) {
        let apart = two[1].at - two[0].at;
        ensure!(apart + Duration::from_millis(500) > ONCE, "{apart:?} between {two:?}");
    }
    Ok(())
}

/// The queries that give nothing now, of all dashboards, and should.
fn empty(prometheus: &Prometheus) -> anyhow::Result<Vec<String>> {
    let mut empty = Vec::new();
    for (_, dashboard) in dashboards::all()? {
        for (panel, _, query) in dashboard.queries("30s", "60s")? {
            let called = dashboard.called(panel);
            let may_be = EMPTY.iter().any(|(name, metric, _)| *name == called && query.contains(metric));
            if !may_be && prometheus.query(&query)?.is_empty() {
                empty.push(format!("{called}: {query}"));
            }
        }
        for (name, selector, label) in dashboard.offered()? {
            if prometheus.label_values(&selector, &label)?.is_empty() {
                empty.push(format!("{}: nothing to choose as {name}", dashboard.uid));
            }
        }
    }
    Ok(empty)
}

#[test]
fn incidents_are_told_once_and_dashboards_show_them() -> anyhow::Result<()> {
    let channel = Channel::open()?;
    let alertmanager = Alertmanager::start(&channel, ALERTMANAGER_DIVISOR)?;
    let redis =
        Redis::start_with(Transport::Tcp, &["--maxmemory", "16mb", "--maxmemory-policy", "allkeys-lru"])?;
    let agent = Agent::start(&["--redis-info", &format!("redis://{}", redis.target().label())])?;
    let instance = agent.address().to_owned();
    let prometheus = Prometheus::start(&instance, &alertmanager.address(), PROMETHEUS_DIVISOR)?;
    let mut scene = Scene::open(redis)?;
    // Scraped more than once.
    sleep(Duration::from_millis(2_500));
    assert_eq!(channel.posts(), [], "nothing has gone wrong yet");

    let start = Instant::now();
    let expected = scene.play(&instance)?;
    loop {
        scene.work()?;
        let told = messages(&channel.posts())?;
        let missing: Vec<_> = expected.iter().filter(|alert| of(&told, alert).is_empty()).collect();
        if missing.is_empty() {
            break;
        }
        scene.go_on(&missing)?;
        let (alerts, log) = (prometheus.query("ALERTS")?, alertmanager.log()?);
        ensure!(start.elapsed() < PATIENCE, "not told: {missing:#?}\nof {alerts:#?}\ntold: {told:#?}\n{log}");
        sleep(Duration::from_millis(100));
    }
    eprintln!("all told after {:?}", start.elapsed());
    scene.calm()?;
    prometheus.all_rules_work(all_rules()?.len())?;
    let nothing = empty(&prometheus)?;
    assert!(nothing.is_empty(), "no data:\n{}", nothing.join("\n"));
    let burst = scene.burst.sent(100)?;
    assert!(burst > 15_000.0, "the generator is too slow: {burst} messages a second");

    for alert in &expected {
        let states = states(&prometheus, alert)?;
        let expected: &[&str] = if alert.at_once { &["firing"] } else { &["firing", "pending"] };
        assert!(states.iter().eq(expected), "{alert:?}: {states:?}");
    }

    loop {
        let told = messages(&channel.posts())?;
        let over =
            |alert: &&Expected| of(&told, alert).iter().any(|message| message.title.starts_with("RESOLVED"));
        if expected.iter().all(|alert| over(&alert)) {
            break;
        }
        ensure!(start.elapsed() < 2 * PATIENCE, "not over: {told:#?}");
        sleep(Duration::from_millis(100));
    }
    eprintln!("all over after {:?}", start.elapsed());
    // Nothing comes after.
    sleep(Duration::from_secs(2));
    let told = messages(&channel.posts())?;
    for alert in &expected {
        told_once(&told, alert, &instance)?;
    }
    let expected: usize = expected.iter().map(|alert| of(&told, alert).len()).sum();
    assert_eq!(expected, told.len(), "nothing else is told: {told:#?}");
    Ok(())
}
