//! `cargo xtask`: everything one does with this repository, each as one command.

mod architecture;
mod bench;
mod build;
mod cargo;
mod ci;
mod command;
mod llvm;
mod privilege;
mod run;
mod setup;
mod soak;
mod test;
mod toolchain;
mod tools;
mod vm;
mod workspace;

use std::num::NonZeroUsize;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Builds, runs and checks observer.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Find or install what building and testing need
    Setup {
        /// Install nothing; only say what is missing
        #[arg(long)]
        check: bool,
    },
    /// Build the BPF program and the agent around it, into target/release/observer
    Build {
        /// Optimised, which is what every build here is; accepted because people type it
        #[arg(long)]
        release: bool,
    },
    /// Build, then run the agent as root
    Run {
        /// Arguments of `observer run`, or another command of observer and its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Run every test: on the host first, then end to end as root
    Test {
        /// Only tests whose name contains this
        filter: Option<String>,
        /// How many binaries of end-to-end tests run at a time; twice the processors, where it is not said
        #[arg(long)]
        at_once: Option<NonZeroUsize>,
    },
    /// Measure what observing costs
    Bench {
        /// Arguments of the benchmark
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Run everything at once for long, the agent killed and started again in the middle of it
    Soak {
        /// How long
        #[arg(long, default_value_t = 10)]
        minutes: u32,
    },
    /// Boot kernels of distributions in emulated machines, and test the agent on each
    Vm {
        /// Kernels, such as 6.12 or 6.12-arm64; without any, one before 6.3, one of long term and the newest, for x86-64
        kernels: Vec<String>,
        /// Every kernel there is
        #[arg(long, conflicts_with = "kernels")]
        all: bool,
        /// Write docs/kernels.md
        #[arg(long, requires = "all")]
        write_docs: bool,
    },
    /// Do what CI does: formatting, lints, documentation, dependencies, then every test
    Ci {
        /// Leave the tests out
        #[arg(long)]
        no_test: bool,
    },
}

fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::Setup { check } => setup::command(check),
        Task::Build { release: _ } => build::command(),
        Task::Run { args } => run::command(args),
        Task::Test { filter, at_once } => test::command(filter.as_deref(), at_once.map(NonZeroUsize::get)),
        Task::Bench { args } => bench::command(args),
        Task::Soak { minutes } => soak::command(minutes),
        Task::Vm { kernels, all, write_docs } => vm::command(&kernels, all, write_docs),
        Task::Ci { no_test } => ci::command(no_test),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
