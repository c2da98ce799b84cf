//! What is said of encrypted connections where nothing inside them is to be read: that it could be.

use observer_ebpf::layout::Protocol;
use observer_ebpf::layout::connection::{Connection, Phase};

/// Encrypted connections that are open, either end's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Encrypted {
    /// Those that are known to be sessions of Postgres.
    postgres: u64,
    /// All others.
    others: u64,
}

impl Encrypted {
    /// Counts a connection, if it is one.
    pub fn add(&mut self, connection: &Connection) {
        if !connection.is_encrypted() || Phase::from_u8(connection.phase) != Phase::Open {
            return;
        }
        if connection.protocol == Protocol::Postgres as u8 {
            self.postgres += 1;
        } else {
            self.others += 1;
        }
    }

    /// What reads them, and what that costs; none where there are none.
    pub fn hint(self) -> Option<String> {
        let parts = [(self.postgres, "Postgres session"), (self.others, "connection")];
        let parts = parts.iter().filter(|(count, _)| *count > 0);
        let counted =
            |&(count, name): &(u64, &str)| format!("{count} {name}{}", if count == 1 { "" } else { "s" });
        let listed: Vec<String> = parts.map(counted).collect();
        let verb = if self.postgres + self.others == 1 { "is" } else { "are" };
        (!listed.is_empty()).then(|| {
            format!(
                "{} {verb} encrypted: --tls follow reads most libraries, at some 2 µs a call",
                listed.join(" and ")
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use observer_ebpf::layout::Protocol;
    use observer_ebpf::layout::connection::{Connection, FLAG_ENCRYPTED, Phase};

    use super::Encrypted;

    fn of(connections: &[(Protocol, u8, Phase)]) -> Option<String> {
        let mut encrypted = Encrypted::default();
        for &(protocol, flags, phase) in connections {
            // SAFETY: integers only, all of which may be zero.
            let mut connection: Connection = unsafe { std::mem::zeroed() };
            connection.protocol = protocol as u8;
            connection.flags = flags;
            connection.phase = phase as u8;
            encrypted.add(&connection);
        }
        encrypted.hint()
    }

    #[test]
    fn open_connections_that_are_encrypted_are_counted() {
        let postgres = (Protocol::Postgres, FLAG_ENCRYPTED, Phase::Open);
        let tls = (Protocol::Tls, FLAG_ENCRYPTED, Phase::Open);
        let others = [(Protocol::Postgres, 0, Phase::Open), (Protocol::Tls, FLAG_ENCRYPTED, Phase::Closed)];
        assert_eq!(of(&others), None);
        let said = of(&[others[0], postgres]).expect("there is one");
        assert!(said.starts_with("1 Postgres session is encrypted: --tls follow reads"), "{said}");
        let said = of(&[tls, others[1], tls]).expect("there are two");
        assert!(said.starts_with("2 connections are encrypted:"), "{said}");
        let said = of(&[postgres, tls, postgres]).expect("there are three");
        assert!(said.starts_with("2 Postgres sessions and 1 connection are encrypted:"), "{said}");
    }
}
