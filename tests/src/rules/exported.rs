//! What the agent can export, by its own descriptions.

use observer::http::Counts;
use observer::ledger::View;
use observer::metrics::agent::{self, Facts};
use observer::metrics::family::{Family, Kind};
use observer::metrics::fold::Folder;
use observer::metrics::{connections, flows, http, postgres, rates, redis, websocket};
use observer::rates::node::Node;
use observer_ebpf::layout::health::Health;

use super::{Metrics, add};

/// Every metric that the agent can export, apart from those of any process.
pub fn metrics() -> Metrics {
    let view = View::default();
    let folder = Folder::new(1);
    let facts =
        Facts { probes: &[], tracked: 0, health: &Health::ZERO, missed_runs: 0, collects: (&[], 0.0) };
    let mut families: Vec<Family> = agent::families(&facts, &view, &folder);
    families.extend(connections::families(&view));
    families.extend(flows::families(&[]));
    families.extend(http::families(&Counts::default()));
    families.extend(postgres::families(&view));
    families.extend(rates::families(&view, &Node::new(1, 0)));
    families.extend(redis::families(&view));
    families.push(redis::asked(&[]));
    families.extend(websocket::families(&view));
    let mut metrics = Metrics::new();
    for Family { description, .. } in families {
        let labels = description.labels.iter().map(|&label| label.to_owned());
        let is_histogram = matches!(description.kind, Kind::Histogram(_));
        add(&mut metrics, description.name, is_histogram, labels);
    }
    metrics
}
