//! Plain data into metric families: one file for each group of families in the contract, and one beside each protocol's
//! totals.

pub mod encode;
#[macro_use]
pub mod family;
pub mod agent;
pub mod connections;
pub mod flows;
pub mod fold;
mod openmetrics;
pub mod queues;
pub mod rates;
pub mod web;

use self::agent::Facts;
use self::family::{Description, Families, Family};
use self::fold::Folder;
use crate::flows::Row;
use crate::ledger::View;
use crate::ledger::lives::Lives;
use crate::protocols::redis::info::InfoPoll;
use crate::protocols::websocket::node::Node;
use crate::protocols::{self, redis};
use crate::web::Counts;

/// Labels of what a process has to do with a server.
pub const SERVER_LABELS: &[&str] = &["process", "container", "role", "server"];

/// Everything that families are made of.
#[derive(Debug)]
pub struct Everything<'a> {
    /// Connections, and what they did.
    pub view: &'a View,
    /// What there are rows of, and since when.
    pub lives: &'a Lives,
    /// When the agent started to count, in seconds since 1970.
    pub created: f64,
    /// What time it is.
    pub now: f64,
    /// The node's own rate.
    pub node: &'a Node,
    /// Servers that the agent asks itself.
    pub redis_polls: &'a [InfoPoll],
    /// The busiest flows, as many as are shown.
    pub busiest: &'a [Row],
    /// What the agent knows of itself.
    pub facts: &'a Facts<'a>,
    /// What its HTTP server counts.
    pub web: &'a Counts,
}

/// The descriptions of all families, but for those of any process (`process_*`).
pub fn descriptions() -> Vec<&'static [Description]> {
    let mut lists = protocols::FAMILIES.to_vec();
    lists.extend([
        queues::FAMILIES,
        rates::FAMILIES,
        connections::FAMILIES,
        flows::FAMILIES,
        agent::FAMILIES,
        web::FAMILIES,
    ]);
    lists
}

/// All families with their rows, which `folder` keeps within its limit.
pub fn families(everything: &Everything<'_>, folder: &mut Folder) -> Vec<Family> {
    let Everything { view, lives, created, now, node, redis_polls, busiest, facts, web } = everything;
    let mut families = Families::new(&descriptions());
    protocols::fill(&mut families, view);
    redis::families::fill_polls(&mut families, redis_polls);
    queues::fill(&mut families, view);
    rates::fill(&mut families, view, node);
    connections::fill(&mut families, view);
    families.fold(folder, &lives.by_labels(), *now);
    // There are only so many of these.
    flows::fill(&mut families, busiest);
    agent::fill(&mut families, facts, view);
    agent::fill_folded(&mut families, folder, facts.losses);
    web::fill(&mut families, web);
    let mut families = families.into_vec();
    for row in families.iter_mut().flat_map(|family| &mut family.rows) {
        row.created.get_or_insert(*created);
    }
    families
}

/// Takes note that the rows of `early` are kept no longer than that, for there were too many.
pub fn leave_out(early: &View, node: &Node, folder: &mut Folder) {
    if early.groups.is_empty() && early.message_sizes.is_empty() {
        return;
    }
    let mut families = Families::new(&descriptions());
    protocols::fill(&mut families, early);
    rates::fill(&mut families, early, node);
    connections::fill(&mut families, early);
    for family in families.into_vec() {
        folder.leave_out(&family);
    }
}
