//! What workers wait for in lists of Redis: how many messages there are, and how long each has been there, as those that put
//! them in and took them out say.

// They keep both processors busy, beside which others would measure other times.
// needs: host
// takes: 26 s
// at once: 6 tests

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use anyhow::ensure;
use observer_tests::agent::Agent;
use observer_tests::queues::crew::Crew;
use observer_tests::queues::truth::{Age, BOUNDS, Puts, Span, Truth, age, interpolated, now, step, timed};
use observer_tests::queues::{Lists, Queue};
use observer_tests::redis::Address;
use observer_tests::redis::clients::Protocol;
use observer_tests::redis::server::{Server, Transport};
use observer_tests::redis::shown::{View, shared};
use observer_tests::websocket::{own_name, unique_name};

#[test]
fn several_workers_and_pipelines() -> anyhow::Result<()> {
    let server = Server::start()?;
    let (agent, losses) = shared()?;
    let names = [unique_name("put"), unique_name("take")];
    let mut producers = Crew::start(&names[0], 1, Protocol::Resp2, &server)?;
    let mut workers = Crew::start(&names[1], 3, Protocol::Resp2, &server)?;
    let queue = Queue::new("jobs", &server, &[&names[0], &names[1]]);
    let mut lists = Lists::of(&server, 0)?;
    let (mut puts, mut truth) = (Puts::default(), Truth::default());

    // Workers that wait get each as it comes.
    workers.tell("take(['jobs'], 100)")?;
    truth.put += producers.put("produce('jobs', 0, [1, 2, 5, 20, 50, 1, 1, 100, 120])", &mut puts)?;
    for told in workers.answers()? {
        truth.ages.extend(puts.ages(&told)?);
    }
    queue.expect(&agent, &truth)?;
    queue.expect_length(&agent, &mut lists)?;

    // They come later and later, one or several at a time, while more are put in.
    let mut first = 300;
    for (wait, count, batch) in [(250, 60, 1), (500, 40, 10), (1_500, 50, 1), (3_500, 60, 25), (0, 10, 1)] {
        let put = format!("produce('jobs', {first}, [1, 7, 1, 90, 1, 100])");
        let put = producers.put(&put, &mut puts)?;
        (truth.put, first) = (truth.put + put, first + put);
        thread::sleep(Duration::from_millis(wait));
        truth.ages.extend(workers.take(&format!("take(['jobs'], {count}, {batch})"), &mut puts)?);
        queue.expect(&agent, &truth)?;
        queue.expect_length(&agent, &mut lists)?;
    }
    let left = queue.expect_length(&agent, &mut lists)?;
    truth.ages.extend(workers.take(&format!("take(['jobs'], {})", left / 4.0), &mut puts)?);
    queue.expect(&agent, &truth)?;

    // Each process did what it did.
    let label = server.target().label();
    let metrics = agent.scrape()?;
    let of = |name: &String| queue.shown(&[View::client(name, &label)], &metrics);
    let [put, taken] = [truth.put, truth.ages.len()].map(|count| count as f64);
    let (producer, worker) = (of(&names[0]), of(&names[1]));
    ensure!([producer.put, producer.taken, producer.ages[7]] == [put, 0.0, 0.0], "{producer:?}");
    ensure!([worker.put, worker.taken, worker.ages[7]] == [0.0, taken, taken], "{worker:?}");
    ensure!(producer.length.is_none() && worker.length.is_some(), "{producer:?} {worker:?}");
    losses.no_more(&agent)
}

/// Messages of a burst, and at most so many that a worker takes at a time, and so many workers.
const BURST: usize = 100_000;
const BATCH: usize = 20;
const WORKERS: usize = 2;

/// Puts in so many, some hundred at a time, with a pause. Tells when each was.
fn burst(client: &redis::Client) -> anyhow::Result<Vec<Span>> {
    let mut connection = client.get_connection()?;
    let mut puts = Vec::new();
    while puts.len() < BURST {
        let mut pipeline = redis::pipe();
        for number in puts.len()..puts.len() + 500 {
            pipeline.cmd("LPUSH").arg("burst").arg(format!("message {number}")).ignore();
        }
        let (span, ()) = timed(|| Ok(pipeline.query(&mut connection)?))?;
        puts.extend([span; 500]);
        if puts.len() == BURST / 2 {
            thread::sleep(Duration::from_millis(1_200));
        }
    }
    Ok(puts)
}

/// Takes messages out at a steady pace until there are no more. Tells the numbers that each call took, and when.
fn drain(client: &redis::Client) -> anyhow::Result<Vec<(Vec<usize>, Span)>> {
    let mut connection = client.get_connection()?;
    let (start, mut taken) = (Instant::now(), Vec::new());
    loop {
        let mut pipeline = redis::pipe();
        (0..BATCH).for_each(|_| _ = pipeline.cmd("RPOP").arg("burst"));
        let (span, replies) = timed(|| Ok(pipeline.query::<Vec<Option<String>>>(&mut connection)?))?;
        let numbers: Vec<usize> =
            replies.iter().flatten().filter_map(|text| text.strip_prefix("message ")?.parse().ok()).collect();
        if numbers.is_empty() {
            return Ok(taken);
        }
        taken.push((numbers, span));
        let next = start + Duration::from_millis(5) * u32::try_from(taken.len())?;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

#[test]
fn a_burst_of_which_the_last_waits_long() -> anyhow::Result<()> {
    let server = Server::start()?;
    let (agent, losses) = shared()?;
    let own = own_name()?;
    let queue = Queue::new("burst", &server, &[&own]);
    let mut lists = Lists::of(&server, 0)?;
    let Address::Tcp(port) = server.target() else { anyhow::bail!("no port") };
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}"))?;
    let puts = burst(&client)?;
    ensure!(lists.length("burst")? == BURST as f64, "{puts:?}");

    let workers: Vec<_> = (0..WORKERS)
        .map(|_| {
            let client = client.clone();
            thread::spawn(move || drain(&client))
        })
        .collect();
    // Before the first is taken out, it may be no queue.
    thread::sleep(Duration::from_millis(100));
    let in_flight = (WORKERS * BATCH) as f64;
    let mut samples = 0;
    let mut rates = Vec::new();
    loop {
        let (most, begun) = (lists.length("burst")?, now());
        let metrics = agent.scrape()?;
        let (least, done) = (lists.length("burst")?, now());
        if least < 2.0 * in_flight {
            break;
        }
        samples += 1;
        // The next to go is one of these, as far as its time is known.
        let next = |length: f64| {
            let taken = (0..BURST).take_while(|&number| (BURST - number) as f64 > length);
            taken.count().min(BURST - 1)
        };
        let step = step(BURST - next(most));
        let [eldest, youngest] =
            [next(most + in_flight).saturating_sub(step), (next(least - in_flight) + step).min(BURST - 1)];
        let oldest = [age(puts[youngest], [begun, done])[0], age(puts[eldest], [begun, done])[1]];
        for end in queue.ends() {
            let shown = queue.shown(end, &metrics);
            let is_within = |value: Option<f64>, [least, most]: [f64; 2]| {
                value.is_some_and(|value| value >= least && value <= most)
            };
            ensure!(
                is_within(shown.length, [least - in_flight, most + in_flight]),
                "{least} to {most} messages: {end:?} {shown:?}"
            );
            ensure!(
                is_within(shown.oldest, [oldest[0] - 0.003, oldest[1] + 0.003]),
                "{oldest:?} s: {end:?} {shown:?}"
            );
        }
        rates.push((
            done,
            queue.ends().map(|end| queue.sum(end, &metrics, "queue_consumer_rate_per_second", &[])),
        ));
        thread::sleep(Duration::from_millis(300));
    }
    ensure!(samples > 10, "too fast: {samples} samples");
    let mut truth = Truth { put: BURST, ..Truth::default() };
    let mut calls = Vec::new();
    for worker in workers {
        calls.extend(worker.join().map_err(|_| anyhow::anyhow!("a worker panicked"))??);
    }
    // Put in and taken out in the same order.
    for (numbers, span) in &calls {
        truth.ages.extend(numbers.iter().map(|&number| -> Age { age(interpolated(&puts, number), *span) }));
    }
    ensure!(truth.ages.len() == BURST, "{} were taken", truth.ages.len());
    queue.expect(&agent, &truth)?;
    ensure!(queue.expect_length(&agent, &mut lists)? == 0.0, "some are left");
    // The last ten seconds are those up to some time in the second before.
    let (at, shown) = rates[rates.len() - 1];
    let taken = |[from, to]: [u64; 2]| {
        let within = calls.iter().filter(|(_, span)| at - span[1] >= from && at - span[1] < to);
        within.map(|(numbers, _)| numbers.len()).sum::<usize>() as f64
    };
    let second = 1_000_000_000;
    let [least, most] = [taken([second + second / 4, 10 * second]), taken([0, 11 * second + second / 4])];
    ensure!(
        shown.iter().all(|rate| rate * 10.0 >= least && rate * 10.0 <= most),
        "{least} to {most} in ten seconds: {shown:?}"
    );
    losses.no_more(&agent)
}

/// Threads that put in, as many that take out, and how many messages each of the former puts in.
const PAIRS: usize = 4;
const EACH: usize = 60_000;

/// Puts messages in as fast as it can, now one and now some at a time.
fn flood(client: &redis::Client) -> anyhow::Result<()> {
    let mut connection = client.get_connection()?;
    let mut put = 0;
    while put < EACH {
        let count = (1 + put % 7).min(EACH - put);
        let mut pipeline = redis::pipe();
        (0..count).for_each(|_| _ = pipeline.cmd("LPUSH").arg("flood").arg("message").ignore());
        let () = pipeline.query(&mut connection)?;
        put += count;
    }
    Ok(())
}

/// Takes messages out likewise, until there are none: tells how many. While some are still put in, it leaves a good many: a
/// message that is taken before the call has returned that put it in has no age at its clients' end.
fn ebb(client: &redis::Client, is_over: &AtomicBool) -> anyhow::Result<usize> {
    let mut connection = client.get_connection()?;
    let mut taken = 0;
    loop {
        let was_over = is_over.load(Ordering::Acquire);
        let left: usize = redis::cmd("LLEN").arg("flood").query(&mut connection)?;
        if was_over && left == 0 {
            return Ok(taken);
        }
        if !was_over && left < 1_000 {
            thread::sleep(Duration::from_millis(1));
            continue;
        }
        for _ in 0..4 {
            let mut pipeline = redis::pipe();
            (0..=taken % 5).for_each(|_| _ = pipeline.cmd("RPOP").arg("flood"));
            taken += pipeline.query::<Vec<Option<String>>>(&mut connection)?.iter().flatten().count();
        }
    }
}

/// Both processors have to do with the same queue all the time. None of its messages may be counted twice, or not at all, or
/// as one of an unknown age.
#[test]
fn many_at_once() -> anyhow::Result<()> {
    let server = Server::start()?;
    let (agent, losses) = shared()?;
    let own = own_name()?;
    let queue = Queue::new("flood", &server, &[&own]);
    let mut lists = Lists::of(&server, 0)?;
    let Address::Tcp(port) = server.target() else { anyhow::bail!("no port") };
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}"))?;
    let is_over = AtomicBool::new(false);
    let taken = thread::scope(|scope| -> anyhow::Result<usize> {
        let producers: Vec<_> = (0..PAIRS).map(|_| scope.spawn(|| flood(&client))).collect();
        let consumers: Vec<_> = (0..PAIRS).map(|_| scope.spawn(|| ebb(&client, &is_over))).collect();
        let put: Vec<_> = producers.into_iter().map(ScopedJoinHandle::join).collect();
        is_over.store(true, Ordering::Release);
        let taken: Vec<_> = consumers.into_iter().map(ScopedJoinHandle::join).collect();
        let panicked = |_| anyhow::anyhow!("a thread panicked");
        put.into_iter().try_for_each(|result| result.map_err(panicked)?)?;
        taken.into_iter().map(|result| result.map_err(panicked)?).sum()
    })?;
    ensure!(taken == PAIRS * EACH, "{taken} were taken");
    let metrics = agent.scrape()?;
    for end in queue.ends() {
        let shown = queue.shown(end, &metrics);
        let all = taken as f64;
        ensure!([shown.put, shown.taken, shown.unknown] == [all, all, 0.0], "{end:?}: {shown:?}");
        ensure!(shown.ages[BOUNDS.len()] == all, "{end:?}: {shown:?}");
    }
    ensure!(queue.expect_length(&agent, &mut lists)? == 0.0, "some are left");
    losses.no_more(&agent)
}

#[test]
fn workers_of_several_queues() -> anyhow::Result<()> {
    let server = Server::start()?;
    let (agent, losses) = shared()?;
    let name = unique_name("side");
    let mut producer = Crew::start(&name, 1, Protocol::Resp2, &server)?;
    let mut workers = Crew::start(&name, 2, Protocol::Resp2, &server)?;
    let queues = ["queue:critical", "queue:default"].map(|queue| Queue::new(queue, &server, &[&name]));
    let mut lists = Lists::of(&server, 0)?;
    let mut puts = [Puts::default(), Puts::default()];
    let mut truths = [Truth::default(), Truth::default()];
    let mut first = 0;
    for (wait, at_once) in [(0, true), (250, false), (1_500, false)] {
        if at_once {
            workers.tell("take(['queue:critical', 'queue:default'], 70)")?;
        }
        for (at, counts) in [(1, "[1, 10, 1, 88]"), (0, "[1] * 10 + [30]")] {
            let put = format!("produce('{}', {first}, {counts}, True)", queues[at].name);
            let put = producer.put(&put, &mut puts[at])?;
            (truths[at].put, first) = (truths[at].put + put, first + put);
        }
        if !at_once {
            thread::sleep(Duration::from_millis(wait));
            workers.tell("take(['queue:critical', 'queue:default'], 70)")?;
        }
        for told in workers.answers()? {
            let told = told.as_array().cloned().unwrap_or_default();
            // The number tells the queue.
            let (defaults, criticals): (Vec<_>, Vec<_>) =
                told.into_iter().partition(|one| one[0].as_u64().is_some_and(|number| number % 140 < 100));
            for (at, told) in [criticals, defaults].into_iter().enumerate() {
                truths[at].ages.extend(puts[at].ages(&told.into())?);
            }
        }
        for (queue, truth) in queues.iter().zip(&truths) {
            queue.expect(&agent, truth)?;
            queue.expect_length(&agent, &mut lists)?;
        }
    }
    ensure!(truths.iter().all(|truth| truth.ages.len() == truth.put), "some were left: {truths:?}");
    losses.no_more(&agent)
}

#[test]
fn a_worker_that_is_stopped() -> anyhow::Result<()> {
    let server = Server::start()?;
    let (agent, losses) = shared()?;
    let name = unique_name("stop");
    let mut producer = Crew::start(&name, 1, Protocol::Resp2, &server)?;
    let mut worker = Crew::start(&name, 1, Protocol::Resp2, &server)?;
    let queue = Queue::new("mail", &server, &[&name]);
    let mut lists = Lists::of(&server, 0)?;
    let (mut puts, mut truth) = (Puts::default(), Truth::default());
    truth.put += producer.put("produce('mail', 0, [1, 1, 1])", &mut puts)?;
    truth.ages.extend(worker.take("take(['mail'], 3)", &mut puts)?);
    queue.expect(&agent, &truth)?;

    worker.signal(libc::SIGSTOP)?;
    worker.wait_until_stopped()?;
    worker.tell("take(['mail'], 400)")?;
    let (mut first, start) = (3, Instant::now());
    truth.put += producer.put("produce('mail', 3, [1])", &mut puts)?;
    for second in 1..=12 {
        first += 1;
        let count = if second < 12 { 30 } else { 69 };
        truth.put += producer.put(&format!("produce('mail', {first}, [{count}])"), &mut puts)?;
        first += count - 1;
        let begun = now();
        let metrics = agent.scrape()?;
        let waited = age(puts.of(3)?, [begun, now()]);
        for end in queue.ends() {
            let shown = queue.shown(end, &metrics);
            let grown =
                shown.oldest.is_some_and(|oldest| oldest > waited[0] - 0.003 && oldest < waited[1] + 0.003);
            ensure!(grown, "{waited:?} s: {end:?} {shown:?}");
        }
        queue.expect_length(&agent, &mut lists)?;
        let next = start + Duration::from_secs(second);
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    ensure!(lists.length("mail")? == 400.0, "another number of messages");
    queue.expect(&agent, &truth)?;
    worker.signal(libc::SIGCONT)?;
    for told in worker.answers()? {
        truth.ages.extend(puts.ages(&told)?);
    }
    queue.expect(&agent, &truth)?;
    ensure!(queue.expect_length(&agent, &mut lists)? == 0.0, "some are left");
    losses.no_more(&agent)
}

/// A worker of a little patience, over another transport and in another protocol.
fn over(transport: Transport, protocol: Protocol) -> anyhow::Result<()> {
    let server = Server::start_with(transport, &[])?;
    let (agent, losses) = shared()?;
    let name = unique_name("over");
    let mut producer = Crew::start(&name, 1, protocol, &server)?;
    let mut workers = Crew::start(&name, 2, protocol, &server)?;
    let queue = Queue::new("jobs", &server, &[&name]);
    let mut lists = Lists::of(&server, 0)?;
    let (mut puts, mut truth) = (Puts::default(), Truth::default());
    for (round, wait) in [150, 700, 1_500].into_iter().enumerate() {
        let put =
            format!("produce('jobs', {}, [1, 10, 1, 88], {})", round * 100, ["False", "True"][round % 2]);
        truth.put += producer.put(&put, &mut puts)?;
        queue_is(&queue, &agent, &mut lists, round)?;
        thread::sleep(Duration::from_millis(wait));
        truth.ages.extend(workers.take("take(['jobs'], 40)", &mut puts)?);
        truth.ages.extend(workers.take("take(['jobs'], 8, 4)", &mut puts)?);
        queue.expect(&agent, &truth)?;
        queue.expect_length(&agent, &mut lists)?;
    }
    losses.no_more(&agent)
}

/// From the second round on it is a queue, and shown.
fn queue_is(queue: &Queue, agent: &Agent, lists: &mut Lists, round: usize) -> anyhow::Result<()> {
    match round {
        0 => queue.expect_nothing(&agent.scrape()?),
        _ => queue.expect_length(agent, lists).map(drop),
    }
}

#[test]
fn over_a_unix_socket() -> anyhow::Result<()> {
    over(Transport::Unix, Protocol::Resp2)
}

#[test]
fn in_resp3() -> anyhow::Result<()> {
    over(Transport::Tcp, Protocol::Resp3)
}

#[test]
fn in_resp3_over_a_unix_socket() -> anyhow::Result<()> {
    over(Transport::Unix, Protocol::Resp3)
}
