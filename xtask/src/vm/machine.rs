//! An emulated machine, and what the guest in it found out.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, Result};

use super::kernels::Kernel;
use crate::architecture::Architecture;
use crate::tools;

/// How long a machine may take: it is ended then. Most of it goes into the verifier, which is emulated as well. A quiet
/// host needs some 40 s; beside other work it may be several times as much.
const SECONDS: &str = "400";

/// How many instructions the verifier may go through in a program, of the million that it allows
/// (`BPF_COMPLEXITY_LIMIT_INSNS` in `include/linux/bpf.h`): the next kernel's may go through more.
const INSTRUCTIONS_MAX: u64 = 500_000;

/// What there is to say of a kernel.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    /// The kernel's line.
    pub(crate) line: &'static str,
    /// Whose default it is.
    pub(crate) runs: &'static str,
    /// The release that was booted.
    pub(crate) release: String,
    /// How sends and receives are seen there.
    pub(crate) data_path: String,
    /// Programs, with how many instructions the verifier went through.
    pub(crate) programs: Vec<(String, u64)>,
    /// Tests that passed.
    pub(crate) tests: Vec<String>,
    /// Why it is not as it should be.
    pub(crate) wrong: Vec<String>,
    /// Why the agent refuses it.
    pub(crate) refused: Option<String>,
}

/// Boots a kernel with the image, and hears what the guest says.
pub(super) fn boot(kernel: &Kernel, release: String, file: &Path, image: &Path) -> Result<Report> {
    let (emulator, processor, console) = match kernel.architecture {
        Architecture::X86_64 => ("qemu-system-x86_64", &["-cpu", "max"][..], "ttyS0"),
        Architecture::Aarch64 => {
            ("qemu-system-aarch64", &["-machine", "virt", "-cpu", "cortex-a72"][..], "ttyAMA0")
        }
    };
    let mut machine = tools::command("timeout");
    machine.args(["--kill-after=5", SECONDS, "nice", "-n", "10", emulator]).args(processor);
    // Emulated, whatever the host could do: the same everywhere.
    machine.args(["-accel", "tcg", "-smp", "1", "-m", "1G"]);
    machine.args(["-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio"]);
    machine.arg("-kernel").arg(file).arg("-initrd").arg(image);
    // A panic ends the machine at once; what says that all went well is the guest's last line, not qemu's status.
    // A busy host is late with the ticks by which the kernel would check the timer.
    machine.arg("-append").arg(format!("console={console} quiet panic=-1 no_timer_check"));
    let output = machine.stdin(Stdio::null()).output().context("cannot start qemu")?;
    let said = String::from_utf8_lossy(&output.stdout);
    Ok(Report::read(kernel, release, &said))
}

impl Report {
    /// Of one that could not be booted.
    pub(super) fn failed(kernel: &Kernel, reason: &str) -> Self {
        Self { line: kernel.line, runs: kernel.runs, wrong: vec![reason.to_owned()], ..Self::default() }
    }

    /// What a guest's lines tell.
    fn read(kernel: &Kernel, release: String, said: &str) -> Self {
        let mut report = Self { line: kernel.line, runs: kernel.runs, release, ..Self::default() };
        let mut end = None;
        for line in said.lines() {
            match line.trim_end().split('\t').collect::<Vec<_>>()[..] {
                ["path", path] => path.clone_into(&mut report.data_path),
                ["program", name, count] => {
                    report.programs.push((name.to_owned(), count.parse().unwrap_or_default()));
                }
                ["test", name] => report.tests.push(name.to_owned()),
                ["failed", name, reason] => report.wrong.push(format!("{name}: {reason}")),
                ["end", outcome] => end = Some(outcome.to_owned()),
                _ => {}
            }
        }
        match end.as_deref() {
            None => {
                let last: Vec<&str> = said.lines().rev().take(12).collect();
                let last: Vec<&str> = last.into_iter().rev().collect();
                report.wrong.push(format!("the guest did not come to its end:\n{}", last.join("\n")));
            }
            Some("passed") if kernel.refused => report.wrong.push("the agent runs there".to_owned()),
            Some("passed") if report.tests.is_empty() => report.wrong.push("nothing was tested".to_owned()),
            Some("passed") => {}
            Some(outcome) => match outcome.strip_prefix("refused: ") {
                Some(reason) if kernel.refused => report.refused = Some(reason.to_owned()),
                _ => report.wrong.push(outcome.to_owned()),
            },
        }
        for (name, count) in &report.programs {
            if *count > INSTRUCTIONS_MAX {
                report
                    .wrong
                    .push(format!("{name}: {count} instructions verified, of {INSTRUCTIONS_MAX} at most"));
            }
        }
        report
    }

    /// Whether the agent does there what it is said to.
    pub(super) fn is_good(&self) -> bool {
        self.wrong.is_empty()
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut text = format!("{} {}\n", if self.is_good() { "ok    " } else { "FAILED" }, self.release);
        if let Some(reason) = &self.refused {
            let _ = writeln!(text, "       refused, as it should be: {reason}");
        }
        if !self.data_path.is_empty() {
            let _ = writeln!(text, "       {}", self.data_path);
        }
        for (name, count) in &self.programs {
            let _ = writeln!(text, "       {count:>7} instructions verified  {name}");
        }
        for test in &self.tests {
            let _ = writeln!(text, "       passed  {test}");
        }
        for reason in &self.wrong {
            let _ = writeln!(text, "       WRONG   {reason}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::super::kernels::KERNELS;
    use super::*;

    fn read(line: &str, said: &str) -> Report {
        let kernel = KERNELS.iter().find(|kernel| kernel.line == line);
        Report::read(kernel.expect("a kernel of this line"), format!("{line}.0"), said)
    }

    #[test]
    fn a_guest_passes_by_its_last_line_alone() {
        let good = "boot\r\npath\ttracepoints\r\nprogram\tone\t12\r\ntest\tall\r\nend\tpassed\r\n";
        let report = read("6.12", good);
        assert!(report.is_good(), "{report:?}");
        assert_eq!(report.programs, [("one".to_owned(), 12)]);
        assert_eq!(report.tests, ["all"]);
        for bad in [
            "",
            "test\tall\r\nKernel panic - not syncing\r\n",
            "end\tpassed\r\n",
            "test\tone\r\nend\tfailed: other\r\n",
            "test\tone\r\nend\trefused: too old\r\n",
            "program\tone\t500001\r\ntest\tall\r\nend\tpassed\r\n",
        ] {
            assert!(!read("6.12", bad).is_good(), "{bad:?}");
        }
    }

    #[test]
    fn what_is_to_be_refused_is() {
        let report = read("5.10", "end\trefused: too old\r\n");
        assert!(report.is_good(), "{report:?}");
        assert_eq!(report.refused.as_deref(), Some("too old"));
        assert!(!read("5.10", "test\tall\r\nend\tpassed\r\n").is_good());
    }
}
