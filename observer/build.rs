//! Embeds the BPF program that `cargo xtask build` leaves in `target/bpf`,
//! for the machine that the agent is built for.
//!
//! Without one (`cargo clippy`, `cargo test` on the host) an empty one is embedded: the agent then says
//! so when it is run.

use std::path::PathBuf;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or(io::ErrorKind::NotFound)?);
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?);
    let machine = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    let built = root.join("../target/bpf").join(machine).join("observer-program.o");
    println!("cargo::rerun-if-changed={}", built.display());
    println!("cargo::rerun-if-changed=build.rs");
    let program = if built.is_file() { fs::read(&built)? } else { Vec::new() };
    fs::write(out.join("observer-program.o"), program)
}
