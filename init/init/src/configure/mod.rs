//! The task `init configure`: finds the node's configuration, checks it, and lays it out for those
//! who read it.
//!
//! It runs as a child of PID 1, which starts it again until it succeeds. Its status says what
//! happened: 0, or [`NOT_FOUND`], or [`INVALID`].

mod esp;
mod output;
mod sources;

use std::path::Path;
use std::process::ExitCode;

use config::NodeConfig;
use tracing::{error, info, warn};

pub(crate) use sources::Document;

/// The status when there is no configuration.
pub(crate) const NOT_FOUND: u8 = 10;
/// The status when there is one that can't be used.
pub(crate) const INVALID: u8 = 11;

/// The configuration without its secrets, for everybody on the node.
pub(crate) const PUBLIC_FILE: &str = "/run/daas/config/public.toml";
/// The whole of it, for the staker alone.
pub(crate) const SECRET_FILE: &str = "/run/daas/config/staker.toml";

/// Runs the task.
pub(crate) fn run() -> ExitCode {
    match sources::find() {
        Ok(Some(document)) => take(&document),
        Ok(None) => {
            warn!(
                "no configuration: looked at {}; put a node.toml at one of these places, and it \
                 will be taken without a restart",
                sources::DESCRIPTION
            );
            ExitCode::from(NOT_FOUND)
        }
        Err(error) => {
            error!("{}", crate::log::chain(&error));
            ExitCode::from(INVALID)
        }
    }
}

fn take(document: &Document) -> ExitCode {
    let config = match NodeConfig::parse(&document.source, &document.text) {
        Ok(config) => config,
        Err(problems) => {
            // a line each: document, line, field, what was found and expected, and what to do
            error!("{problems}");
            return ExitCode::from(INVALID);
        }
    };
    match output::write(
        Path::new(PUBLIC_FILE),
        Path::new(SECRET_FILE),
        &config.public_toml,
        &document.text,
    ) {
        Ok(()) => {
            info!(source = %document.source, node = %config.public.node_id, "configuration taken");
            ExitCode::SUCCESS
        }
        Err(error) => {
            error!(%error, "the configuration can't be laid out below /run/daas/config");
            ExitCode::FAILURE
        }
    }
}
