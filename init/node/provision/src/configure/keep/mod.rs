//! From a plain document to a sealed file, and from a sealed file to the configuration.

use config::NodeConfig;
use seal::envelope::{self, Envelope, RecoveryKey};
use seal::node::{Content, DOCUMENT_LABEL, LABEL, Malformed, StoredKey};
use seal::release::Phase;
use seal::tpm::crypto::Point;
use seal::tpm::policy::{Policy, Unsatisfied};
use seal::tpm::{self, nv};
use thiserror::Error;
use tracing::{info, warn};
use zeroize::Zeroizing;

use super::document::Document;
use super::identity::may_replace;
use super::output;
use super::sealed_file::{Place, PlaceError};
use crate::phase;
use crate::recovery;
use crate::sealing::{CannotSeal, Sealer};
use crate::tpm_address;

/// Why a configuration is not taken.
#[derive(Debug, Error)]
pub(super) enum KeepError {
    #[error(
        "the configuration is to be sealed, which this machine can't: put it on a machine with a TPM \
         2.0 that starts the image by UEFI, or say seal = \"none\" to keep its secrets in the plain"
    )]
    CannotSeal(#[source] CannotSeal),
    #[error(
        "the configuration is sealed, and this machine can't unseal: start it as it was started when \
         it was sealed, or wipe it by the boot menu's reset entry"
    )]
    CannotUnseal(#[source] CannotSeal),
    #[error(
        "{0}: another configuration is sealed on this node, and this one names another Sui key, or \
         another chain or master for the TPM's key: wipe the node by the boot menu's reset entry \
         first, or remove the file"
    )]
    OfAnother(String),
    #[error("{place} does not open{}", recovery_hint(*.recoverable))]
    Locked {
        place: String,
        recoverable: bool,
        #[source]
        source: envelope::Error,
    },
    #[error(
        "{0} is opened by its recovery key, and names a Sui key that was born in another TPM, or before \
         this one was cleared: that key is lost, so wipe the node by the boot menu's reset entry and \
         give it a configuration again"
    )]
    KeyIsLost(String),
    #[error("the configuration can't be sealed")]
    Seal(#[source] envelope::Error),
    #[error("the TPM makes no key for the node")]
    Key(#[source] tpm::error::Error),
    #[error("the TPM's rollback counter can't go on")]
    Counter(#[source] Unsatisfied),
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("{0}")]
    Configuration(String),
    #[error("the recovery key can't be shown on the console")]
    Recovery(#[source] std::io::Error),
}

/// What is taken: the configuration, its text, and the TPM's key where it has one.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) config: NodeConfig,
    pub(super) content: Content,
    /// The public part of the recovery key that opens it, too, where it was opened in this run.
    pub(super) recovery: Option<Point>,
}

/// What was kept before.
enum Kept {
    Nothing,
    Content(Box<Opened>, Box<Envelope>),
    Locked {
        recoverable: bool,
        source: envelope::Error,
    },
}

/// What a file gave.
#[derive(Debug)]
struct Opened {
    content: Content,
    /// It was not the TPM that opened it: it is to be sealed anew.
    recovered: bool,
}

fn recovery_hint(recoverable: bool) -> String {
    match recoverable {
        true => format!("; {}", recovery::HINT),
        false => String::new(),
    }
}

fn parse(source: &str, text: &str) -> Result<NodeConfig, KeepError> {
    NodeConfig::parse(source, text).map_err(|error| KeepError::Configuration(error.to_string()))
}

/// Seals a document that was found in the plain. What is written was opened before, so that the plain
/// one can go.
pub(super) fn seal_document(document: &Document, config: NodeConfig) -> Result<Taken, KeepError> {
    let mut sealer = Sealer::open().map_err(KeepError::CannotSeal)?;
    // what was sealed now would not open at the next boot
    sealer.phase().map_err(KeepError::CannotSeal)?;
    seal_at(&mut sealer, &Place::find()?, document, config)
}

fn seal_at(
    sealer: &mut Sealer,
    place: &Place,
    document: &Document,
    config: NodeConfig,
) -> Result<Taken, KeepError> {
    let kept = what_was_kept(sealer, place)?;
    let replaces = matches!(kept, Kept::Content(..));
    let (sui_key, recovery) = match kept {
        Kept::Content(opened, envelope) if *opened.content.document == *document.text => {
            return bring_up_to_date(sealer, place, &envelope, config, *opened);
        }
        Kept::Content(opened, envelope) => {
            let content = &opened.content;
            let before = parse(&place.name(), &content.document)?;
            if !may_replace(&before, &config) {
                return Err(KeepError::OfAnother(document.source.clone()));
            }
            (content.sui_key.clone(), envelope.recovery())
        }
        Kept::Locked { source, .. } if is_locked_for_good(&source) => {
            let error = log::chain(&source);
            let name = place.set_aside()?;
            warn!(
                error,
                "what was sealed before never opens on this machine: it is kept as {name}, and this \
                 configuration takes its place"
            );
            (None, None)
        }
        Kept::Locked {
            recoverable,
            source,
        } => {
            return Err(KeepError::Locked {
                place: place.name(),
                recoverable,
                source,
            });
        }
        Kept::Nothing => (None, None),
    };
    let sui_key = match sui_key {
        None if config.identity.is_in_tpm() => Some(make_key(sealer)?),
        kept => kept.filter(|_| config.identity.is_in_tpm()),
    };
    let content = Content {
        document: document.text.clone(),
        sui_key,
    };
    let new_key = match recovery {
        None if config.public.recovery_key => {
            Some(RecoveryKey::generate().map_err(KeepError::Seal)?)
        }
        _ => None,
    };
    let recovery = recovery.or_else(|| new_key.as_ref().map(RecoveryKey::public));
    // what it takes the place of opens no more
    let policy = match replaces {
        true => sealer.outdating_policy(nv::COUNTER),
        false => sealer.policy(nv::COUNTER),
    };
    let policy = policy.map_err(KeepError::Counter)?;
    let envelope = sealer
        .seal(LABEL, policy, recovery, &content.to_bytes()?)
        .map_err(KeepError::Seal)?;
    if !phase::is_running() {
        open(sealer, &envelope, &place.name())?;
    }
    // shown before it is of use: a power cut after that takes another key, and shows that
    if let Some(key) = &new_key {
        recovery::show(key).map_err(KeepError::Recovery)?;
    }
    note_address(place, &content)?;
    place.write(&envelope)?;
    sealer
        .outdate_others(envelope.policy())
        .map_err(KeepError::Counter)?;
    info!(place = place.name(), "the configuration is sealed");
    Ok(Taken {
        config,
        content,
        recovery,
    })
}

/// Whether what was sealed opens at no boot of this machine, whatever is done about it. What opens
/// again when a change is undone, or when the TPM has time, is not given up.
fn is_locked_for_good(error: &envelope::Error) -> bool {
    matches!(
        error,
        envelope::Error::OtherTpm { .. }
            | envelope::Error::OtherOrCleared { .. }
            | envelope::Error::Cleared
    )
}

/// Refuses a document that would leave its secrets in the plain, where a sealed one is kept: whoever
/// puts a disk or a stick into the machine could give it other masters and keep its state.
pub(super) fn refuse_over_sealed(document: &Document) -> Result<(), KeepError> {
    let place = match Place::find() {
        Ok(place) => place,
        Err(PlaceError::None) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    match place.read() {
        Ok(None) => Ok(()),
        Ok(Some(_)) | Err(PlaceError::File { .. }) => {
            Err(KeepError::OfAnother(document.source.clone()))
        }
        Err(error) => Err(error.into()),
    }
}

/// What was sealed before: out of the sealed file, or, once the boot phase is over, as it was laid
/// out in this boot.
fn what_was_kept(sealer: &mut Sealer, place: &Place) -> Result<Kept, KeepError> {
    let envelope = match place.read() {
        Ok(Some(envelope)) => envelope,
        Ok(None) => return Ok(Kept::Nothing),
        Err(PlaceError::File { source, .. }) => {
            return Ok(Kept::Locked {
                recoverable: false,
                source,
            });
        }
        Err(error) => return Err(error.into()),
    };
    if let Some(content) = laid_out() {
        return Ok(Kept::Content(Box::new(content), Box::new(envelope)));
    }
    Ok(match open(sealer, &envelope, &place.name()) {
        Ok(content) => Kept::Content(Box::new(content), Box::new(envelope)),
        Err(KeepError::Locked {
            recoverable,
            source,
            ..
        }) => Kept::Locked {
            recoverable,
            source,
        },
        Err(error) => return Err(error),
    })
}

/// As it was laid out in this boot, once the TPM opens nothing any more.
fn laid_out() -> Option<Opened> {
    if !phase::is_running() {
        return None;
    }
    output::laid_out().map(|content| Opened {
        content,
        recovered: false,
    })
}

/// Opens a sealed file by the TPM or, where that can't be since the machine changed, by the recovery
/// key that a person put into it.
fn open(sealer: &mut Sealer, envelope: &Envelope, place: &str) -> Result<Opened, KeepError> {
    open_or(sealer, envelope, place, recovery::find)
}

fn open_or(
    sealer: &mut Sealer,
    envelope: &Envelope,
    place: &str,
    find: impl FnOnce() -> Option<RecoveryKey>,
) -> Result<Opened, KeepError> {
    let label = match envelope.label() {
        DOCUMENT_LABEL => DOCUMENT_LABEL,
        _ => LABEL,
    };
    let source = match sealer.unseal(envelope, label) {
        Ok(bytes) => {
            return Ok(Opened {
                content: content_of(label, &bytes, place)?,
                recovered: false,
            });
        }
        Err(source) => source,
    };
    let recoverable = envelope.recovery().is_some() && recovery::is_for(&source);
    if recoverable && let Some(key) = find() {
        match envelope.recover(label, &key) {
            Ok(bytes) => {
                let content = content_of(label, &bytes, place)?;
                if content.sui_key.is_some() && is_locked_for_good(&source) {
                    return Err(KeepError::KeyIsLost(place.to_owned()));
                }
                let error = log::chain(&source);
                warn!(error, "the configuration is opened by its recovery key");
                return Ok(Opened {
                    content,
                    recovered: true,
                });
            }
            Err(error) => tracing::error!("{place}: {}", log::chain(&error)),
        }
    }
    Err(KeepError::Locked {
        place: place.to_owned(),
        recoverable,
        source,
    })
}

fn content_of(label: &str, bytes: &[u8], place: &str) -> Result<Content, KeepError> {
    if label != DOCUMENT_LABEL {
        return Ok(Content::from_bytes(bytes)?);
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|_| KeepError::Configuration(format!("{place}: not UTF-8")))?;
    Ok(Content {
        document: Zeroizing::new(text.to_owned()),
        sui_key: None,
    })
}

/// Opens the sealed file; none: there is none.
pub(super) fn unseal_document() -> Result<Option<Taken>, KeepError> {
    let place = match Place::find() {
        Ok(place) => place,
        Err(PlaceError::None) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let Some(envelope) = place.read()? else {
        return Ok(None);
    };
    if let Some(Opened { content, .. }) = laid_out() {
        let config = parse(&place.name(), &content.document)?;
        return Ok(Some(Taken {
            config,
            content,
            recovery: None,
        }));
    }
    let mut sealer = Sealer::open().map_err(KeepError::CannotUnseal)?;
    unseal_at(&mut sealer, &place, &envelope).map(Some)
}

fn unseal_at(sealer: &mut Sealer, place: &Place, envelope: &Envelope) -> Result<Taken, KeepError> {
    let opened = open(sealer, envelope, &place.name())?;
    let config = parse(&place.name(), &opened.content.document)?;
    bring_up_to_date(sealer, place, envelope, config, opened)
}

/// Opens a file that was sealed elsewhere for this machine, where none is kept, and keeps it.
pub(super) fn take_sealed(source: &str, envelope: &Envelope) -> Result<Taken, KeepError> {
    let mut sealer = Sealer::open().map_err(KeepError::CannotUnseal)?;
    let place = Place::find()?;
    let opened = open(&mut sealer, envelope, source)?;
    let config = parse(source, &opened.content.document)?;
    let taken = bring_up_to_date(&mut sealer, &place, envelope, config, opened)?;
    if place.read()?.is_none() {
        place.write(envelope)?;
    }
    Ok(taken)
}

/// Seals anew what is sealed for less than this machine and this release can, and makes the TPM's key
/// where it is wanted and not there. Called at every boot, so that what a power cut left undone is done.
fn bring_up_to_date(
    sealer: &mut Sealer,
    place: &Place,
    envelope: &Envelope,
    config: NodeConfig,
    opened: Opened,
) -> Result<Taken, KeepError> {
    let Opened {
        mut content,
        recovered,
    } = opened;
    if phase::is_running() {
        return Ok(Taken {
            config,
            content,
            recovery: None,
        });
    }
    let recovery = envelope.recovery();
    let wants_key = config.identity.is_in_tpm() && content.sui_key.is_none();
    if wants_key {
        content.sui_key = Some(make_key(sealer)?);
    }
    let older = envelope.policy().floor < sealer.security_version();
    if envelope.is_from_afar() || wants_key || older || recovered {
        // the new file is written before the counter outdates the former one: one of them always opens
        let policy = sealer
            .outdating_policy(nv::COUNTER)
            .map_err(KeepError::Counter)?;
        let floor = policy.floor;
        let sealed = sealer
            .seal(LABEL, policy, recovery, &content.to_bytes()?)
            .map_err(KeepError::Seal)?;
        open(sealer, &sealed, &place.name())?;
        note_address(place, &content)?;
        place.write(&sealed)?;
        sealer
            .outdate_others(sealed.policy())
            .map_err(KeepError::Counter)?;
        info!(
            floor,
            "the configuration is sealed anew: what was sealed before opens no more"
        );
    } else {
        // one that was sealed before there was such a note, or whose note was removed
        if content.sui_key.is_some()
            && let Err(error) = note_address(place, &content)
        {
            warn!(
                error = log::chain(&error),
                "a reset can't name the TPM's key"
            );
        }
        sealer
            .outdate_others(envelope.policy())
            .map_err(KeepError::Counter)?;
    }
    Ok(Taken {
        config,
        content,
        recovery,
    })
}

/// Before the key is kept, so that no reset can miss it. Where no key of the TPM's is kept, a former one's address goes.
fn note_address(place: &Place, content: &Content) -> Result<(), KeepError> {
    match &content.sui_key {
        Some(key) => place.note_address(&tpm_address::of(key).map_err(KeepError::Key)?)?,
        None => place.forget_address()?,
    }
    Ok(())
}

/// A Sui key that is born in the TPM and never leaves it. It signs once the node runs, for images of
/// this publisher, and with the value that is sealed beside the configuration.
fn make_key(sealer: &mut Sealer) -> Result<StoredKey, KeepError> {
    let root = sealer.tpm.storage_root_key().map_err(KeepError::Key)?;
    let policy = Policy {
        release_key: sealer.releases.key,
        phase: Phase::Run,
        floor: sealer.security_version(),
        secure_boot: None,
        counter: None,
        auth_value: true,
    };
    let key = sealer
        .tpm
        .create_signing_key(&root, policy)
        .map_err(KeepError::Key)?;
    info!("the node's Sui key is born in the TPM");
    Ok(StoredKey::new(&key))
}

#[cfg(test)]
mod tests;
