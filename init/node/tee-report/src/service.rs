//! The service `tee-report`: it has reports of a trusted execution environment made for the staker.
//!
//! `configfs-tsm` is root's, and the Nitro Security Module asks for a capability that is most of root's
//! power. So this process is root, and gives up everything else before it takes the first request: it
//! sees no file but the sources of reports, has no network, no capability beyond what the sources
//! need, and can open no socket and run no program ([`confine`]). It takes 64 bytes from the staker's
//! user alone and gives a report over them.
//!
//! On a machine without a source of reports there is nothing to do, and it ends.

use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use attest::tee_report::CollectError;
use attest::tee_report::collect::{CONFIGFS, NITRO_DEVICE, Sources};
use attest::tee_report::message::{NO_SOURCE, SOCKET, SOURCE, SOURCE_FILE};
use attest::tee_report::socket::{ReportListener, Served};
use thiserror::Error;

use kernel::modules::{LoadError, Loader};
use kernel::mounts;
use sys::Notifier;

use crate::confine;

/// The modules that reports come through: of AMD SEV-SNP, Intel TDX, and AWS Nitro.
const MODULES: [&str; 3] = ["sev_guest", "tdx_guest", "nsm"];
/// How long a report may take. Linux itself waits 30 s for the host to make a TDX quote
/// (`GETQUOTE_TIMEOUT`, drivers/virt/coco/tdx-guest); the master's nonce is good for 60 s.
const LIMIT: Duration = Duration::from_secs(35);
/// The shortest time from one report to the next: hosts slow down machines that ask too often.
const PAUSE: Duration = Duration::from_secs(1);

/// Why no reports are made.
#[derive(Debug, Error)]
enum ReportError {
    #[error(transparent)]
    Modules(#[from] LoadError),
    #[error(transparent)]
    Confine(#[from] confine::ConfineError),
    #[error("{SOURCE_FILE} can't be written")]
    Say(#[source] io::Error),
    #[error("{SOCKET} can't be listened at")]
    Listen(#[source] io::Error),
    #[error("no more requests can be taken")]
    Accept(#[source] io::Error),
    #[error("PID 1 can't be told that reports are made, or that they still are")]
    Notify(#[source] io::Error),
    #[error("a report hangs in the kernel: another process goes on")]
    Hangs(#[source] CollectError),
}

/// Runs the service.
pub(crate) fn run() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("no reports of this machine: {}", log::chain(&error));
            ExitCode::FAILURE
        }
    }
}

/// Ends where the machine has no source of reports.
fn serve() -> Result<(), ReportError> {
    let mut loader = Loader::open()?;
    let asked_for = loader.load_asked_for(&MODULES);
    let sources = Sources::default();
    if asked_for.is_empty() && !sources.are_there() {
        tracing::info!("this machine is in no trusted execution environment: nothing to do");
        return say_no_source();
    }
    confine::own_namespaces()?;
    if let Err(error) = mounts::configfs() {
        tracing::warn!(%error, "configfs can't be mounted: there will be no reports through it");
    }
    if !sources.are_there() {
        tracing::warn!(
            modules = asked_for.join(", "),
            "modules for reports are asked for, and give no source of them: nothing to do"
        );
        return say_no_source();
    }
    sources.clear();
    let listener = ReportListener::open(Path::new(SOCKET), wire::users::STAKER)
        .map_err(ReportError::Listen)?;
    say(SOURCE)?;
    // while there is still a way to it
    let mut notifier = Notifier::from_environment().map_err(ReportError::Notify)?;
    let inside = confine::into_empty_root(Path::new(CONFIGFS), Path::new(NITRO_DEVICE))?;
    tracing::info!("ready to have reports made of this machine");
    // once is enough: PID 1 starts those who wait for this anyway, after some failures
    notifier.ready().map_err(ReportError::Notify)?;
    let sources = Sources::at(inside.configfs, inside.nitro, LIMIT);
    loop {
        notifier.alive().map_err(ReportError::Notify)?;
        let comes = listener
            .wait(notifier.interval())
            .map_err(ReportError::Accept)?;
        if !comes {
            continue;
        }
        let served = listener
            .serve(|data| sources.collect(data))
            .map_err(ReportError::Accept)?;
        if let Served::Failed(error @ (CollectError::TimedOut(_) | CollectError::Thread(_))) =
            served
        {
            // whoever asks meanwhile is refused at once, and waits for nobody
            listener.close();
            return Err(ReportError::Hangs(error));
        }
        tell(&served);
        thread::sleep(PAUSE);
    }
}

/// Nobody listens, and that is said.
fn say_no_source() -> Result<(), ReportError> {
    match fs::remove_file(SOCKET) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(ReportError::Listen(error)),
        _ => say(NO_SOURCE),
    }
}

fn say(what: &str) -> Result<(), ReportError> {
    files::replace(SOURCE_FILE, what.as_bytes(), 0o644).map_err(ReportError::Say)
}

fn tell(served: &Served) {
    match served {
        Served::Answered(Some(kind)) => tracing::info!(%kind, "a report was made"),
        Served::Answered(None) => {
            tracing::info!("a report was asked for, and this machine is in no environment");
        }
        Served::Failed(error) => {
            tracing::warn!("there is no report: {}", log::chain(error));
        }
        Served::Stranger(user) => tracing::warn!(user, "another user asked for a report"),
        Served::NoRequest(error) => tracing::warn!(%error, "what came is no request"),
        Served::Gone(error) => tracing::warn!(%error, "who asked for a report went away"),
    }
}
