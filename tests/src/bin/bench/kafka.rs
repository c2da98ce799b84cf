//! A producer of Kafka under each observer: as many messages as librdkafka can send to a broker of its own.

use std::time::Duration;

use anyhow::Context as _;
use observer_tests::kafka::{Broker, Client};

use crate::compare;
use crate::placement::Placement;

/// Compares the rates of all.
pub(crate) fn kafka(rounds: usize, seconds: Duration) -> anyhow::Result<()> {
    let broker = Broker::start(&[("orders", 4)])?;
    let mut producer = Client::start("confluent", &broker)?;
    let flood = format!("flood('orders', {})", seconds.as_secs_f64());
    // Both processes are where they are.
    let placements = [Placement::Any];
    let title = format!("librdkafka, messages of 100 bytes, {rounds} rounds of {seconds:?}");
    compare(&title, "messages/s", 0.95, &placements, rounds, || {
        producer.ask(&flood)?.as_f64().context("the producer tells no rate")
    })
}
