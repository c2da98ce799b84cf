//! Where things are.

use std::path::{Path, PathBuf};

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Where everything built goes, whatever `CARGO_TARGET_DIR` says: the agent's build script looks there.
pub(crate) fn target() -> PathBuf {
    root().join("target")
}

/// The BPF programs, and the directory of their own build: another compiler than the host's builds them.
pub(crate) fn bpf() -> PathBuf {
    target().join("bpf")
}

/// The agent.
pub(crate) fn agent() -> PathBuf {
    target().join("release/observer")
}

/// Client libraries for the end-to-end tests.
pub(crate) fn test_env() -> PathBuf {
    target().join("test-env")
}
