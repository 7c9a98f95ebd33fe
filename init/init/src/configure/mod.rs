//! The task `init configure`: finds the node's configuration, checks it, seals or unseals it, and lays
//! it out for those who read it.
//!
//! It runs as a child of PID 1, which starts it again until it succeeds. Its status says what
//! happened: 0, or [`NOT_FOUND`], or [`INVALID`].

mod esp;
mod identity;
mod keep;
mod output;
mod public_keys;
mod recovery;
mod sealed;
mod sources;

use std::path::Path;
use std::process::ExitCode;

use config::{NodeConfig, SealMethod};
use seal::node::Content;
use tracing::{error, info, warn};
use wire::status::Seal;

use self::keep::{KeepError, Taken};
pub(crate) use self::output::laid_out;
pub(crate) use self::sealed::{FILE as SEALED_FILE, SET_ASIDE};
use sources::{Document, Origin};

use crate::system_partition::SystemPartition;
use crate::{files, log};

/// The status when there is no configuration.
pub(crate) const NOT_FOUND: u8 = 10;
/// The status when there is one that can't be used.
pub(crate) const INVALID: u8 = 11;

/// The configuration without its secrets, for everybody on the node.
pub(crate) const PUBLIC_FILE: &str = wire::paths::PUBLIC_CONFIGURATION;
/// The whole of it, for the staker alone.
pub(crate) const SECRET_FILE: &str = wire::paths::SECRET_CONFIGURATION;
/// The TPM's key and what lets it sign, for the staker alone.
pub(crate) const KEY_FILE: &str = wire::paths::SUI_KEY;
/// The name of a [`Seal`]: how the configuration is kept.
pub(crate) const SEAL_FILE: &str = "/run/daas/config/seal";

/// Runs the task.
pub(crate) fn run() -> ExitCode {
    public_keys::show();
    match find() {
        Ok(Some(found)) => lay_out(&found),
        Ok(None) => {
            public_keys::leave();
            warn!(
                "no configuration: looked at {}, and for a sealed one; put a node.toml at one of \
                 these places, and it will be taken without a restart",
                sources::DESCRIPTION
            );
            ExitCode::from(NOT_FOUND)
        }
        Err(error) => {
            error!("{error}");
            ExitCode::from(INVALID)
        }
    }
}

/// A configuration that can be laid out.
struct Found {
    taken: Taken,
    seal: Seal,
    source: String,
}

fn find() -> Result<Option<Found>, String> {
    let told = |error: KeepError| log::chain(&error);
    let Some(document) = sources::find().map_err(|error| log::chain(&error))? else {
        let taken = keep::unseal_document().map_err(told)?;
        return Ok(taken.map(|taken| Found {
            taken,
            seal: Seal::Tpm,
            source: "the sealed file".to_owned(),
        }));
    };
    // a line each: document, line, field, what was found and expected, and what to do
    let config = NodeConfig::parse(&document.source, &document.text)
        .map_err(|problems| problems.to_string())?;
    let (taken, seal) = match config.public.seal {
        SealMethod::None => {
            keep::refuse_over_sealed(&document).map_err(told)?;
            (in_the_plain(&document, config), Seal::None)
        }
        SealMethod::Tpm => {
            let taken = keep::seal_document(&document, config).map_err(told)?;
            remove(&document);
            (taken, Seal::Tpm)
        }
    };
    Ok(Some(Found {
        taken,
        seal,
        source: document.source,
    }))
}

fn in_the_plain(document: &Document, config: NodeConfig) -> Taken {
    Taken {
        config,
        content: Content {
            document: document.text.clone(),
            sui_key: None,
        },
    }
}

fn lay_out(found: &Found) -> ExitCode {
    let Taken { config, content } = &found.taken;
    let files = output::Files {
        public: Path::new(PUBLIC_FILE),
        secret: Path::new(SECRET_FILE),
        key: Path::new(KEY_FILE),
        seal: Path::new(SEAL_FILE),
    };
    match output::write(&files, &config.public_toml, content, found.seal) {
        Ok(()) => {
            let Found { seal, source, .. } = found;
            info!(source, node = config.public.node_id, %seal, "configuration taken");
            ExitCode::SUCCESS
        }
        Err(error) => {
            error!(%error, "the configuration can't be laid out below /run/daas/config");
            ExitCode::FAILURE
        }
    }
}

/// Overwrites and removes a document that is sealed now.
fn remove(document: &Document) {
    let removed = match &document.origin {
        Origin::Firmware => {
            info!(
                "the plain configuration stays with whoever runs this machine: it comes from the \
                 firmware"
            );
            return;
        }
        Origin::SystemPartition(partition) => SystemPartition::open_for_writing(partition)
            .and_then(|mounted| mounted.forget(esp::FILE).map(|_| ())),
        Origin::State => files::forget(sources::STATE_FILE),
    };
    match removed {
        Ok(()) => info!(
            source = document.source,
            "the plain configuration is overwritten and removed"
        ),
        Err(error) => warn!(
            %error,
            source = document.source,
            "the plain configuration can't be removed: remove it by hand"
        ),
    }
}
