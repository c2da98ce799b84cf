//! What observes a load: nothing, programs of the benchmark's own, or the agent; and what that costs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use aya::programs::BtfTracePoint;
use aya::{Btf, Ebpf, EbpfLoader};
use observer::kernel::members;
use observer_tests::agent::Agent;

/// What may observe a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Observer {
    /// Nothing.
    Off,
    /// Programs that do nothing.
    Empty,
    /// Programs that do the least that looks at a call's bytes.
    Floor,
    /// The agent.
    Agent,
}

impl Observer {
    pub(crate) const ALL: [Self; 4] = [Self::Off, Self::Empty, Self::Floor, Self::Agent];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Empty => "empty",
            Self::Floor => "floor",
            Self::Agent => "agent",
        }
    }

    /// Starts to observe, until the result is dropped.
    pub(crate) fn start(self) -> anyhow::Result<Running> {
        Ok(match self {
            Self::Off => Running::Off,
            Self::Empty => Running::Programs { _attached: attach("OBSERVER_BENCH_EMPTY")? },
            Self::Floor => Running::Programs { _attached: attach("OBSERVER_BENCH_FLOOR")? },
            Self::Agent => Running::Agent(Agent::start(&[])?),
        })
    }
}

/// What observes.
pub(crate) enum Running {
    /// Nothing.
    Off,
    /// Programs of this process, for as long as they are held.
    Programs { _attached: Ebpf },
    /// The agent.
    Agent(Agent),
}

impl Running {
    /// The agent, if it is what observes.
    pub(crate) fn agent(&self) -> Option<&Agent> {
        if let Self::Agent(agent) = self { Some(agent) } else { None }
    }

    /// What its programs have cost so far.
    pub(crate) fn costs(&self) -> anyhow::Result<Costs> {
        let pid = match self {
            Self::Off => bail!("nothing observes"),
            Self::Programs { .. } => std::process::id(),
            Self::Agent(agent) => agent.pid(),
        };
        Costs::of(pid)
    }
}

fn attach(variable: &str) -> anyhow::Result<Ebpf> {
    let path = PathBuf::from(std::env::var_os(variable).with_context(|| format!("{variable} is not set"))?);
    let btf = Btf::from_sys_fs()?;
    let facts = members::resolve(Path::new(members::VMLINUX))?;
    ensure!(facts.missing.is_empty(), "this kernel has no {:?}", facts.missing);
    let mut loader = EbpfLoader::new();
    loader.btf(Some(&btf));
    for (global, offset) in &facts.offsets {
        loader.override_global(global, offset, false);
    }
    let mut ebpf = loader.load_file(&path)?;
    let names: Vec<String> = ebpf.programs().map(|(name, _)| name.to_owned()).collect();
    for name in names {
        let program: &mut BtfTracePoint = ebpf.program_mut(&name).context("it was there")?.try_into()?;
        program.load(&name, &btf)?;
        program.attach()?;
    }
    Ok(ebpf)
}

/// Runs and nanoseconds by program.
#[derive(Clone, Debug, Default)]
pub(crate) struct Costs(BTreeMap<String, (f64, f64)>);

impl Costs {
    /// Those of the programs that a process has open (`bpf_prog_show_fdinfo`, `kernel/bpf/syscall.c`).
    fn of(pid: u32) -> anyhow::Result<Self> {
        let names: BTreeMap<u32, String> = aya::programs::loaded_programs()
            .filter_map(Result::ok)
            .map(|info| (info.id(), info.name_as_str().unwrap_or_default().to_owned()))
            .collect();
        let mut costs = BTreeMap::new();
        for entry in fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
            let info = fs::read_to_string(entry?.path()).unwrap_or_default();
            let number = |key: &str| -> Option<u64> {
                info.lines().find_map(|line| line.strip_prefix(key))?.trim().parse().ok()
            };
            let (Some(id), Some(runs), Some(time)) =
                (number("prog_id:"), number("run_cnt:"), number("run_time_ns:"))
            else {
                continue;
            };
            if let Some(name) = names.get(&(id as u32)) {
                costs.insert(name.clone(), (runs as f64, time as f64));
            }
        }
        Ok(Self(costs))
    }

    /// What was added since.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let added = self.0.iter().map(|(name, &(runs, time))| {
            let (runs_before, time_before) = before.0.get(name).copied().unwrap_or_default();
            (name.clone(), (runs - runs_before, time - time_before))
        });
        Self(added.collect())
    }

    /// Nanoseconds a run of a program, whose name the kernel may have cut short.
    pub(crate) fn nanoseconds(&self, program: &str) -> Option<f64> {
        let (_, &(runs, time)) =
            self.0.iter().find(|(name, _)| !name.is_empty() && program.starts_with(*name))?;
        (runs > 0.0).then(|| time / runs)
    }
}

/// The kernel's statistics on programs; off again when dropped.
pub(crate) struct Statistics;

const STATISTICS: &str = "/proc/sys/kernel/bpf_stats_enabled";

impl Statistics {
    pub(crate) fn enable() -> anyhow::Result<Self> {
        fs::write(STATISTICS, "1").with_context(|| format!("cannot write {STATISTICS}"))?;
        Ok(Self)
    }
}

impl Drop for Statistics {
    fn drop(&mut self) {
        // Nothing is wrong with leaving it on.
        let _ = fs::write(STATISTICS, "0");
    }
}

/// Processor time that a process has used.
pub(crate) fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, rest) = stat.rsplit_once(')').context("no name in stat")?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
    // SAFETY: no arguments that could be wrong.
    let ticks_per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    Ok(ticks / ticks_per_second as f64)
}
