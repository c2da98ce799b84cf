//! What requests were like lately, by process and by route, and what connections are waiting for.

use std::collections::HashMap;
use std::rc::Rc;

use observer_ebpf::layout::connection::{Connection, FLAG_CONTINUED};
use observer_ebpf::protocols::http::layout::{Method, UNTIMED};

use super::Requests;
use crate::flows::{Http, InFlight};
use crate::labels::Member;
use crate::names::services::{Place, Services};
use crate::protocols::http::Row;
use crate::recent::{Recent, Sums};
use crate::routes::Name;

impl Requests {
    /// Keeps a look at what has been counted, if it is time to. To be called after it was brought up to date.
    pub(in crate::names) fn keep_look(&mut self, services: &Services, now_ns: u64) {
        if self.by_process.is_due(now_ns) {
            let (by_process, by_route) = (self.process_sums(services), self.route_sums(services));
            self.by_process.keep(now_ns, by_process);
            self.by_route.keep(now_ns, by_route);
        }
    }

    /// What each process's requests were like lately.
    pub(in crate::names) fn processes<'a>(
        &'a self,
        services: &Services,
        now_ns: u64,
    ) -> impl Iterator<Item = (Member, Sums, Recent)> + 'a {
        self.by_process.compare(now_ns, self.process_sums(services))
    }

    /// What each route's were like.
    pub(in crate::names) fn routes<'a>(
        &'a self,
        services: &Services,
        now_ns: u64,
    ) -> impl Iterator<Item = (Name, Sums, Recent)> + 'a {
        self.by_route.compare(now_ns, self.route_sums(services))
    }

    /// How many seconds that is over.
    pub(in crate::names) fn seconds(&self, now_ns: u64) -> f64 {
        self.by_route.seconds(now_ns)
    }

    fn process_sums(&self, services: &Services) -> HashMap<Member, Sums> {
        let mut all = self.ended.clone();
        for (key, counts) in &self.counted {
            let Some(identity) = services.identity(key.service) else { continue };
            let Some(place) = services.place(key.service) else { continue };
            let member = (Rc::clone(identity), place.group.role);
            *all.entry(member).or_default() += Sums::of(key.status, counts);
        }
        all
    }

    fn route_sums(&self, services: &Services) -> HashMap<Name, Sums> {
        let mut all: HashMap<Name, Sums> = HashMap::new();
        self.for_each(services, |place, row, counts| {
            let sums = Sums::of(row.status, counts);
            *all.entry(name(place, row)).or_default() += sums;
        });
        all
    }

    /// Whether it is known what the request is of that a connection is answering. Nothing may have been counted of it yet.
    pub fn knows(&self, connection: &Connection) -> bool {
        let counters = connection.http();
        counters.in_flight() == 0 || self.is_known(counters.current.route, counters.current.authority)
    }

    /// What an open connection that speaks HTTP says of itself.
    pub fn of_connection(&self, connection: &Connection, now_ns: u64) -> Http {
        let counters = connection.http();
        let current = &counters.current;
        // What goes on is told of the slot in which the connection is continued.
        let goes_on_here = connection.flags & FLAG_CONTINUED == 0;
        let in_flight = if goes_on_here { counters.in_flight() } else { 0 };
        let since_ns = counters.waiting_since_ns().filter(|_| goes_on_here);
        let current = since_ns.map(|since_ns| InFlight {
            method: Method::from_u8(current.method).name().to_owned(),
            route: (**self.route(current.route)).to_owned(),
            authority: (**self.authority(current.authority)).to_owned(),
            status: (current.status > 0).then_some(current.status),
            seconds: (current.kind & UNTIMED == 0).then(|| now_ns.saturating_sub(since_ns) as f64 / 1e9),
            is_stream: current.is_stream(now_ns, self.stream_after_ns),
        });
        Http { requests: counters.asked.into(), in_flight: in_flight.into(), current }
    }
}

fn name(place: &Place, row: Row) -> Name {
    Name {
        group: place.group.clone(),
        server: Rc::clone(&place.server),
        authority: row.authority,
        route: row.route,
        method: row.method,
    }
}
