//! Where a configuration can come from. The first place that has one wins.

use std::fs::File;
use std::io;
use std::path::Path;

use kernel::modules::Loader;
use seal::envelope::Envelope;

use super::document::{self, Document, Origin, STATE_FILE, SourceError, failed, read};
use super::user_data::{UserData, recognise};
use super::{drive, esp, metadata};

/// The places, for people.
pub(super) const DESCRIPTION: &str = "the firmware item opt/k3s-daas/node.toml, daas/node.toml on \
                                      every EFI system partition, the user data of drives with the \
                                      label cidata or config-2, /var/lib/daas/node.toml";

/// What QEMU passes with `-fw_cfg name=opt/k3s-daas/node.toml,file=…`
/// (Documentation/ABI/testing/sysfs-firmware-qemu_fw_cfg).
const FIRMWARE: &str = "/sys/firmware/qemu_fw_cfg";
const FIRMWARE_ITEM: &str = "by_name/opt/k3s-daas/node.toml/raw";
/// What was found.
#[derive(Debug)]
pub(super) enum Offer {
    /// A configuration in the plain.
    Plain(Document),
    /// One that was sealed elsewhere for this machine, and what errors call it.
    Sealed(String, Box<Envelope>),
}

/// Looks everywhere.
pub(super) fn find() -> Result<Option<Offer>, SourceError> {
    if let Some(document) = firmware()? {
        return Ok(Some(Offer::Plain(document)));
    }
    if let Some(document) = esp::find()? {
        return Ok(Some(Offer::Plain(document)));
    }
    if let Some(offer) = drives() {
        return Ok(Some(offer));
    }
    let document = file(
        "/var/lib/daas/node.toml",
        Origin::State,
        Path::new(STATE_FILE),
    )?;
    match document {
        Some(document) if document.is_remainder() => {
            document::remove(&document);
        }
        Some(document) => return Ok(Some(Offer::Plain(document))),
        None => {}
    }
    let name = metadata::name();
    let bytes = metadata::read().map_err(failed(&name))?;
    Ok(bytes.and_then(|bytes| offered(name, Origin::Metadata, &bytes)))
}

/// The first drive with something of ours. What is not is somebody else's: nothing to stop at.
fn drives() -> Option<Offer> {
    drive::all().into_iter().find_map(|drive| {
        let name = drive.name();
        match drive.read() {
            Ok(Some(bytes)) => offered(name, Origin::Drive(drive), &bytes),
            Ok(None) => {
                tracing::info!(drive = drive.description(), "a drive without user data");
                None
            }
            Err(error) => {
                tracing::warn!(%error, drive = drive.description(), "a drive can't be read");
                None
            }
        }
    })
}

/// What user data offers; none: nothing of ours, which is told.
fn offered(source: String, origin: Origin, bytes: &[u8]) -> Option<Offer> {
    match recognise(bytes) {
        Ok(UserData::Plain(text)) => Some(Offer::Plain(Document {
            origin,
            source,
            text,
        })),
        Ok(UserData::Sealed(envelope)) => Some(Offer::Sealed(source, envelope)),
        // zeros: the power failed while it was removed
        Err(_) if !bytes.is_empty() && bytes.iter().all(|byte| *byte == 0) => None,
        Err(not_ours) => {
            tracing::warn!("{source}: {not_ours}");
            None
        }
    }
}

fn firmware() -> Result<Option<Document>, SourceError> {
    let directory = Path::new(FIRMWARE);
    if !directory.exists() {
        // Only on a machine of QEMU's is there anything to load it for.
        match Loader::open().and_then(|mut loader| loader.load("qemu_fw_cfg")) {
            Ok(()) => {}
            Err(error) => tracing::debug!(%error, "no firmware configuration device"),
        }
    }
    file(
        "fw_cfg:opt/k3s-daas/node.toml",
        Origin::Firmware,
        &directory.join(FIRMWARE_ITEM),
    )
}

fn file(name: &str, origin: Origin, path: &Path) -> Result<Option<Document>, SourceError> {
    match File::open(path) {
        Ok(file) => read(name, origin, file).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(failed(name)(source)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_that_is_not_there_is_no_error_and_one_that_is_odd_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.toml");
        assert!(file("x", Origin::State, &path).unwrap().is_none());
        fs::write(&path, "version = 1\n").unwrap();
        let document = file("x", Origin::State, &path).unwrap().unwrap();
        assert!(!format!("{document:?}").contains("version"));
        assert_eq!(
            (document.source.as_str(), document.text.as_str()),
            ("x", "version = 1\n")
        );
        fs::write(&path, b"a\nb\n\xff").unwrap();
        let error = file("x", Origin::State, &path).unwrap_err();
        assert_eq!(log::chain(&error), "x: can't be read: line 3 is not UTF-8");
        let error = file("x", Origin::State, directory.path()).unwrap_err();
        assert_eq!(log::chain(&error), "x: can't be read: it is not a file");
    }

    #[test]
    fn what_a_power_cut_left_of_a_removed_document_is_told_from_a_broken_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.toml");
        for (content, remainder) in [("\0\0\0", true), ("", false), ("\0version", false)] {
            fs::write(&path, content).unwrap();
            let document = file("x", Origin::State, &path).unwrap().unwrap();
            assert_eq!(document.is_remainder(), remainder, "{content:?}");
        }
    }

    #[test]
    fn a_document_that_is_too_long_is_left_to_the_parser() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.toml");
        fs::write(&path, "#".repeat(config::MAXIMUM_LENGTH * 2)).unwrap();
        let document = file("x", Origin::State, &path).unwrap().unwrap();
        assert_eq!(document.text.len(), config::MAXIMUM_LENGTH + 1);
        let error = config::NodeConfig::parse("x", &document.text).unwrap_err();
        assert!(error.to_string().contains("65536"), "{error}");
    }
}
