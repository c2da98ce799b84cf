//! Values of labels that several families have: processes, servers, and the ends of connections.

use std::rc::Rc;

use observer_ebpf::layout::{Direction, Role};

use crate::process::{Identity, NOBODY};

/// Processes of one name in one container, in one role.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Group {
    /// Their name.
    pub process: String,
    /// Their container's id, or empty.
    pub container: String,
    /// Their end of the connections.
    pub role: Role,
}

/// A process in one role.
pub type Member = (Rc<Identity>, Role);

/// Processes of one name, and the server's end of their connections: `ADDR:PORT`, or a path.
pub type ServerKey = (Group, Rc<str>);

impl Group {
    /// The group of a process.
    pub fn of(identity: &Identity, role: Role) -> Self {
        Self { process: identity.name.clone(), container: identity.container.clone(), role }
    }

    /// The group of connections that no process has used yet.
    pub fn nobody(role: Role) -> Self {
        Self { process: NOBODY.to_owned(), container: String::new(), role }
    }

    /// The values of the labels `process`, `container` and `role`.
    pub fn labels(&self) -> [&str; 3] {
        [&self.process, &self.container, role(self.role)]
    }
}

/// A label's value for a role.
pub const fn role(role: Role) -> &'static str {
    match role {
        Role::Client => "client",
        Role::Server => "server",
    }
}

/// A label's value for a direction.
pub const fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Sent => "sent",
        Direction::Received => "received",
    }
}
