//! What the agent can export, by its own descriptions.

use observer::metrics::descriptions;
use observer::metrics::family::Kind;

use super::{Metrics, add};

/// Every metric that the agent can export, apart from those of any process.
pub fn metrics() -> Metrics {
    let mut metrics = Metrics::new();
    for description in descriptions().into_iter().flatten() {
        let labels = description.labels.iter().map(|&label| label.to_owned());
        let is_histogram = matches!(description.kind, Kind::Histogram(_));
        add(&mut metrics, description.name, is_histogram, labels);
    }
    metrics
}
