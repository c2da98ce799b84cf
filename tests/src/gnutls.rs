//! Programs that speak TLS by `GnuTLS`.

use crate::puppet::Puppet;

/// How a connection is read whose plaintext `GnuTLS` has.
pub const READ: [&str; 3] = ["gnutls", "yes", ""];

/// A Python process that calls `GnuTLS` directly (`tests/scripts/tls_gnutls.py`).
pub fn puppet(name: &str) -> anyhow::Result<Puppet> {
    let mut puppet = Puppet::start(name)?;
    puppet.run("from tls_gnutls import *")?;
    Ok(puppet)
}
