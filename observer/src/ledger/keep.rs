//! What the book keeps of connections and processes that are gone, and for how long: see [`super::lives`].

use std::collections::HashSet;
use std::hash::Hash;
use std::rc::Rc;

use observer_ebpf::layout::Role;
use observer_ebpf::layout::connection::Connection;

use super::lives::{Early, Lives, Over};
use super::{Ledger, Slot, View};
use crate::events;
use crate::labels::{Group, ServerKey};
use crate::process::{Identity, OUTSIDE};

/// Processes past which those outside the agent's pid namespace count as ended once nothing of theirs is in use, for
/// it is not known when they end.
const OUTSIDE_KEPT: usize = 1_000;

impl Ledger {
    /// Takes note of whose a connection is, unless that is known.
    pub(super) fn see(&mut self, index: u32, connection: &Connection, now_ns: u64) {
        let Some(Slot::Tracked(track)) = self.slots.get_mut(index as usize) else { return };
        let role = Role::from_u8(connection.role);
        let Some(identity) = track.identity.as_ref().filter(|_| track.known != Some(role)) else { return };
        track.known = Some(role);
        let group = Group::of(identity, role);
        let created = events::wall_clock(connection.seen_ns);
        self.lives.see(identity, &group, created, now_ns);
        if let Some(server) = &track.server {
            self.lives.see_server(&group, server, created, now_ns);
        }
    }

    /// What there are rows of, and since when.
    pub const fn lives(&self) -> &Lives {
        &self.lives
    }

    /// Processes that are there, of those that anything is held of.
    pub fn living(&self) -> usize {
        self.lives.living().count()
    }

    /// Processes that have ended since the last [`Ledger::bury`], and none of whose connections is in use.
    pub fn ended(&self) -> HashSet<Rc<Identity>> {
        let used = self.tracks().filter_map(|track| track.identity.as_ref());
        let used: HashSet<&Rc<Identity>> = distinct(used, |identity| Rc::as_ptr(identity)).collect();
        let is_crowded = self.living() > OUTSIDE_KEPT;
        self.lives
            .living()
            .filter(|process| !used.contains(process))
            .filter(|process| {
                (is_crowded && process.start_ns == OUTSIDE)
                    || !self.processes.is_alive(process.pid, process.start_ns)
            })
            .cloned()
            .collect()
    }

    /// Takes note that these processes have ended, and forgets what is kept no longer. Returns what it has forgotten before
    /// its time, for there was too much.
    pub fn bury(&mut self, ended: &HashSet<Rc<Identity>>, now_ns: u64) -> View {
        let servers = self.servers_in_use();
        self.lives.look(ended, &servers, now_ns);
        let living: HashSet<&Identity> = self.lives.living().map(|process| &**process).collect();
        self.processes.retain(|identity| living.contains(identity));
        let with_rows: HashSet<&Rc<Identity>> =
            self.message_sizes.keys().map(|(process, _)| process).collect();
        let over = self.lives.expire(&self.retention, now_ns, |process| with_rows.contains(process));
        let forgotten = self.forget(&over);
        drop(over);
        // Whoever uses one has a handle on it, which is this book or a slot of it, or who is told what it has forgotten.
        self.servers.retain(|server| Rc::strong_count(server) > 1);
        forgotten
    }

    /// Forgets what is over. Returns what was too early for.
    fn forget(&mut self, over: &Over) -> View {
        let mut early = View::default();
        for ((group, server), totals) in over.servers.iter().filter_map(|key| {
            let totals = self.totals.get_mut(&key.0)?.books.take_server(&key.1);
            Some((key, totals))
        }) {
            let key = (group.clone(), Rc::clone(server));
            if over.early.contains(&Early::Server(key)) || over.early.contains(&Early::Name(group.clone())) {
                early.groups.entry(group.clone()).or_default().books.merge(&totals);
            }
        }
        for group in &over.names {
            let Some(totals) = self.totals.remove(group) else { continue };
            if over.early.contains(&Early::Name(group.clone())) {
                early.groups.entry(group.clone()).or_default().merge(&totals);
            }
        }
        for process in &over.processes {
            let is_early = over.early.contains(&Early::Process(Rc::clone(process)));
            for role in [Role::Client, Role::Server] {
                let member = (Rc::clone(process), role);
                let Some(sizes) = self.message_sizes.remove(&member) else { continue };
                if is_early {
                    early.message_sizes.insert(member, sizes);
                }
            }
        }
        early
    }

    /// The servers of open connections.
    fn servers_in_use(&self) -> HashSet<ServerKey> {
        let used = self
            .tracks()
            .filter_map(|track| Some((track.identity.as_ref()?, track.known?, track.server.as_ref()?)));
        let used = distinct(used, |(identity, role, server)| {
            (Rc::as_ptr(identity), *role, Rc::as_ptr(server).cast::<u8>())
        });
        used.map(|(identity, role, server)| (Group::of(identity, role), Rc::clone(server))).collect()
    }

    fn tracks(&self) -> impl Iterator<Item = &super::Track> {
        self.slots.iter().filter_map(|slot| match slot {
            Slot::Tracked(track) => Some(&**track),
            Slot::New | Slot::HandedBack(_) => None,
        })
    }
}

/// Those at different places. Most connections' are one of few, and mostly that of the one before; and where one is takes
/// less to compare than what it is.
fn distinct<T, P: Copy + Eq + Hash>(
    all: impl Iterator<Item = T>,
    place: impl Fn(&T) -> P,
) -> impl Iterator<Item = T> {
    let (mut seen, mut last) = (HashSet::new(), None);
    all.filter(move |one| {
        let at = place(one);
        last.replace(at) != Some(at) && seen.insert(at)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use observer_ebpf::layout::connection::Connection;
    use observer_ebpf::protocols::redis::layout::Command;

    use super::super::tests::{SECOND, ledger, session};
    use super::{Ledger, View};

    /// A session of a process of this name and number.
    fn of(name: &str, pid: u32, id: u64, commands: u32) -> Connection {
        let mut connection = session(id, commands);
        connection.comm = [0; 16];
        connection.comm[..name.len()].copy_from_slice(name.as_bytes());
        (connection.owner.tgid, connection.owner.start_ns) = (pid, u64::from(pid));
        connection
    }

    /// Sees a session in a slot.
    fn see(ledger: &mut Ledger, index: u32, connection: &Connection, server: &str, now_ns: u64) {
        assert!(ledger.observe(index, connection, now_ns));
        assert!(ledger.needs_server(index, connection));
        ledger.name_server(index, connection, server, now_ns);
    }

    /// Looks at which processes have ended, which none is found to have that has an open session.
    fn bury(ledger: &mut Ledger, now_ns: u64) -> View {
        let ended = ledger.ended();
        ledger.bury(&ended, now_ns)
    }

    /// Commands by name, over all servers.
    fn commands(view: &View) -> Vec<(String, u64)> {
        let of = |(group, totals): (&crate::labels::Group, &super::super::GroupTotals)| {
            let redis = totals.books.redis.values();
            (group.process.clone(), redis.map(|totals| totals.commands[Command::Get as usize]).sum())
        };
        view.groups.iter().map(of).collect()
    }

    fn shown(ledger: &Ledger) -> Vec<(String, u64)> {
        commands(&ledger.view(std::iter::empty::<(u32, Connection)>(), 0))
    }

    #[test]
    fn what_short_lived_processes_did_is_one_counter() {
        let mut ledger = ledger();
        for pid in 1..=10 {
            let now_ns = u64::from(pid) * 60 * SECOND;
            let connection = of("cron", pid, pid.into(), 5);
            see(&mut ledger, 0, &connection, "10.0.0.7:6379", now_ns);
            ledger.close(0, &connection, now_ns);
            let early = bury(&mut ledger, now_ns + 5 * SECOND);
            assert_eq!((shown(&ledger), ledger.living()), (vec![("cron".to_owned(), 5 * u64::from(pid))], 0));
            assert_eq!(commands(&early), []);
        }
        // The last has ended at 605 seconds.
        bury(&mut ledger, (605 + 3600) * SECOND - 1);
        assert_eq!(shown(&ledger), [("cron".to_owned(), 50)]);
        bury(&mut ledger, (605 + 3600) * SECOND);
        assert_eq!(shown(&ledger), []);
        assert!(ledger.servers.is_empty());
        let connection = of("cron", 11, 11, 5);
        see(&mut ledger, 0, &connection, "10.0.0.7:6379", 9000 * SECOND);
        ledger.close(0, &connection, 9000 * SECOND);
        assert_eq!(shown(&ledger), [("cron".to_owned(), 5)]);
    }

    #[test]
    fn servers_without_a_connection_make_way_past_the_limit_and_those_with_one_stay() {
        let mut ledger = ledger();
        let open = of("app", 1, 1, 1);
        see(&mut ledger, 0, &open, "10.0.0.1:1", 0);
        for number in 2..=100_u32 {
            let now_ns = u64::from(number) * SECOND;
            let connection = of("app", 1, number.into(), 1);
            see(&mut ledger, 1, &connection, &format!("10.0.0.1:{number}"), now_ns);
            ledger.close(1, &connection, now_ns);
            let early = bury(&mut ledger, now_ns);
            let gone: Vec<_> = early.groups.values().flat_map(|totals| totals.books.redis.keys()).collect();
            let expected = if number < 12 { vec![] } else { vec![format!("10.0.0.1:{}", number - 10)] };
            assert_eq!(gone.iter().map(ToString::to_string).collect::<Vec<_>>(), expected);
        }
        let view = ledger.view([(0, &open)].into_iter(), 0);
        let servers: HashSet<String> = view
            .groups
            .values()
            .flat_map(|totals| totals.books.redis.keys())
            .map(ToString::to_string)
            .collect();
        assert_eq!(servers, [1].into_iter().chain(91..=100).map(|at| format!("10.0.0.1:{at}")).collect());
        // What is told to have made way has its text a little longer.
        bury(&mut ledger, 101 * SECOND);
        assert_eq!(ledger.servers.len(), 11);
        assert_eq!(ledger.living(), 1);
    }

    #[test]
    fn memory_is_bounded_whatever_processes_are_called() {
        let mut ledger = ledger();
        for pid in 1..=1000 {
            let now_ns = u64::from(pid) * SECOND / 10;
            let connection = of(&format!("job-{pid}"), pid, pid.into(), 1);
            see(&mut ledger, 0, &connection, &format!("10.0.0.1:{pid}"), now_ns);
            ledger.close(0, &connection, now_ns);
            bury(&mut ledger, now_ns);
        }
        bury(&mut ledger, 101 * SECOND);
        let left: Vec<(String, u64)> = shown(&ledger);
        assert!(left.len() == 10 && left.contains(&("job-1000".to_owned(), 1)), "{left:?}");
        assert_eq!((ledger.totals.len(), ledger.message_sizes.len(), ledger.servers.len()), (10, 0, 10));
    }
}
