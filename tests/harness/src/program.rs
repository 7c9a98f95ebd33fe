//! A program of the tests, from its command line's work to its exit status.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;

/// How long tasks have to end once there is nothing left to do.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// More than there are processors: scenarios link images and copy disks where they stand, and the
/// others go on meanwhile.
const WORKERS: usize = 16;

/// Does a program's work on a runtime, and prints why it failed.
#[must_use]
pub fn run(name: &str, work: impl Future<Output = Result<()>>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("{name}: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(work);
    // what still runs is dropped, and with it processes and temporary folders
    runtime.shutdown_timeout(STOP_TIMEOUT);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}
