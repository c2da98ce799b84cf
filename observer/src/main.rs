//! The `observer` command.

use std::process::ExitCode;

use clap::Parser as _;
use observer::cli::{Cli, Command};
use observer::config::{Config, Flags};
use observer::{check, list, logging, run, top};

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(flags) => exit(start(*flags)),
        Command::Top { url } => exit(top::run(url.as_deref())),
        Command::Flows { json, limit, url } => exit(list::flows(&url, limit, json)),
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

fn start(flags: Flags) -> anyhow::Result<()> {
    let config = Config::resolve(flags)?;
    logging::start(config.log_format, config.log_level);
    run::run(&config)
}
