//! `observer check`: whether this host can run the agent. It loads and attaches every program, as `run`
//! would, and takes them down again: nothing less shows whether it works.

use std::fmt::Write as _;

use observer_ebpf::layout::control::Thresholds;
use serde::Serialize;

use crate::config::Reading;
use crate::kernel::members::VMLINUX;
use crate::kernel::namespaces::{self, Namespace};
use crate::kernel::privileges;
use crate::names::templates::Tree;
use crate::probes::libraries::Attached;
use crate::probes::{self, Probe, Settings, State};

/// What was found.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Whether `observer run` would work.
    pub ok: bool,
    /// Why not, and what to do.
    pub reason: Option<String>,
    /// The kernel's release.
    pub kernel: String,
    /// What a host must have.
    pub features: Vec<Feature>,
    /// The programs; empty if they could not be loaded at all.
    pub probes: Vec<Probe>,
}

/// Something that a host must have.
#[derive(Debug, Serialize)]
pub struct Feature {
    /// What it is.
    pub name: &'static str,
    /// Whether it is there.
    pub ok: bool,
    /// More about it.
    pub detail: String,
}

/// Looks at this host.
pub fn check() -> Report {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let missing = privileges::missing();
    let has_btf = std::path::Path::new(VMLINUX).exists();
    let mut features = vec![
        Feature {
            name: "privileges",
            ok: missing.is_empty(),
            detail: if missing.is_empty() {
                "as needed".into()
            } else {
                format!("lacks {}", missing.join(", "))
            },
        },
        Feature {
            name: "kernel type information",
            ok: has_btf,
            detail: if has_btf {
                VMLINUX.into()
            } else {
                format!("no {VMLINUX}: needs CONFIG_DEBUG_INFO_BTF=y")
            },
        },
        namespace("pid namespace", namespaces::pid()),
        namespace("cgroup namespace", namespaces::cgroup()),
    ];
    let loaded = probes::load(&Settings {
        max_connections: 1,
        thresholds: Thresholds::DEFAULT,
        key_separator: b':',
        key_segments: 1,
        key_skips: Vec::new(),
        max_prefixes: 1,
        http_max_routes: 1,
        http_stream_after_ns: 1,
        http_routes: Tree::default(),
        queues: Vec::new(),
        tls: Reading::Start,
    });
    let (reason, probes) = match loaded {
        Ok(probes) => {
            features.push(Feature { name: "data path", ok: true, detail: probes.data_path.into() });
            features.push(libraries(&probes.libraries, probes.unreadable_processes));
            features.extend(probes.missing_members.iter().map(|detail| Feature {
                name: "kernel structures",
                ok: false,
                detail: detail.clone(),
            }));
            (None, probes.probes.clone())
        }
        Err(error) => (Some(error.to_string()), Vec::new()),
    };
    Report { ok: reason.is_none(), reason, kernel: release.trim().to_owned(), features, probes }
}

/// Whether TLS libraries that are in use now could be read, with `--tls`.
fn libraries(attached: &[Attached], unreadable: usize) -> Feature {
    let refused = attached.iter().find_map(|library| Some((&library.path, library.reason.as_ref()?)));
    let mut detail = match refused {
        None => format!("{} in use, which --tls start would read", attached.len()),
        Some((path, reason)) => format!("--tls start would not read {path}: {reason}"),
    };
    if unreadable > 0 {
        let _ = write!(detail, "; processes that may not be looked at: {unreadable}");
    }
    Feature { name: "TLS libraries", ok: refused.is_none(), detail }
}

/// Without the host's, something is not seen, and everything else works.
fn namespace(name: &'static str, namespace: Namespace) -> Feature {
    Feature { name, ok: namespace.host, detail: namespace.effect.unwrap_or("the host's").into() }
}

impl Report {
    /// The report as text for people.
    pub fn text(&self) -> String {
        let mut text = format!("kernel {}\n", self.kernel);
        for feature in &self.features {
            let _ = writeln!(text, "  {:<4} {:<24} {}", mark(feature.ok), feature.name, feature.detail);
        }
        if !self.probes.is_empty() {
            text.push_str("programs\n");
        }
        for probe in &self.probes {
            let detail = match (&probe.reason, probe.verified_instructions) {
                (Some(reason), _) => format!("without it: no {}; {reason}", probe.gives),
                (None, Some(count)) => format!("{} ({count} instructions verified)", probe.gives),
                (None, None) => probe.gives.to_owned(),
            };
            let _ = writeln!(text, "  {:<4} {:<24} {detail}", mark(probe.state == State::Up), probe.name);
        }
        match &self.reason {
            None => text.push_str("observer can run here\n"),
            Some(reason) => {
                let _ = writeln!(text, "observer cannot run here: {reason}");
            }
        }
        text
    }
}

const fn mark(ok: bool) -> &'static str {
    if ok { "ok" } else { "no" }
}
