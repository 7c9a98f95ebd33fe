//! Which firmware each TPM has shown, kept in the cluster: an empty Secret for each endorsement key and firmware.

use std::collections::BTreeMap;

use attest_verify::Firmware;
use reqwest::StatusCode;
use serde_json::json;
use wire::NodeName;

use super::objects::{MANAGED_BY, Metadata, NODE};
use super::{Cluster, ClusterError, ISSUE_LIMIT};

/// The label of Secrets that record firmware: not [`super::objects::MASTER`], as no round looks at them.
const RECORDER: &str = "k3s-daas-master-firmware";
/// The label with the name of a TPM's endorsement key, cut to what a label holds.
const ENDORSEMENT_KEY: &str = "k3s-daas.local/endorsement-key";
/// The annotations with the firmware's registers.
const PCR0: &str = "k3s-daas.local/pcr0";
const PCR2: &str = "k3s-daas.local/pcr2";
/// Hexadecimal digits of an endorsement key's name in names and labels.
const DIGITS: usize = 40;
/// Firmware that is remembered for an endorsement key: whoever restarts a machine with ever other
/// firmware fills no cluster.
const MOST: usize = 8;

/// What is known of a TPM's firmware.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// It is the first of its endorsement key.
    First,
    /// It was shown before.
    Known,
    /// Others were shown before, this one was not; the last of them.
    New {
        /// What was recorded last.
        before: Firmware,
    },
}

impl Cluster {
    /// Looks for a firmware among those of an endorsement key, by the key's name, and records one that is new
    /// if `record` says so; the first is always recorded.
    pub(crate) async fn see_firmware(
        &self,
        endorsement_key: &[u8],
        firmware: &Firmware,
        node: &NodeName,
        record: bool,
    ) -> Result<Seen, ClusterError> {
        let seen = self.look_at_firmware(endorsement_key, firmware, node, record);
        tokio::time::timeout(ISSUE_LIMIT, seen)
            .await
            .map_err(|_| ClusterError::Slow)?
    }

    async fn look_at_firmware(
        &self,
        endorsement_key: &[u8],
        firmware: &Firmware,
        node: &NodeName,
        record: bool,
    ) -> Result<Seen, ClusterError> {
        let mut key = hex::encode(endorsement_key);
        key.truncate(DIGITS);
        let selector = format!("{MANAGED_BY}={RECORDER},{ENDORSEMENT_KEY}={key}");
        let mut known: Vec<(Metadata, Firmware)> = self
            .api
            .secrets(&selector)
            .await?
            .into_iter()
            .filter_map(|secret| read(&secret).map(|firmware| (secret, firmware)))
            .collect();
        if known.iter().any(|(_, other)| other == firmware) {
            return Ok(Seen::Known);
        }
        known.sort_by_key(|(secret, _)| secret.creation_timestamp);
        let seen = match known.last() {
            Some((_, before)) => Seen::New { before: *before },
            None => Seen::First,
        };
        if seen != Seen::First && !record {
            return Ok(seen);
        }
        let metadata = metadata(&key, firmware, node);
        match self
            .api
            .create_secret("Opaque", &metadata, &json!({}))
            .await
        {
            // another master has recorded the same
            Err(error) if error.is(StatusCode::CONFLICT) => {}
            created => drop(created?),
        }
        let surplus = (known.len() + 1).saturating_sub(MOST);
        for (secret, _) in known.iter().take(surplus) {
            self.api.delete_secret(&secret.name).await?;
        }
        Ok(seen)
    }
}

fn metadata(key: &str, firmware: &Firmware, node: &NodeName) -> Metadata {
    let (pcr0, pcr2) = (hex::encode(firmware.pcr0), hex::encode(firmware.pcr2));
    let short = |text: &str| text.get(..8).unwrap_or_default().to_owned();
    Metadata {
        name: format!("k3s-daas-firmware-{key}-{}{}", short(&pcr0), short(&pcr2)),
        labels: BTreeMap::from([
            (MANAGED_BY.to_owned(), RECORDER.to_owned()),
            (ENDORSEMENT_KEY.to_owned(), key.to_owned()),
            (NODE.to_owned(), node.to_string()),
        ]),
        annotations: BTreeMap::from([(PCR0.to_owned(), pcr0), (PCR2.to_owned(), pcr2)]),
        ..Metadata::default()
    }
}

fn read(secret: &Metadata) -> Option<Firmware> {
    let register = |key| {
        let digits = secret.annotations.get(key)?;
        hex::decode(digits).ok()?.try_into().ok()
    };
    Some(Firmware {
        pcr0: register(PCR0)?,
        pcr2: register(PCR2)?,
    })
}
