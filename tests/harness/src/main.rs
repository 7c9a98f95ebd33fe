//! Runs nodes in QEMU beside a devnet on this machine, and tests them.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use harness::cli::CommandLine;

/// How long tasks have to end once there is nothing left to do.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// More than there are processors: scenarios link images and copy disks where they stand, and the
/// others go on meanwhile.
const WORKERS: usize = 16;

fn main() -> ExitCode {
    let command_line = CommandLine::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("harness: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(command_line.execute());
    // what still runs is dropped, and with it processes and temporary folders
    runtime.shutdown_timeout(STOP_TIMEOUT);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("harness: {error:#}");
            ExitCode::FAILURE
        }
    }
}
