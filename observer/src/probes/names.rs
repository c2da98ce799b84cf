//! What is counted by name: the maps for it, and what they are to hold from the start.

use std::rc::Rc;

use aya::Ebpf;
use aya::maps::MapData;
use observer_ebpf::layout::names::Prefixes;
use observer_ebpf::protocols::http::layout::{Authorities, GivenTemplate, Routes, TreeKey};
use observer_ebpf::queues::layout::QueueKeys;

use super::maps::{clone_of, typed};
use super::{Error, Settings, chain};
use crate::events;
use crate::kernel::pod::pod;
use crate::names::Names;
use crate::names::namespace::{self, NameKey, Namespace};
use crate::names::queues::{self, Queues};
use crate::names::requests::{self, Requests};
use crate::names::services::Services;
use crate::names::templates::Tree;
use crate::snapshot::{Control, Deques, Epochs};

/// Takes over the maps of bounded names.
pub(super) fn names(ebpf: &mut Ebpf, control: Rc<Control>, settings: &Settings) -> Result<Names, Error> {
    let wrong = |error: aya::maps::MapError| Error::Maps(chain(&error));
    let maps = namespace::Maps {
        names: clone_of(ebpf, "PREFIXES")?,
        counts: clone_of(ebpf, "PREFIX_COUNTS")?,
        free: typed(ebpf, "FREE_PREFIXES")?,
    };
    let (stream_after_ns, max_routes) = (settings.http_stream_after_ns, settings.http_max_routes);
    let requests = requests::Maps {
        routes: clone_of(ebpf, "ROUTES")?,
        free_routes: typed(ebpf, "FREE_ROUTES")?,
        routes_of: typed(ebpf, "ROUTES_OF")?,
        authorities: clone_of(ebpf, "AUTHORITIES")?,
        free_authorities: typed(ebpf, "FREE_AUTHORITIES")?,
        counts: clone_of(ebpf, "REQUEST_COUNTS")?,
        spare_counts: clone_of(ebpf, "SPARE_COUNTS")?,
    };
    let queues = queues::Maps {
        queues: clone_of(ebpf, "QUEUES")?,
        free: typed(ebpf, "FREE_QUEUES")?,
        free_trial: typed(ebpf, "FREE_TRIAL_QUEUES")?,
        counts: clone_of(ebpf, "QUEUE_COUNTS")?,
        deques: Deques::new(clone_of(ebpf, "DEQUES")?),
        partitions: clone_of(ebpf, "PARTITIONS")?,
    };
    let now_ns = events::monotonic_now_ns();
    let queue_epochs = Epochs::of::<QueueKeys>(Rc::clone(&control));
    let epochs = [Epochs::of::<Routes>(Rc::clone(&control)), Epochs::of::<Authorities>(Rc::clone(&control))];
    Ok(Names {
        services: Services::new(clone_of(ebpf, "SERVICES")?).map_err(wrong)?,
        prefixes: Namespace::new(maps, Epochs::of::<Prefixes>(control)).map_err(wrong)?,
        requests: Requests::new(requests, epochs, stream_after_ns, max_routes, now_ns).map_err(wrong)?,
        queues: Queues::new(queues, queue_epochs, settings.queues.clone(), now_ns).map_err(wrong)?,
    })
}

/// Has leading segments of keys stepped over.
pub(super) fn skip(ebpf: &Ebpf, segments: &[String]) -> Result<(), Error> {
    let map = aya::maps::Map::HashMap(clone_of(ebpf, "KEY_SKIPS")?);
    let mut map: aya::maps::HashMap<MapData, NameKey, u64> =
        map.try_into().map_err(|error| Error::Maps(chain(&error)))?;
    for segment in segments {
        map.insert(NameKey::of(segment), 1, 0).map_err(|error| Error::Maps(chain(&error)))?;
    }
    Ok(())
}

pod! {
    /// [`TreeKey`] as a map's key.
    Edge(TreeKey);
    /// [`GivenTemplate`] as a map's value.
    End(GivenTemplate);
}

/// Has these templates of routes come first.
pub(super) fn give(ebpf: &Ebpf, tree: &Tree) -> Result<(), Error> {
    let wrong = |error: aya::maps::MapError| Error::Maps(chain(&error));
    let edges = aya::maps::Map::HashMap(clone_of(ebpf, "TEMPLATE_TREE")?);
    let mut edges: aya::maps::HashMap<MapData, Edge, u64> = edges.try_into().map_err(wrong)?;
    for &(key, node) in &tree.edges {
        edges.insert(Edge(key), u64::from(node), 0).map_err(wrong)?;
    }
    let ends = aya::maps::Map::HashMap(clone_of(ebpf, "TEMPLATES")?);
    let mut ends: aya::maps::HashMap<MapData, u32, End> = ends.try_into().map_err(wrong)?;
    for &(node, template) in &tree.ends {
        ends.insert(node, End(template), 0).map_err(wrong)?;
    }
    Ok(())
}
