//! What the agent shows of a process's requests.

use std::collections::BTreeMap;

use super::Tally;
use crate::metrics::Metrics;

/// The requests that one process makes of one server, or serves, on one of their sides.
pub type View = crate::shown::View<Http>;

/// Of what a view tells.
#[derive(Debug)]
pub enum Http {}

/// The histograms of bodies' sizes.
const BODIES: [&str; 2] = ["observer_http_request_size_bytes_sum", "observer_http_response_size_bytes_sum"];

impl View {
    /// Requests that are over, by method, route and status.
    pub fn requests(&self, metrics: &Metrics) -> BTreeMap<[String; 3], f64> {
        self.by_labels(metrics, "http_requests_total", ["method", "route", "status"])
    }

    /// How many that are, whatever they were.
    pub fn count(&self, metrics: &Metrics) -> f64 {
        self.sum(metrics, "http_requests_total", &[])
    }

    /// Bytes of bodies, by route: of requests and of responses.
    pub fn bodies(&self, metrics: &Metrics) -> BTreeMap<String, [f64; 2]> {
        self.pairs_by(metrics, BODIES, "route")
    }

    /// Requests that are over, and bytes of their bodies but for routes without any.
    pub fn tally(&self, metrics: &Metrics) -> Tally {
        Tally { requests: self.requests(metrics), bodies: self.bodies(metrics) }
    }

    /// Requests whose time was taken, by method and route: how many, and seconds of all.
    pub fn durations(&self, metrics: &Metrics) -> BTreeMap<[String; 2], [f64; 2]> {
        let names = ["http_request_duration_seconds_count", "http_request_duration_seconds_sum"];
        let [counts, sums] = names.map(|name| self.by_labels(metrics, name, ["method", "route"]));
        let seconds = |labels: &[String; 2]| sums.get(labels).copied().unwrap_or(0.0);
        counts.iter().map(|(labels, count)| (labels.clone(), [*count, seconds(labels)])).collect()
    }

    /// How many of a route's requests took no longer than a bound.
    pub fn within(&self, metrics: &Metrics, route: &str, bound: &str) -> f64 {
        self.sum(metrics, "http_request_duration_seconds_bucket", &[("route", route), ("le", bound)])
    }

    /// Seconds to the first bytes of responses, by route: of how many, and of all.
    pub fn first_bytes(&self, metrics: &Metrics) -> BTreeMap<String, [f64; 2]> {
        self.pairs_by(
            metrics,
            ["observer_http_first_byte_seconds_count", "observer_http_first_byte_seconds_sum"],
            "route",
        )
    }

    /// Requests that went wrong, by route and kind.
    pub fn errors(&self, metrics: &Metrics) -> BTreeMap<[String; 2], f64> {
        self.by_labels(metrics, "http_request_errors_total", ["route", "kind"])
    }

    /// Requests that are not answered to the end.
    pub fn in_flight(&self, metrics: &Metrics) -> f64 {
        self.sum(metrics, "observer_http_requests_in_flight", &[])
    }

    /// Open streams, by route.
    pub fn streams(&self, metrics: &Metrics) -> BTreeMap<String, f64> {
        self.by(metrics, "observer_http_streams", "route")
    }

    /// Streams that are over, by route: how many, and seconds of all.
    pub fn lasted(&self, metrics: &Metrics) -> BTreeMap<String, [f64; 2]> {
        self.pairs_by(
            metrics,
            ["observer_http_stream_seconds_count", "observer_http_stream_seconds_sum"],
            "route",
        )
    }

    /// Events of streams, by route.
    pub fn events(&self, metrics: &Metrics) -> BTreeMap<String, f64> {
        self.by(metrics, "observer_http_stream_events_total", "route")
    }

    /// Whom requests are addressed to.
    pub fn authorities(&self, metrics: &Metrics) -> BTreeMap<String, f64> {
        self.by(metrics, "http_requests_total", "authority")
    }

    /// A family's values by some of its labels, without those that are zero.
    fn by_labels<const N: usize>(
        &self,
        metrics: &Metrics,
        name: &str,
        labels: [&str; N],
    ) -> BTreeMap<[String; N], f64> {
        let mut counts = BTreeMap::new();
        for sample in self.series(metrics, name, &[]).iter().filter(|sample| sample.value != 0.0) {
            let values = labels.map(|label| sample.labels.get(label).cloned().unwrap_or_default());
            *counts.entry(values).or_default() += sample.value;
        }
        counts
    }
}

impl Tally {
    /// The same without routes that have no bytes of body, which the agent's sums do not tell from routes without any.
    #[must_use]
    pub fn shown(mut self) -> Self {
        self.bodies.retain(|_, bodies| *bodies != [0.0; 2]);
        self
    }
}
