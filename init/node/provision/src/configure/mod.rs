//! `provision configure`: finds the node's configuration, checks it, seals or unseals it, and lays
//! it out for those who read it.
//!
//! It runs as a child of PID 1, which starts it again until it succeeds. Its status says what
//! happened: 0, or [`NOT_FOUND`], [`ASK_CLOUD`] or [`INVALID`].

mod document;
mod drive;
mod esp;
mod identity;
mod keep;
mod metadata;
pub(crate) mod output;
mod public_keys;
mod sealed_file;
mod sources;
mod user_data;

use std::path::Path;
use std::process::ExitCode;

use cloud::Cloud;
use config::{NodeConfig, SealMethod};
use seal::node::Content;
use tracing::{error, info, warn};
use wire::exit::{ASK_CLOUD, INVALID, NOT_FOUND};
use wire::paths::{CONFIGURATION, PLAIN_COPY};
use wire::status::Protection;

use self::keep::{KeepError, Taken};
pub(crate) use self::sealed_file::{FILE as SEALED_FILE, SET_ASIDE};
use document::{Document, remove};
use sources::Offer;

use crate::{recovery, system_partition};

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
            match Cloud::of_this_machine() {
                Some(cloud) => {
                    info!(%cloud, "the cloud's metadata service is asked for one");
                    ExitCode::from(ASK_CLOUD)
                }
                None => ExitCode::from(NOT_FOUND),
            }
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
    seal: Protection,
    source: String,
    /// Where it still stands in the plain.
    plain_copy: Option<String>,
}

fn find() -> Result<Option<Found>, String> {
    let told = |error: KeepError| log::chain(&error);
    let unsealed = |source: &str, taken| Found {
        taken,
        seal: Protection::Tpm,
        source: source.to_owned(),
        plain_copy: None,
    };
    let document = match sources::find().map_err(|error| log::chain(&error))? {
        Some(Offer::Plain(document)) if !document.is_for_a_first_boot() => document,
        other => {
            // one that is kept comes before one that is offered: a sealed one it has outdated, and a
            // plain one that can't be removed would undo what came after it, at each boot
            let kept = keep::unseal_document().map_err(told)?;
            match (kept, other) {
                (Some(taken), Some(Offer::Plain(document))) => {
                    if *taken.content.document != *document.text {
                        warn!(
                            source = document.source,
                            "what is offered there is another configuration than the sealed one, and \
                             is not taken: put it on the EFI system partition, or reset the node"
                        );
                    }
                    return Ok(Some(Found {
                        plain_copy: remove(&document),
                        ..unsealed("the sealed file", taken)
                    }));
                }
                (Some(taken), _) => return Ok(Some(unsealed("the sealed file", taken))),
                (None, Some(Offer::Sealed(source, envelope))) => {
                    let taken = keep::take_sealed(&source, &envelope).map_err(told)?;
                    return Ok(Some(unsealed(&source, taken)));
                }
                (None, Some(Offer::Plain(document))) => document,
                (None, None) => return Ok(None),
            }
        }
    };
    // a line each: document, line, field, what was found and expected, and what to do
    let config = NodeConfig::parse(&document.source, &document.text)
        .map_err(|problems| problems.to_string())?;
    let (taken, seal, plain_copy) = match config.public.seal {
        SealMethod::None => {
            keep::refuse_over_sealed(&document).map_err(told)?;
            (in_the_plain(&document, config), Protection::None, None)
        }
        SealMethod::Tpm => {
            let taken = keep::seal_document(&document, config).map_err(told)?;
            (taken, Protection::Tpm, remove_all(&document))
        }
    };
    Ok(Some(Found {
        taken,
        seal,
        source: document.source,
        plain_copy,
    }))
}

fn in_the_plain(document: &Document, config: NodeConfig) -> Taken {
    Taken {
        config,
        content: Content {
            document: document.text.clone(),
            sui_key: None,
        },
        recovery: None,
    }
}

fn lay_out(found: &Found) -> ExitCode {
    let Taken {
        config,
        content,
        recovery,
    } = &found.taken;
    if let Some(Err(error)) = recovery.as_ref().map(recovery::keep_public) {
        warn!(%error, "the recovery key will not open the state");
    }
    let written = output::note(Path::new(PLAIN_COPY), found.plain_copy.as_deref())
        .and_then(|()| output::write(Path::new(CONFIGURATION), config, content, found.seal));
    match written {
        Ok(()) => {
            let Found { seal, source, .. } = found;
            info!(source, node = %config.public.node_id, %seal, "configuration taken");
            ExitCode::SUCCESS
        }
        Err(error) => {
            error!(%error, "the configuration can't be laid out below {CONFIGURATION}");
            ExitCode::FAILURE
        }
    }
}

/// Overwrites and removes a document that is sealed now, and copies of it in other places, as on the
/// stick that it came with and on the disk. Where it still stands in the plain, as [`remove`] says.
fn remove_all(document: &Document) -> Option<String> {
    let mut left = remove(document);
    for _ in 0..system_partition::MAXIMUM_PARTITIONS {
        match sources::find() {
            Ok(Some(Offer::Plain(copy))) if *copy.text == *document.text => match remove(&copy) {
                None => {}
                // it would be found again
                some => {
                    left = left.or(some);
                    break;
                }
            },
            _ => break,
        }
    }
    left
}
