//! `sluice-dataplane`: checks the system, opens the control socket, gives up root, and runs the shards.

use std::process::ExitCode;

use clap::Parser;
use sluice_dataplane::config::{Arguments, Config};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let config = match Config::assemble(&arguments) {
        Ok(config) => config,
        Err(error) => return fail(&error.into()),
    };
    if arguments.print_config {
        return print(&config);
    }
    sluice_dataplane::log::init(&config.log);
    sluice_dataplane::abort_on_panic();
    match sluice_dataplane::run(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "what --print-config is for")]
fn print(config: &Config) -> ExitCode {
    match toml::to_string(config) {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => fail(&error.into()),
    }
}

#[expect(clippy::print_stderr, reason = "logging is configured by what could not be read")]
fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("sluice-dataplane: {error:#}");
    ExitCode::FAILURE
}
