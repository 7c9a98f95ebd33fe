//! `daas/node.toml` on EFI system partitions: where a person drops it from any machine.

use super::document::{self, Document, ESP_FILE, Origin, SourceError, failed, read};
use crate::system_partition::{self, DIRECTORY, SystemPartition};

/// The first configuration on such a partition.
pub(super) fn find() -> Result<Option<Document>, SourceError> {
    let partitions = match system_partition::all() {
        Ok(partitions) => partitions,
        Err(error) => {
            tracing::warn!(%error, "disks can't be listed");
            return Ok(None);
        }
    };
    if !partitions.is_empty() {
        system_partition::load_modules();
    }
    for partition in partitions {
        let name = format!("{}:{DIRECTORY}/{ESP_FILE}", partition.path().display());
        let mounted = match SystemPartition::open(&partition) {
            Ok(mounted) => mounted,
            // another system's partition, perhaps damaged: not ours to stop at
            Err(error) => {
                tracing::warn!(%error, partition = %partition.path().display(), "can't be mounted");
                continue;
            }
        };
        if let Some(file) = mounted.read(ESP_FILE).map_err(failed(&name))? {
            let document = read(&name, Origin::SystemPartition(partition), file)?;
            if !document.is_remainder() {
                return Ok(Some(document));
            }
            // it is mounted for writing now
            drop(mounted);
            document::remove(&document);
        }
    }
    Ok(None)
}
