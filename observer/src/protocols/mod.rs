//! What connections of each protocol have done, and what those that are open do now. A line for each protocol that is
//! parsed: its totals, its families, and every dispatch over them come from there.
//!
//! To add one: a folder here, with its totals and its families, and its line below.

pub mod http;
pub mod kafka;
pub mod keys;
pub mod memcached;
pub mod postgres;
pub mod redis;
pub mod tls;
pub mod websocket;

use std::collections::BTreeMap;
use std::rc::Rc;

use observer_ebpf::layout::connection::Connection;
use observer_ebpf::layout::names::KeyCounts;
use observer_ebpf::layout::{Protocol, Role};

use self::websocket::minute::Rate;
use crate::connections;
use crate::ledger::View;
use crate::metrics::family::{Description, Families};

/// A connection, as totals take it in.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Its slot.
    pub connection: &'a Connection,
    /// Its process's end.
    pub role: Role,
    /// The server's end, where that is a label and known.
    pub server: Option<&'a Rc<str>>,
    /// Of a WebSocket that is open: how its user is doing.
    pub rate: Option<Rate>,
    /// Why it is not read, should it be encrypted and not have been.
    pub unread: tls::Unread,
}

/// Totals of one protocol.
pub trait Totals: Clone + Default {
    /// Whether the server's end is a label of the protocol's families.
    const IS_TOLD_BY_SERVER: bool = false;

    /// Whether connections of the protocol may be out of sync with its parser.
    const MAY_BE_LOST: bool = true;

    /// Adds what a slot has counted since it was taken.
    fn add(&mut self, seen: &Seen<'_>);

    /// Counts a connection that is open, for what is told of those only.
    fn add_open(&mut self, seen: &Seen<'_>);

    /// Adds all of another's.
    fn add_totals(&mut self, other: &Self);

    /// Takes what was counted for a server out of it. To be implemented where the server's end is a label.
    #[must_use]
    fn take_server(&mut self, _server: &str) -> Self {
        const { assert!(!Self::IS_TOLD_BY_SERVER, "what is told by server must be taken by it") };
        Self::default()
    }

    /// Adds keys found and not found at a server, which are counted by name and not in a connection's slot. Protocols
    /// that look up no keys have none.
    fn add_keys(&mut self, _server: &Rc<str>, _prefix: &Rc<str>, _counts: KeyCounts) {}
}

/// Totals by the server's end.
pub type ByServer<T> = BTreeMap<Rc<str>, T>;

impl<T: Totals> Totals for ByServer<T> {
    const IS_TOLD_BY_SERVER: bool = true;
    const MAY_BE_LOST: bool = T::MAY_BE_LOST;

    fn add(&mut self, seen: &Seen<'_>) {
        if let Some(server) = seen.server {
            self.entry(Rc::clone(server)).or_default().add(seen);
        }
    }

    fn add_open(&mut self, seen: &Seen<'_>) {
        if let Some(server) = seen.server {
            self.entry(Rc::clone(server)).or_default().add_open(seen);
        }
    }

    fn add_totals(&mut self, other: &Self) {
        for (server, totals) in other {
            self.entry(Rc::clone(server)).or_default().add_totals(totals);
        }
    }

    fn take_server(&mut self, server: &str) -> Self {
        self.remove_entry(server).into_iter().collect()
    }

    fn add_keys(&mut self, server: &Rc<str>, prefix: &Rc<str>, counts: KeyCounts) {
        self.entry(Rc::clone(server)).or_default().add_keys(server, prefix, counts);
    }
}

/// Makes of the table [`Books`], with a field for each protocol, and the list of all their families.
macro_rules! books {
    (
        parsed { $($protocol:ident => $module:ident: $totals:ty;)* }
        encrypted { $($(#[$doc:meta])* $field:ident: $encrypted:ty;)* }
        recognised { $($other:ident)* }
    ) => {
        /// What connections of each protocol have done, and what those that are open do now: of the processes of one
        /// name, in one role.
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct Books {
            $(
                #[doc = concat!("Of ", stringify!($protocol), ".")]
                pub $module: $totals,
            )*
            $(
                $(#[$doc])*
                pub $field: $encrypted,
            )*
        }

        impl Books {
            /// Adds what a connection of a protocol has counted, and what its records tell, if it is encrypted.
            pub fn add(&mut self, protocol: Protocol, seen: &Seen<'_>) {
                match protocol {
                    $(Protocol::$protocol => self.$module.add(seen),)*
                    $(Protocol::$other)|* => {}
                }
                if connections::is_encrypted(seen.connection) {
                    $(self.$field.add(seen);)*
                }
            }

            /// Counts one that is open.
            pub fn add_open(&mut self, protocol: Protocol, seen: &Seen<'_>) {
                match protocol {
                    $(Protocol::$protocol => self.$module.add_open(seen),)*
                    $(Protocol::$other)|* => {}
                }
                if connections::is_encrypted(seen.connection) {
                    $(self.$field.add_open(seen);)*
                }
            }

            /// Adds keys found and not found at a server: see [`Totals::add_keys`].
            pub fn add_keys(
                &mut self,
                protocol: Protocol,
                server: &Rc<str>,
                prefix: &Rc<str>,
                counts: KeyCounts,
            ) {
                match protocol {
                    $(Protocol::$protocol => self.$module.add_keys(server, prefix, counts),)*
                    $(Protocol::$other)|* => {}
                }
            }

            /// Adds all of another's.
            pub fn merge(&mut self, other: &Self) {
                $(self.$module.add_totals(&other.$module);)*
                $(self.$field.add_totals(&other.$field);)*
            }

            /// Takes what was counted for a server out of them.
            #[must_use]
            pub fn take_server(&mut self, server: &str) -> Self {
                Self {
                    $($module: self.$module.take_server(server),)*
                    $($field: self.$field.take_server(server),)*
                }
            }
        }

        /// Whether the server's end is a label of a protocol's families.
        pub const fn is_told_by_server(protocol: Protocol) -> bool {
            match protocol {
                $(Protocol::$protocol => <$totals as Totals>::IS_TOLD_BY_SERVER,)*
                $(Protocol::$other)|* => false,
            }
        }

        /// Whether connections of a protocol may be out of sync with its parser: lost, or seen in the middle and not
        /// found yet.
        pub const fn may_be_lost(protocol: Protocol) -> bool {
            match protocol {
                $(Protocol::$protocol => <$totals as Totals>::MAY_BE_LOST,)*
                Protocol::Tls | Protocol::Http2 | Protocol::Unknown => true,
                Protocol::Fastcgi | Protocol::Scgi => false,
            }
        }

        /// The families of all protocols.
        pub const FAMILIES: &[&[Description]] = &[$($module::families::FAMILIES,)* tls::families::FAMILIES];

        /// Adds the rows of all protocols.
        pub fn fill(families: &mut Families, view: &View) {
            $($module::families::fill(families, view);)*
            tls::families::fill(families, view);
        }
    };
}

books! {
    parsed {
        WebSocket => websocket: websocket::Totals;
        Http => http: ByServer<http::Totals>;
        Postgres => postgres: ByServer<postgres::Totals>;
        Kafka => kafka: ByServer<kafka::Totals>;
        Memcached => memcached: ByServer<memcached::Totals>;
        Redis => redis: ByServer<redis::Totals>;
    }
    encrypted {
        /// Of what is encrypted, whatever it speaks.
        tls: tls::Totals;
        /// Of its handshakes.
        handshakes: ByServer<tls::Handshakes>;
    }
    recognised { Tls Http2 Fastcgi Scgi Unknown }
}
