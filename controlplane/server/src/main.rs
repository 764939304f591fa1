//! `sluice-controlplane`: reads the configuration, runs the control plane, and says where it can be reached.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser;
use sluice_controlplane::config::{Arguments, Config};
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let config = match Config::assemble(&arguments) {
        Ok(config) => config,
        Err(error) => return fail(&error.into()),
    };
    if arguments.print_config {
        return match toml::to_string(&config) {
            Ok(text) => print(&text),
            Err(error) => fail(&error.into()),
        };
    }
    sluice_controlplane::log::init(config.log.format, &config.log.level);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    let tell = |banner: String| {
        let _told = print(&banner);
    };
    match runtime.block_on(sluice_controlplane::run(config, shutdown(), tell)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

/// Returns when the process is asked to end.
async fn shutdown() {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

fn print(text: &str) -> ExitCode {
    // Who has closed its end of the pipe wants to know nothing.
    drop(io::stdout().write_all(text.as_bytes()));
    ExitCode::SUCCESS
}

fn fail(error: &anyhow::Error) -> ExitCode {
    drop(writeln!(io::stderr(), "sluice-controlplane: {error:#}"));
    ExitCode::FAILURE
}
