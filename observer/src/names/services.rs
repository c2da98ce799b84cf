//! Processes and the servers that they have to do with, by the numbers that the kernel half counts under.

use std::collections::{HashMap, HashSet};
use std::io;
use std::rc::Rc;

use aya::maps::{MapData, MapError};
use observer_ebpf::layout::connection::{AF_UNIX, UnixPath};
use observer_ebpf::layout::names::ServiceKey;
use observer_ebpf::layout::{Protocol, Role};

use crate::address;
use crate::kernel::batch;
use crate::kernel::pod::pod;
use crate::labels::Group;
use crate::ledger::Ledger;
use crate::process::Identity;

pod! {
    /// [`ServiceKey`] as a map's key.
    Key(ServiceKey);
}

/// Whose counts they are, as labels tell it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The processes.
    pub group: Group,
    /// The server's end.
    pub server: Rc<str>,
    /// What they speak.
    pub protocol: Protocol,
}

/// A process and a server.
#[derive(Debug)]
struct Service {
    key: ServiceKey,
    identity: Rc<Identity>,
    place: Place,
}

/// All that are known.
#[derive(Debug)]
pub struct Services {
    map: MapData,
    /// Entries that the map has room for.
    room: usize,
    known: HashMap<u32, Service>,
}

impl Services {
    /// Those of the `SERVICES` map.
    ///
    /// # Errors
    ///
    /// If the map's size cannot be read.
    pub fn new(map: MapData) -> Result<Self, MapError> {
        let room = map.info()?.max_entries() as usize;
        Ok(Self { map, room, known: HashMap::new() })
    }

    /// Whose counts those of a number are.
    pub fn place(&self, number: u32) -> Option<&Place> {
        self.known.get(&number).map(|service| &service.place)
    }

    /// The process of a number.
    pub(super) fn identity(&self, number: u32) -> Option<&Rc<Identity>> {
        self.known.get(&number).map(|service| &service.identity)
    }

    /// Reads the map again, where one of these numbers is not known. Whatever was counted under a number before is known
    /// afterwards, unless it is nobody's any more.
    pub(super) fn learn(&mut self, numbers: &HashSet<u32>, ledger: &mut Ledger) -> io::Result<()> {
        if numbers.iter().all(|number| self.known.contains_key(number)) {
            return Ok(());
        }
        let entries: Vec<(Key, u64)> = batch::read(&self.map, self.room)?;
        for (Key(key), number) in entries {
            let Ok(number) = u32::try_from(number) else { continue };
            self.known.entry(number).or_insert_with(|| {
                let identity = ledger.identify(key.owner, key.comm);
                let group = Group::of(&identity, role(&key));
                let protocol = Protocol::from_u8(u8::try_from(key.protocol).unwrap_or_default());
                let place = Place { group, server: server(&key).into(), protocol };
                Service { key, identity, place }
            });
        }
        Ok(())
    }

    /// The numbers of these processes.
    pub(super) fn of(&self, processes: &HashSet<Rc<Identity>>) -> HashSet<u32> {
        let theirs = self.known.iter().filter(|(_, service)| processes.contains(&service.identity));
        theirs.map(|(&number, _)| number).collect()
    }

    /// Removes these for good.
    pub(super) fn remove(&mut self, numbers: &HashSet<u32>) -> io::Result<()> {
        let gone: Vec<u32> =
            numbers.iter().copied().filter(|number| self.known.contains_key(number)).collect();
        let keys: Vec<Key> = gone.iter().map(|number| Key(self.known[number].key)).collect();
        let (removed, outcome) = batch::remove(&self.map, &keys);
        for number in &gone[..removed] {
            self.known.remove(number);
        }
        outcome
    }
}

fn role(key: &ServiceKey) -> Role {
    Role::from_u8(u8::try_from(key.role).unwrap_or_default())
}

/// The server's end, as other labels have it.
fn server(key: &ServiceKey) -> String {
    if key.family == AF_UNIX {
        return address::unix_path(&UnixPath { length: u32::from(key.port), path: key.address });
    }
    let address = key.address.first_chunk::<16>().copied().unwrap_or_default();
    address::socket_address(key.family, address, key.port)
}

#[cfg(test)]
mod tests {
    use observer_ebpf::layout::connection::{AF_INET, AF_UNIX, Owner, UNIX_PATH_MAX};
    use observer_ebpf::layout::names::ServiceKey;

    fn key(family: u16, address: &[u8], port: u16) -> ServiceKey {
        let mut key = ServiceKey {
            owner: Owner::default(),
            comm: [0; 16],
            address: [0; UNIX_PATH_MAX],
            family,
            port,
            role: 0,
            protocol: 0,
        };
        key.address[..address.len()].copy_from_slice(address);
        key
    }

    #[test]
    fn servers_are_told_as_those_of_connections_are() {
        assert_eq!(super::server(&key(AF_INET, &[10, 0, 0, 7], 6379)), "10.0.0.7:6379");
        let path = b"/run/redis.sock";
        assert_eq!(super::server(&key(AF_UNIX, path, path.len() as u16)), "/run/redis.sock");
        assert_eq!(super::server(&key(AF_UNIX, b"", 0)), "");
    }
}
