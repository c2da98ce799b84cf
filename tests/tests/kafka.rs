//! Kafka as its clients and its broker tell of it: what was put into topics, taken out and committed, how old it was, how far
//! consumers are behind, and requests. The broker is librdkafka's own for tests.

// Ages are known to lie between what both ends have measured, which beside other work is too wide to show anything.
// needs: host
// takes: 20 s
// at once: 4 tests

use std::thread;
use std::time::Duration;

use anyhow::ensure;
use observer_tests::agent::Agent;
use observer_tests::kafka::{Broker, Client, Counts, View, agree, connections, shared};
use observer_tests::queues::truth::{Puts, Truth};
use observer_tests::queues::{Queue, settle};

const PRODUCE: u8 = 0;
const OFFSET_COMMIT: u8 = 8;

/// When messages were put in: for who takes them out, and for who commits them.
#[derive(Clone, Debug, Default)]
struct Times {
    taken: Puts,
    committed: Puts,
}

impl Times {
    /// Has a producer put messages in, and tells how many.
    fn put(&mut self, producer: &mut Client, expression: &str) -> anyhow::Result<usize> {
        let told = producer.ask(expression)?;
        self.committed.add(&told)?;
        self.taken.add(&told)
    }
}

/// Both ends of everything are read to the last request.
fn all_is_read(agent: &Agent, broker: &mut Broker, clients: &[&Client]) -> anyhow::Result<()> {
    let view = broker.view();
    agree(agent, || broker.received(), |metrics| view.requests(metrics))?;
    let metrics = agent.scrape()?;
    for view in clients.iter().map(|client| client.view(broker)).chain([view]) {
        ensure!(view.not_read(&metrics) == [0.0; 2], "{view:?}: {:?}", view.not_read(&metrics));
    }
    let names: Vec<&str> = clients.iter().map(|client| &*client.process).collect();
    agree(
        agent,
        || broker.connections(),
        |metrics| {
            [connections(metrics, &names, "client"), connections(metrics, &[&broker.process], "server")]
        },
    )?;
    Ok(())
}

/// A member of a group and who puts in what it reads, with one library.
fn group_of(library: &str) -> anyhow::Result<()> {
    let mut broker = Broker::start(&[("orders", 3)])?;
    let (agent, losses) = shared()?;
    let mut producer = Client::start(library, &broker)?;
    let mut consumer = Client::start(library, &broker)?;
    let queue = Queue::topic("orders", &broker, &[&producer.process, &consumer.process]);
    let group = queue.of_group("billing");
    let (mut times, mut truth, mut acknowledged) = (Times::default(), Truth::default(), Truth::default());

    // One that waits gets what comes, once in each partition.
    producer.ask("produce('orders', 0, [])")?;
    consumer.join("['orders']", "billing")?;
    consumer.tell("take(3)")?;
    for partition in 0..3 {
        truth.put +=
            times.put(&mut producer, &format!("produce('orders', {partition}, [1], {partition})"))?;
    }
    truth.ages.extend(times.taken.ages(&consumer.answer()?)?);
    thread::sleep(Duration::from_millis(200));
    acknowledged.ages.extend(consumer.commit(1.0, &mut times.committed)?);
    group.expect_acknowledged(&agent, &acknowledged)?;
    group.expect_lag(&agent, 0.0)?;

    // It comes later and later, to one or several batches in each partition.
    let mut first = 3;
    for (wait, counts) in [(250, "[1, 19, 5]"), (700, "[30]"), (3_000, "[1, 1, 28]")] {
        let put = times.put(&mut producer, &format!("produce('orders', {first}, {counts})"))?;
        (truth.put, first) = (truth.put + put, first + put);
        thread::sleep(Duration::from_millis(wait));
        if wait > 1_000 {
            group.expect_lag(&agent, put as f64)?;
        }
        truth.ages.extend(consumer.take(put, &mut times.taken)?);
        acknowledged.ages.extend(consumer.commit(1.0, &mut times.committed)?);
        queue.expect(&agent, &truth)?;
        group.expect_acknowledged(&agent, &acknowledged)?;
        group.expect_lag(&agent, 0.0)?;
    }
    ensure!(consumer.behind("orders")? == 0.0, "the broker says something else");

    // It commits a part, and does no more while others come.
    for partition in 0..3 {
        let put =
            times.put(&mut producer, &format!("produce('orders', {first}, [8], partition={partition})"))?;
        (truth.put, first) = (truth.put + put, first + put);
    }
    thread::sleep(Duration::from_millis(200));
    truth.ages.extend(consumer.take(24, &mut times.taken)?);
    acknowledged.ages.extend(consumer.commit(0.5, &mut times.committed)?);
    group.expect_acknowledged(&agent, &acknowledged)?;
    group.expect_lag(&agent, 12.0)?;
    for more in 1..=3 {
        let put = times.put(&mut producer, &format!("produce('orders', {first}, [5])"))?;
        (truth.put, first) = (truth.put + put, first + put);
        group.expect_lag(&agent, 12.0 + 5.0 * f64::from(more))?;
    }
    ensure!(consumer.behind("orders")? == 27.0, "the broker says something else");
    group.expect_lag(&agent, 27.0)?;
    queue.expect(&agent, &truth)?;
    thread::sleep(Duration::from_millis(1_200));
    truth.ages.extend(consumer.take(15, &mut times.taken)?);
    acknowledged.ages.extend(consumer.commit(1.0, &mut times.committed)?);
    group.expect_lag(&agent, 0.0)?;
    group.expect_acknowledged(&agent, &acknowledged)?;
    queue.expect(&agent, &truth)?;
    ensure!(
        consumer.behind("orders")? == 0.0 && acknowledged.ages.len() == truth.put,
        "some are not committed"
    );

    // Each process did what it did.
    let metrics = agent.scrape()?;
    for (client, expected) in [(&producer, [first as f64, 0.0]), (&consumer, [0.0, first as f64])] {
        let own = queue.of_process(&client.process);
        let shown = own.shown(&own.clients, &metrics);
        ensure!([shown.put, shown.taken] == expected, "{client:?}: {shown:?}");
    }
    all_is_read(&agent, &mut broker, &[&producer, &consumer])?;
    losses.no_more(&agent)
}

#[test]
fn a_group_of_confluent_kafka() -> anyhow::Result<()> {
    group_of("confluent")
}

#[test]
fn a_group_of_kafka_python() -> anyhow::Result<()> {
    group_of("kafka-python")
}

#[test]
fn a_group_of_aiokafka() -> anyhow::Result<()> {
    group_of("aiokafka")
}

#[test]
fn consumers_without_a_group() -> anyhow::Result<()> {
    let topics = [("confluent", "one"), ("kafka-python", "two"), ("aiokafka", "three")];
    let mut broker = Broker::start(&topics.map(|(_, topic)| (topic, 2)))?;
    let (agent, losses) = shared()?;
    let mut producer = Client::start("confluent", &broker)?;
    producer.ask("produce('one', 0, [])")?;
    let mut consumers = Vec::new();
    for (library, topic) in topics {
        let (mut times, mut truth) = (Times::default(), Truth::default());
        for partition in 0..2 {
            let counts = "[1, 9, 10]";
            let first = 20 * partition;
            truth.put +=
                times.put(&mut producer, &format!("produce('{topic}', {first}, {counts}, {partition})"))?;
        }
        let mut consumer = Client::start(library, &broker)?;
        consumer.ask(&format!("assign(['{topic}'], 2)"))?;
        thread::sleep(Duration::from_millis(1_200));
        let queue = Queue::topic(topic, &broker, &[&producer.process, &consumer.process]);
        let alone = queue.of_group("");
        truth.ages.extend(consumer.take(40, &mut times.taken)?);
        alone.expect(&agent, &truth)?;
        alone.expect_clients_lag(&agent, 0.0)?;
        // It is behind what it has read.
        truth.put += times.put(&mut producer, &format!("produce('{topic}', 40, [12, 5])"))?;
        alone.expect_clients_lag(&agent, 17.0)?;
        thread::sleep(Duration::from_millis(1_200));
        truth.ages.extend(consumer.take(17, &mut times.taken)?);
        alone.expect(&agent, &truth)?;
        alone.expect_clients_lag(&agent, 0.0)?;
        // All of it is in this row, and nothing was acknowledged.
        queue.expect(&agent, &truth)?;
        queue.expect_acknowledged(&agent, &Truth { put: truth.put, ..Truth::default() })?;
        consumers.push(consumer);
    }
    let clients: Vec<&Client> = consumers.iter().chain([&producer]).collect();
    all_is_read(&agent, &mut broker, &clients)?;
    losses.no_more(&agent)
}

#[test]
fn two_groups_and_two_topics() -> anyhow::Result<()> {
    let mut broker = Broker::start(&[("orders", 4), ("mail", 1)])?;
    let (agent, losses) = shared()?;
    let mut producer = Client::start("confluent", &broker)?;
    let mut billing = Client::start("kafka-python", &broker)?;
    let mut audit = Client::start("aiokafka", &broker)?;
    let [orders, mail] = ["orders", "mail"]
        .map(|topic| Queue::topic(topic, &broker, &[&producer.process, &billing.process, &audit.process]));

    billing.join("['orders', 'mail']", "billing")?;
    audit.join("['orders']", "audit")?;
    let mut times = Times::default();
    let (mut of_orders, mut of_mail) = (Truth::default(), Truth::default());
    for partition in 0..4 {
        let first = 10 * partition;
        let put = format!("produce('orders', {first}, [10], {partition}, compression='gzip')");
        of_orders.put += times.put(&mut producer, &put)?;
    }
    let mut for_audit = times.clone();
    of_mail.put += times.put(&mut producer, "produce('mail', 40, [1, 19])")?;

    // One group reads both at once; the number tells the topic.
    thread::sleep(Duration::from_millis(1_200));
    let told = billing.ask("take(60)")?;
    let told = told.as_array().cloned().unwrap_or_default();
    let (mails, others): (Vec<_>, Vec<_>) =
        told.into_iter().partition(|one| one[0].as_u64().is_some_and(|number| number >= 40));
    of_mail.ages.extend(times.taken.ages(&mails.into())?);
    of_orders.ages.extend(times.taken.ages(&others.into())?);
    of_orders.ages.extend(audit.take(40, &mut for_audit.taken)?);
    orders.expect(&agent, &of_orders)?;
    mail.expect(&agent, &of_mail)?;

    // They commit each its own.
    let all = billing.commit(1.0, &mut times.committed)?;
    ensure!(all.len() == 60, "{} of 60", all.len());
    let half = audit.commit(0.5, &mut for_audit.committed)?;
    ensure!(half.len() == 20, "{} of 20", half.len());
    orders.of_group("audit").expect_acknowledged(&agent, &Truth { ages: half, ..Truth::default() })?;
    let acks = |queue: &Queue, group: &str, count: f64| {
        let queue = queue.of_group(group);
        queue.ends().into_iter().try_for_each(|end| {
            settle(&agent, |metrics| {
                let shown = queue.acknowledged(end, metrics);
                ensure!(shown.taken == count, "not {count} of {}: {end:?} {shown:?}", queue.name);
                Ok(())
            })
        })
    };
    acks(&orders, "billing", 40.0)?;
    acks(&mail, "billing", 20.0)?;
    acks(&mail, "audit", 0.0)?;
    let lags = |of_billing: f64, of_audit: f64, of_mail: f64| {
        orders.of_group("billing").expect_lag(&agent, of_billing)?;
        orders.of_group("audit").expect_lag(&agent, of_audit)?;
        mail.of_group("billing").expect_lag(&agent, of_mail)
    };
    lags(0.0, 20.0, 0.0)?;
    producer.ask("produce('orders', 100, [7, 8])")?;
    producer.ask("produce('mail', 200, [3])")?;
    lags(15.0, 35.0, 3.0)?;
    ensure!(
        [billing.behind("orders")?, audit.behind("orders")?, billing.behind("mail")?] == [15.0, 35.0, 3.0],
        "the broker says something else"
    );
    all_is_read(&agent, &mut broker, &[&producer, &billing, &audit])?;
    losses.no_more(&agent)
}

/// Of what is counted, what librdkafka's statistics tell as well: they leave out a client's first connection, which asks
/// what brokers there are.
fn compared(mut counts: Counts) -> Counts {
    counts.retain(|name, _| {
        !["api_versions", "find_coordinator", "metadata", "other"].contains(&name.as_str())
    });
    counts
}

#[test]
fn requests_and_their_errors() -> anyhow::Result<()> {
    let mut broker = Broker::start(&[("orders", 1)])?;
    let (agent, losses) = shared()?;
    let mut producer = Client::start_with("confluent", &broker, "retries=0")?;
    let mut consumer = Client::start("confluent", &broker)?;
    let views = [producer.view(&broker), consumer.view(&broker)];

    consumer.join("['orders']", "billing")?;
    producer.ask("produce('orders', 0, [1] * 20, 0)")?;
    consumer.ask("take(20)")?;
    consumer.ask("commit(0.5)")?;
    let sent =
        agree(&agent, || producer.counted().map(compared), |metrics| compared(views[0].requests(metrics)))?;
    ensure!(sent.get("produce").is_some_and(|&count| count >= 20.0), "{sent:?}");
    let sent =
        agree(&agent, || consumer.counted().map(compared), |metrics| compared(views[1].requests(metrics)))?;
    ensure!(sent.contains_key("fetch") && sent.contains_key("offset_commit"), "{sent:?}");
    let none = views[0].errors(&agent.scrape()?);
    ensure!(none.is_empty(), "nothing went wrong: {none:?}");

    // As often as the client was told so.
    broker.refuse(PRODUCE, &[10, 19, 10, 87])?;
    let told = producer.ask("try_produce('orders', 6)")?;
    let told: Vec<Option<String>> = serde_json::from_value(told)?;
    let count = |code: i32| {
        let refused = format!("refused: [{code}]");
        told.iter().flatten().filter(|text| **text == refused).count() as f64
    };
    ensure!([10, 19, 87].map(count) == [2.0, 1.0, 1.0], "{told:?}");
    let errors = [("message_too_large", 2.0), ("not_enough_replicas", 1.0), ("invalid_record", 1.0)];
    let errors: Counts = errors.map(|(name, count)| (name.to_owned(), count)).into();
    views[0].expect(&agent, &errors, View::errors)?;

    broker.refuse(OFFSET_COMMIT, &[28])?;
    let refused = consumer.ask("commit(0.5)");
    ensure!(refused.is_err(), "it was to be refused: {refused:?}");
    views[1].expect(&agent, &[("invalid_commit_offset_size".to_owned(), 1.0)].into(), View::errors)?;
    consumer.ask("commit(1.0)")?;
    let both: Counts = errors.into_iter().chain([("invalid_commit_offset_size".to_owned(), 1.0)]).collect();
    broker.view().expect(&agent, &both, View::errors)?;

    // Each of its requests to produce was answered, and the last ones late.
    let ends = [producer.view(&broker), broker.view()];
    let times = |end: usize| -> anyhow::Result<_> { Ok(ends[end].times(&agent.scrape()?, "produce")) };
    let sent = compared(producer.counted()?)["produce"];
    let before = [times(0)?, times(1)?];
    ensure!(before.iter().all(|times| times.count == sent), "not {sent}: {before:?}");
    broker.delay(200)?;
    let told = producer.ask("produce('orders', 100, [1] * 5, 0)")?;
    broker.delay(0)?;
    let told: Vec<[u64; 3]> = serde_json::from_value(told)?;
    let most = told.iter().map(|[_, begun, done]| (done - begun) as f64 / 1e9).sum::<f64>();
    for (end, before) in before.into_iter().enumerate() {
        ends[end]
            .expect(&agent, &(before.count + 5.0), |view, metrics| view.times(metrics, "produce").count)?;
        let after = times(end)?;
        ensure!(after.within[0] == before.within[0], "they took longer: {after:?}");
        let sum = after.sum - before.sum;
        ensure!(sum >= 1.0 && sum <= most, "{sum} s, and not 1 to {most}");
    }
    all_is_read(&agent, &mut broker, &[&producer, &consumer])?;
    losses.no_more(&agent)
}

#[test]
fn fetches_that_wait_are_not_slow() -> anyhow::Result<()> {
    let mut broker = Broker::start(&[("orders", 1)])?;
    let (agent, losses) = shared()?;
    let mut producer = Client::start("aiokafka", &broker)?;
    let mut consumer = Client::start_with("confluent", &broker, "**{'fetch.wait.max.ms': 300}")?;
    consumer.ask("assign(['orders'], 1)")?;
    // One batch for each.
    producer.ask("produce('orders', 0, [1] * 10, 0)")?;
    consumer.ask("take(10)")?;
    // Until the last one that waits is answered.
    thread::sleep(Duration::from_millis(400));
    let ends = [consumer.view(&broker), broker.view()];
    let mut fetches = || -> anyhow::Result<f64> { Ok(consumer.counted()?["fetch"]) };
    let all = fetches()?;
    let told = |view: &View, metrics: &_| {
        let times = view.times(metrics, "fetch");
        (view.waits(metrics) + times.count, times)
    };
    let mut before = Vec::new();
    for end in &ends {
        end.expect(&agent, &all, |view, metrics| told(view, metrics).0)?;
        let (_, times) = told(end, &agent.scrape()?);
        ensure!(times.count >= 5.0 && times.within[0] == times.count, "{all} in all: {times:?}");
        before.push(times);
    }
    // While there is nothing to read, it asks again and again.
    consumer.ask("wait(1.5)")?;
    thread::sleep(Duration::from_millis(400));
    let more = consumer.counted()?["fetch"] - all;
    ensure!((4.0..8.0).contains(&more), "{more} requests");
    for (end, before) in ends.iter().zip(before) {
        end.expect(&agent, &(all + more), |view, metrics| told(view, metrics).0)?;
        end.expect(&agent, &before, |view, metrics| told(view, metrics).1)?;
    }
    all_is_read(&agent, &mut broker, &[&producer, &consumer])?;
    losses.no_more(&agent)
}

#[test]
fn an_agent_that_starts_in_the_middle() -> anyhow::Result<()> {
    let libraries = ["confluent", "kafka-python", "aiokafka"];
    let topics = ["one", "two", "three"];
    let broker = Broker::start(&topics.map(|topic| (topic, 1)))?;
    let mut pairs = Vec::new();
    for (library, topic) in libraries.into_iter().zip(topics) {
        let (mut producer, mut consumer) =
            (Client::start(library, &broker)?, Client::start(library, &broker)?);
        consumer.join(&format!("['{topic}']"), topic)?;
        producer.ask(&format!("produce('{topic}', 0, [1, 20], 0)"))?;
        consumer.ask("take(21)")?;
        consumer.ask("commit(1.0)")?;
        pairs.push((library, topic, producer, consumer));
    }
    let agent = Agent::start(&[])?;
    for (library, topic, mut producer, mut consumer) in pairs {
        let names = [producer.process.clone(), consumer.process.clone()];
        let names = names.each_ref().map(String::as_str);
        let queue = Queue::topic(topic, &broker, &names);
        let group = queue.of_group(topic);
        // It may need some of what comes to know what it is.
        producer.ask(&format!("produce('{topic}', 100, [1, 4], 0)"))?;
        consumer.ask("take(5)")?;
        consumer.ask("commit(1.0)")?;
        thread::sleep(Duration::from_millis(300));
        let views = [producer.view(&broker), consumer.view(&broker)];
        let all = |metrics: &_| {
            let shown = queue.shown(&queue.clients, metrics);
            let acknowledged = group.acknowledged(&queue.clients, metrics);
            let sent = |view: &View, api: &str| view.requests(metrics).get(api).copied().unwrap_or_default();
            let sent = [sent(&views[0], "produce"), sent(&views[1], "offset_commit")];
            ([shown.put, sent[0], sent[1]], [shown.taken, acknowledged.taken])
        };
        let before = all(&agent.scrape()?);
        producer.ask(&format!("produce('{topic}', 200, [1, 9, 20], 0)"))?;
        consumer.ask("take(30)")?;
        consumer.ask("commit(1.0)")?;
        settle(&agent, |metrics| {
            let now = all(metrics);
            let requests = [0, 1, 2].map(|at| now.0[at] - before.0[at]);
            ensure!(requests == [30.0, 3.0, 1.0], "{library}: {requests:?}");
            // Where batches are of topics by number, it knows their names by a later request only.
            let moved = [0, 1].map(|at| now.1[at] - before.1[at]);
            ensure!(library == "confluent" || moved == [30.0, 30.0], "{library}: {moved:?}");
            Ok(())
        })?;
        ensure!(connections(&agent.scrape()?, &names, "client") > 0.0, "{library}: no connection");
    }
    Ok(())
}
