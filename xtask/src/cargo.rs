//! Cargo, started from inside `cargo run`.
//!
//! The outer cargo tells this program about itself in environment variables. Those that would make the
//! inner one build something else, or elsewhere, are taken away; settings of networks, registries and
//! terminals stay.

use std::env;
use std::ffi::OsString;
use std::process::Command;

use crate::{tools, workspace};

/// The cargo that started this program (not rustup's stand-in for it, which would add library paths).
pub(crate) fn same() -> Command {
    clean(Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"))))
}

/// The same where it finds compilers that had to be unpacked.
pub(crate) fn with_tools() -> Command {
    let cargo = env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    clean(tools::command(&cargo))
}

/// The cargo of another of rustup's toolchains.
pub(crate) fn of(toolchain: &str) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", toolchain, "cargo"]);
    clean(command)
}

fn clean(mut command: Command) -> Command {
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(leaks) {
            command.env_remove(name);
        }
    }
    command.current_dir(workspace::root());
    command
}

/// Whether a variable of the outer build would change the inner one.
fn leaks(name: &str) -> bool {
    const EXACT: [&str; 10] = [
        "CARGO",
        "CARGO_CRATE_NAME",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_PRIMARY_PACKAGE",
        "RUSTC",
        "RUSTC_BOOTSTRAP",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTC_WRAPPER",
        "RUSTDOCFLAGS",
        "RUSTFLAGS",
    ];
    const PREFIXES: [&str; 6] =
        ["CARGO_BIN_", "CARGO_BUILD_", "CARGO_MANIFEST_", "CARGO_PKG_", "CARGO_PROFILE_", "CARGO_TARGET_"];
    EXACT.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::leaks;

    #[test]
    fn the_outer_build_does_not_leak() {
        for name in
            ["CARGO_PKG_NAME", "CARGO_MANIFEST_DIR", "CARGO_TARGET_DIR", "RUSTFLAGS", "RUSTC", "CARGO"]
        {
            assert!(leaks(name), "{name}");
        }
    }

    #[test]
    fn settings_stay() {
        for name in ["CARGO_HOME", "CARGO_HTTP_CAINFO", "CARGO_NET_OFFLINE", "RUSTUP_TOOLCHAIN", "PATH"] {
            assert!(!leaks(name), "{name}");
        }
    }
}
