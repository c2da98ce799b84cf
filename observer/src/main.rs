//! The `observer` command.

use std::process::ExitCode;

use clap::Parser as _;
use observer::cli::{Cli, Command};
use observer::config::{Config, Flags, LogFormat};
use observer::{check, list, logging, run, top};

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(flags) => start(*flags),
        Command::Top { access } => exit(top::run(&access)),
        Command::Flows { json, limit, access } => exit(list::flows(&access, limit, json)),
        Command::Check { json } => {
            let report = check::check();
            if json {
                println!("{}", serde_json::to_string_pretty(&report).unwrap_or_default());
            } else {
                print!("{}", report.text());
            }
            if report.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
    }
}

fn exit(outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("observer: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whoever reads JSON gets what went wrong as a record.
fn start(flags: Flags) -> ExitCode {
    let asked = flags.log_format;
    let (format, outcome) = match Config::resolve(flags) {
        Ok(config) => {
            logging::start(config.log_format, config.log_level);
            (config.log_format, run::run(&config))
        }
        Err(error) => {
            let format = asked.unwrap_or_default();
            logging::start(format, log::LevelFilter::Info);
            (format, Err(error.into()))
        }
    };
    match (format, outcome) {
        (LogFormat::Json, Err(error)) => {
            log::error!("{error:#}");
            ExitCode::FAILURE
        }
        (_, outcome) => exit(outcome),
    }
}
