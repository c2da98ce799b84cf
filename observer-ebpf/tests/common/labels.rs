//! What the kernel half keeps in maps of routes, of authorities, and of requests counted under them, for one connection.

use std::collections::BTreeMap;

use observer_ebpf::layout::connection::Connection;
use observer_ebpf::layout::names::{CROWDED, FIRST, NONE, OTHER};
use observer_ebpf::protocols::http::layout::{
    Done, EVENTS, METHODS, Method, REQUESTS, RequestCounts, RequestKey, UNMATCHED,
};
use observer_ebpf::protocols::http::names;
use observer_ebpf::protocols::http::target::Template;
use observer_ebpf::stream::prefix::Text;

use super::Buffers;

/// Route, method and status of requests.
pub(crate) type Row = (String, &'static str, u16);

/// The maps.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Labels {
    pub(crate) routes: Vec<String>,
    pub(crate) authorities: Vec<String>,
    pub(crate) counts: BTreeMap<RequestKey, RequestCounts>,
    /// How many there is room for.
    pub(crate) most_routes: usize,
    pub(crate) most_counts: usize,
    pub(crate) stream_after_ns: u64,
    /// What was measured of each request, in order.
    pub(crate) done: Vec<Done>,
    /// Given templates: where segments, or any other, lead from a node, and what ends there.
    pub(crate) tree: BTreeMap<(u32, Option<Vec<u8>>), u32>,
    pub(crate) templates: BTreeMap<u32, String>,
}

impl Default for Labels {
    fn default() -> Self {
        Self {
            routes: Vec::new(),
            authorities: Vec::new(),
            counts: BTreeMap::new(),
            most_routes: 200,
            most_counts: 16_384,
            stream_after_ns: 10_000_000_000,
            done: Vec::new(),
            tree: BTreeMap::new(),
            templates: BTreeMap::new(),
        }
    }
}

fn number_of(texts: &mut Vec<String>, text: &str, most: usize) -> u32 {
    let place = texts.iter().position(|known| known == text).unwrap_or_else(|| {
        texts.push(text.to_owned());
        texts.len() - 1
    });
    if place >= most {
        texts.pop();
        return CROWDED;
    }
    FIRST + u32::try_from(place).expect("few names")
}

fn text_of(texts: &[String], number: u16, none: &str) -> String {
    match u32::from(number) {
        NONE => none.to_owned(),
        OTHER | CROWDED => "other".to_owned(),
        number => texts[(number - FIRST) as usize].clone(),
    }
}

/// The text of a template, of whose words those behind its length are zero.
pub(crate) fn template(template: &Template) -> String {
    let bytes: Vec<u8> = (0..13).flat_map(|at| template.word(at).to_le_bytes()).collect();
    let (text, behind) = bytes.split_at(template.length() as usize);
    assert!(behind.iter().all(|&byte| byte == 0), "{}", bytes.escape_ascii());
    String::from_utf8(text.to_vec()).expect("UTF-8")
}

impl Labels {
    fn counts_of(&mut self, key: RequestKey) -> Option<&mut RequestCounts> {
        assert!(usize::from(key.method) < METHODS && key.reserved == 0, "{key:?}");
        if self.counts.len() >= self.most_counts && !self.counts.contains_key(&key) {
            return None;
        }
        Some(self.counts.entry(key).or_default())
    }

    /// How many requests there were of each route, method and status.
    pub(crate) fn requests(&self) -> BTreeMap<Row, u64> {
        let mut sums = BTreeMap::new();
        for (key, counts) in &self.counts {
            let route = text_of(&self.routes, key.route, "unmatched");
            let row = (route, Method::from_u8(key.method).name(), key.status);
            if counts.words[REQUESTS] > 0 {
                *sums.entry(row).or_default() += counts.words[REQUESTS];
            }
        }
        sums
    }

    /// How many requests there were of each authority.
    pub(crate) fn by_authority(&self) -> BTreeMap<String, u64> {
        let mut sums = BTreeMap::new();
        for (key, counts) in &self.counts {
            *sums.entry(text_of(&self.authorities, key.authority, "")).or_default() += counts.words[REQUESTS];
        }
        sums
    }

    /// Events of event streams.
    pub(crate) fn events(&self) -> u64 {
        self.counts.values().map(|counts| counts.words[EVENTS]).sum()
    }
}

impl names::Labels for Buffers<'_> {
    fn route(&mut self, route: &Template, _connection: &mut Connection) -> u32 {
        let text = template(route);
        let known = self.labels.routes.iter().position(|known| *known == text);
        known.map_or(UNMATCHED, |place| FIRST + u32::try_from(place).expect("few routes"))
    }

    fn new_route(&mut self, route: &Template, _connection: &mut Connection) -> u32 {
        let most = self.labels.most_routes;
        number_of(&mut self.labels.routes, &template(route), most)
    }

    fn authority(&mut self, text: &Text, length: u32) -> u32 {
        let text = text.to_bytes();
        let text = core::str::from_utf8(&text[..length as usize]).expect("ASCII");
        number_of(&mut self.labels.authorities, text, 100)
    }

    fn count_request(&mut self, _connection: &mut Connection, key: RequestKey, done: &Done) -> bool {
        self.labels.done.push(*done);
        self.labels.counts_of(key).map(|counts| counts.add(done)).is_some()
    }

    fn count_events(&mut self, _connection: &mut Connection, key: RequestKey, events: u64) -> bool {
        self.labels.counts_of(key).map(|counts| counts.words[EVENTS] += events).is_some()
    }

    fn descend(&mut self, node: u32, text: &Text, length: u32) -> u32 {
        let text = text.to_bytes();
        let name = text[..length.min(33) as usize].to_vec();
        let tree = &self.labels.tree;
        let any = || if length == 0 { None } else { tree.get(&(node, None)) };
        tree.get(&(node, Some(name))).or_else(any).copied().unwrap_or(0)
    }

    fn given(&mut self, node: u32, template: &mut Template) -> bool {
        let Some(text) = self.labels.templates.get(&node) else { return false };
        let mut bytes = [0; 104];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        for (at, word) in bytes.chunks_exact(8).enumerate() {
            template.set_word(at, u64::from_le_bytes(word.try_into().expect("eight bytes")));
        }
        template.set_length(u32::try_from(text.len()).expect("it is short"));
        true
    }

    fn stream_after_ns(&self) -> u64 {
        self.labels.stream_after_ns
    }
}
