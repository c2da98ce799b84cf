//! How long rows live: when the name, the server or the process that they are of came, when it was last in use, and which
//! of those that are not in use any more make way.
//!
//! Nothing of this depends on who reads metrics, and when.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::rc::Rc;

use crate::labels::{self, Group, ServerKey};
use crate::process::Identity;

/// Nanoseconds that rows with a pid stay after the process has ended.
const PID_NS: u64 = 15 * 60 * 1_000_000_000;

/// What of those is kept that are not in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Nanoseconds that the rows of a name stay after the last process of that name has ended.
    pub names_ns: u64,
    /// How many names, servers, and processes are kept that are not in use, at most; of each as many.
    pub unused: usize,
}

/// The life of what rows are of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Life {
    /// When it came, in seconds since 1970: its rows count from then on.
    pub created: f64,
    /// When it was last seen to be in use, by `CLOCK_MONOTONIC`.
    pub used_ns: u64,
    /// Whether it is in use.
    pub is_used: bool,
}

/// All lives.
#[derive(Debug, Default)]
pub struct Lives {
    /// Of names, which are in use while a process of that name lives.
    names: HashMap<Group, Life>,
    /// Of servers that the processes of a name have to do with, which are in use while a connection is open.
    servers: HashMap<ServerKey, Life>,
    /// Of processes.
    processes: HashMap<Rc<Identity>, Life>,
}

/// What is kept no more.
#[derive(Debug, Default)]
pub(super) struct Over {
    pub names: HashSet<Group>,
    pub servers: HashSet<ServerKey>,
    pub processes: HashSet<Rc<Identity>>,
    /// Those of them that have made way for others before their time.
    pub early: HashSet<Early>,
}

/// What has made way before its time.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) enum Early {
    Name(Group),
    Server(ServerKey),
    Process(Rc<Identity>),
}

impl Lives {
    /// Takes note that a process uses a connection, in the role of `group`, which came at `created`.
    pub(crate) fn see(&mut self, process: &Rc<Identity>, group: &Group, created: f64, now_ns: u64) {
        see(&mut self.processes, process, created, now_ns);
        see(&mut self.names, group, created, now_ns);
    }

    /// Takes note that the processes of a name have a connection to a server, or from its clients.
    pub(super) fn see_server(&mut self, group: &Group, server: &Rc<str>, created: f64, now_ns: u64) {
        see(&mut self.servers, &(group.clone(), Rc::clone(server)), created, now_ns);
    }

    /// Processes that have not ended, as far as is known.
    pub(super) fn living(&self) -> impl Iterator<Item = &Rc<Identity>> {
        self.processes.iter().filter(|(_, life)| life.is_used).map(|(process, _)| process)
    }

    /// Whether the rows of a name and a server are kept.
    pub fn has(&self, server: &ServerKey) -> bool {
        self.servers.contains_key(server)
    }

    /// Takes note of what is in use: the processes that have ended are `ended`, the open connections are to `servers`.
    pub(crate) fn look(&mut self, ended: &HashSet<Rc<Identity>>, servers: &HashSet<ServerKey>, now_ns: u64) {
        for (process, life) in &mut self.processes {
            life.update(life.is_used && !ended.contains(process), now_ns);
        }
        let living: HashSet<(&str, &str)> = self
            .processes
            .iter()
            .filter(|(_, life)| life.is_used)
            .map(|(process, _)| (&*process.name, &*process.container))
            .collect();
        for (group, life) in &mut self.names {
            life.update(living.contains(&(&*group.process, &*group.container)), now_ns);
        }
        for (server, life) in &mut self.servers {
            life.update(servers.contains(server), now_ns);
        }
    }

    /// Forgets what has not been in use for long enough, or longest, and returns it. Processes without rows of their own,
    /// which `has_rows` tells, are not kept once they have ended.
    pub(super) fn expire(
        &mut self,
        retention: &Retention,
        now_ns: u64,
        has_rows: impl Fn(&Rc<Identity>) -> bool,
    ) -> Over {
        let mut over = Over::default();
        self.processes.retain(|process, life| life.is_used || has_rows(process));
        let (names, early) = unused(&self.names, retention.names_ns, retention.unused, now_ns);
        over.early.extend(early.iter().cloned().map(Early::Name));
        over.names = names.into_iter().chain(early).collect();
        self.names.retain(|group, _| !over.names.contains(group));
        // A server's rows stay as long as the name's.
        over.servers = self.servers.keys().filter(|(group, _)| over.names.contains(group)).cloned().collect();
        self.servers.retain(|server, _| !over.servers.contains(server));
        let (_, early) = unused(&self.servers, u64::MAX, retention.unused, now_ns);
        self.servers.retain(|server, _| !early.contains(server));
        over.early.extend(early.iter().cloned().map(Early::Server));
        over.servers.extend(early);
        let (processes, early) = unused(&self.processes, PID_NS, retention.unused, now_ns);
        over.early.extend(early.iter().cloned().map(Early::Process));
        over.processes = processes.into_iter().chain(early).collect();
        self.processes.retain(|process, _| !over.processes.contains(process));
        over
    }

    /// The lives of all, by the labels of their rows.
    pub fn by_labels(&self) -> ByLabels<'_> {
        let names = self.names.iter().map(|(group, life)| (key(group, ""), *life));
        let servers = self.servers.iter().map(|((group, server), life)| (key(group, server), *life));
        let pids = self
            .processes
            .iter()
            .map(|(process, life)| ((&*process.name, &*process.container, process.pid), *life));
        ByLabels { names: names.chain(servers).collect(), pids: pids.collect() }
    }
}

impl Life {
    /// Takes note of whether it is in use.
    fn update(&mut self, is_used: bool, now_ns: u64) {
        // It was in use since the last look, and may have been until now.
        if is_used || self.is_used {
            self.used_ns = now_ns;
        }
        self.is_used = is_used;
    }
}

/// Takes note that one is in use, which has come at `created` if it is new.
fn see<K: Clone + Eq + Hash>(lives: &mut HashMap<K, Life>, key: &K, created: f64, now_ns: u64) {
    match lives.get_mut(key) {
        Some(life) => (life.used_ns, life.is_used) = (now_ns, true),
        None => {
            lives.insert(key.clone(), Life { created, used_ns: now_ns, is_used: true });
        }
    }
}

/// Those that have not been in use for `keep_ns`, and those of the others that have not been longest, past `most`.
fn unused<K: Clone + Eq + Hash>(
    lives: &HashMap<K, Life>,
    keep_ns: u64,
    most: usize,
    now_ns: u64,
) -> (Vec<K>, HashSet<K>) {
    let unused = lives.iter().filter(|(_, life)| !life.is_used);
    let (over, mut kept): (Vec<_>, Vec<_>) =
        unused.partition(|(_, life)| now_ns.saturating_sub(life.used_ns) >= keep_ns);
    let early = kept.len().saturating_sub(most);
    if early > 0 {
        kept.select_nth_unstable_by_key(early - 1, |(_, life)| life.used_ns);
    }
    let keys = |lives: &[(&K, &Life)]| -> Vec<K> { lives.iter().map(|(key, _)| (*key).clone()).collect() };
    (keys(&over), keys(&kept[..early]).into_iter().collect())
}

fn key<'a>(group: &'a Group, server: &'a str) -> [&'a str; 4] {
    [&group.process, &group.container, labels::role(group.role), server]
}

/// The lives of all, by the labels of their rows.
#[derive(Debug, Default)]
pub struct ByLabels<'a> {
    names: HashMap<[&'a str; 4], Life>,
    pids: HashMap<(&'a str, &'a str, u32), Life>,
}

/// Labels of a row that say what it is of; those that it does not have are empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Of<'a> {
    /// `process`.
    pub process: &'a str,
    /// `container`.
    pub container: &'a str,
    /// `role`.
    pub role: &'a str,
    /// `server`.
    pub server: &'a str,
    /// `pid`.
    pub pid: &'a str,
}

impl ByLabels<'_> {
    /// The life of what a row is of, where that is known.
    pub fn get<'b>(&'b self, of: &Of<'b>) -> Option<Life> {
        // Of as short a lifetime as the labels that are looked for.
        let ByLabels { names, pids }: &ByLabels<'b> = self;
        let Of { process, container, role, server, pid } = *of;
        if let Ok(pid) = pid.parse() {
            return pids.get(&(process, container, pid)).copied();
        }
        let server = if server.is_empty() { None } else { names.get(&[process, container, role, server]) };
        server.or_else(|| names.get(&[process, container, role, ""])).copied()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::rc::Rc;

    use observer_ebpf::layout::Role;

    use super::{Early, Lives, Of, PID_NS, Retention};
    use crate::labels::{Group, ServerKey};
    use crate::process::Identity;

    const SECOND: u64 = 1_000_000_000;
    const HOUR: Retention = Retention { names_ns: 3600 * SECOND, unused: 100 };

    fn process(name: &str, pid: u32) -> Rc<Identity> {
        Rc::new(Identity { name: name.to_owned(), container: String::new(), pid, start_ns: u64::from(pid) })
    }

    fn server(process: &Identity, address: &str) -> ServerKey {
        (Group::of(process, Role::Client), address.into())
    }

    /// Lives of processes that each have a connection to a server, at the second of their pid.
    fn lives(processes: &[(&Rc<Identity>, &str)]) -> Lives {
        let mut lives = Lives::default();
        for (process, address) in processes {
            let now_ns = u64::from(process.pid) * SECOND;
            let group = Group::of(process, Role::Client);
            lives.see(process, &group, f64::from(process.pid), now_ns);
            lives.see_server(&group, &(*address).into(), f64::from(process.pid), now_ns);
        }
        lives
    }

    fn set<T: Clone + Eq + std::hash::Hash>(items: &[T]) -> HashSet<T> {
        items.iter().cloned().collect()
    }

    #[test]
    fn a_name_stays_while_a_process_of_it_lives_and_for_the_retention_after_the_last() {
        let (one, other) = (process("psql", 1), process("psql", 2));
        let mut lives = lives(&[(&one, "db"), (&other, "db")]);
        let name = Group::of(&one, Role::Client);
        // The first ends; the other lives for a day, and has no connection.
        lives.look(&set(&[one]), &HashSet::new(), 10 * SECOND);
        let over = lives.expire(&HOUR, 10 * SECOND, |_| false);
        assert!(over.names.is_empty() && over.servers.is_empty(), "{over:?}");
        lives.look(&HashSet::new(), &HashSet::new(), 86_400 * SECOND);
        assert!(lives.expire(&HOUR, 86_400 * SECOND, |_| false).names.is_empty());
        assert_eq!(lives.living().collect::<Vec<_>>(), [&other]);
        // It ends.
        lives.look(&set(&[Rc::clone(&other)]), &HashSet::new(), 90_000 * SECOND);
        let almost = 90_000 * SECOND + HOUR.names_ns - 1;
        assert!(lives.expire(&HOUR, almost, |_| false).names.is_empty());
        let over = lives.expire(&HOUR, almost + 1, |_| false);
        assert_eq!((over.names, over.servers), (set(&[name]), set(&[server(&other, "db")])));
        assert!(over.early.is_empty());
    }

    #[test]
    fn a_name_that_comes_again_in_time_goes_on() {
        let (one, other) = (process("psql", 1), process("psql", 3000));
        let mut lives = lives(&[(&one, "db")]);
        lives.look(&set(&[Rc::clone(&one)]), &HashSet::new(), 2 * SECOND);
        let group = Group::of(&other, Role::Client);
        lives.see(&other, &group, 3000.0, 3000 * SECOND);
        let of = Of { process: "psql", role: "client", ..Of::default() };
        let life = lives.by_labels().get(&of).expect("it is there");
        assert_eq!((life.created, life.is_used, life.used_ns), (1.0, true, 3000 * SECOND));
        lives.look(&HashSet::new(), &HashSet::new(), 4000 * SECOND);
        assert!(lives.expire(&HOUR, 4000 * SECOND, |_| false).names.is_empty());
    }

    #[test]
    fn rows_with_a_pid_go_a_quarter_of_an_hour_after_the_process() {
        let (one, other) = (process("chat", 1), process("chat", 2));
        let mut lives = lives(&[(&one, "a"), (&other, "a")]);
        lives.look(&set(&[Rc::clone(&one), Rc::clone(&other)]), &HashSet::new(), 10 * SECOND);
        // Only the first has rows of its own.
        let has_rows = |process: &Rc<Identity>| process.pid == 1;
        assert!(lives.expire(&HOUR, 10 * SECOND, has_rows).processes.is_empty());
        let pid = |pid| Of { process: "chat", pid, ..Of::default() };
        assert!(lives.by_labels().get(&pid("1")).is_some_and(|life| !life.is_used));
        assert_eq!(lives.by_labels().get(&pid("2")), None);
        assert!(lives.expire(&HOUR, 10 * SECOND + PID_NS - 1, has_rows).processes.is_empty());
        assert_eq!(lives.expire(&HOUR, 10 * SECOND + PID_NS, has_rows).processes, set(&[one]));
    }

    #[test]
    fn past_the_limit_what_is_unused_longest_makes_way_and_what_is_used_does_not() {
        let all: Vec<Rc<Identity>> =
            (1..=1000).map(|pid| process(&format!("job-{}", pid % 500), pid)).collect();
        let addresses: Vec<String> = (1..=1000).map(|pid| format!("10.0.0.7:{pid}")).collect();
        let pairs: Vec<_> =
            all.iter().zip(&addresses).map(|(process, address)| (process, &**address)).collect();
        let mut lives = lives(&pairs);
        // One lives, with one connection; the others have ended, each a tenth of a second after the one before.
        let (ended, living) = all.split_at(999);
        for one in ended {
            lives.look(
                &set(&[Rc::clone(one)]),
                &HashSet::new(),
                2000 * SECOND + u64::from(one.pid) * SECOND / 10,
            );
        }
        let open = set(&[server(&living[0], "10.0.0.7:1000")]);
        lives.look(&HashSet::new(), &open, 2100 * SECOND);
        let over = lives.expire(&Retention { unused: 7, ..HOUR }, 2100 * SECOND, |_| true);
        assert_eq!((lives.names.len(), lives.servers.len(), lives.processes.len()), (8, 8, 8));
        // The last ones, and the one that lives, are still there.
        let left = |name: &str| lives.names.keys().any(|group| group.process == name);
        assert!((493..500).all(|number| left(&format!("job-{number}"))) && left("job-0"));
        assert!(over.early.contains(&Early::Process(Rc::clone(&all[0]))));
        let early = over.early.iter().filter(|early| matches!(early, Early::Name(_))).count();
        assert_eq!(early, 492);
        assert!(lives.has(&server(&living[0], "10.0.0.7:1000")));
    }

    #[test]
    fn a_server_is_known_by_its_label_and_else_by_its_name() {
        let one = process("app", 5);
        let mut lives = lives(&[(&one, "10.0.0.7:1")]);
        let group = Group::of(&one, Role::Client);
        lives.see_server(&group, &"10.0.0.8:1".into(), 9.0, 9 * SECOND);
        let by_labels = lives.by_labels();
        let created = |server| {
            by_labels
                .get(&Of { process: "app", role: "client", server, ..Of::default() })
                .map(|life| life.created)
        };
        assert_eq!(
            [created("10.0.0.8:1"), created("10.0.0.9:1"), created("")],
            [Some(9.0), Some(5.0), Some(5.0)]
        );
        assert_eq!(by_labels.get(&Of { process: "web", role: "client", ..Of::default() }), None);
    }
}
