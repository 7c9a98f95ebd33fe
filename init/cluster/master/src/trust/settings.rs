//! The tables `[attestation]` and `[enclave]` of the master's configuration.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use attest_verify::{AdmittedKey, AllowedFirmware};
use chain::ObjectId;
use serde::Deserialize;

use super::reports::{Mode, ReportSettings, SevSnpTable, TdxTable};
use crate::settings::error::MasterSettingsError;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AttestationTable {
    required: Option<bool>,
    endorsement_roots: Option<PathBuf>,
    #[serde(default)]
    admitted_endorsement_keys: Vec<AdmittedKeyTable>,
    require_secure_boot: Option<bool>,
    secure_boot_certificates: Option<PathBuf>,
    releases: Option<ObjectId>,
    #[serde(default)]
    firmware: FirmwareMode,
    allowed_firmware: Option<Vec<AllowedFirmwareTable>>,
    reports: Option<Mode>,
    sev_snp: Option<SevSnpTable>,
    tdx: Option<TdxTable>,
}

/// What becomes of firmware that a TPM has not shown before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FirmwareMode {
    /// It is recorded and logged.
    #[default]
    Recorded,
    /// It is refused, until the record of the TPM's firmware is deleted.
    Pinned,
}

/// An entry of the list of firmware that may start a machine.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AllowedFirmwareTable {
    pcr0: Option<String>,
    pcr2: Option<String>,
}

impl AllowedFirmwareTable {
    /// `None`: it names nothing, or a value that is no register's.
    fn parse(&self) -> Option<AllowedFirmware> {
        let register = |text: &Option<String>| match text {
            Some(text) => hex::decode(text).ok()?.try_into().ok().map(Some),
            None => Some(None),
        };
        let (pcr0, pcr2) = (register(&self.pcr0)?, register(&self.pcr2)?);
        (pcr0.is_some() || pcr2.is_some()).then_some(AllowedFirmware { pcr0, pcr2 })
    }
}

/// An entry of the list of endorsement keys that need no certificate.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AdmittedKeyTable {
    key: String,
    reason: String,
}

/// The longest reason for an admitted key, in bytes: it stands in one line of the log.
const LONGEST_REASON: usize = 200;

impl AdmittedKeyTable {
    /// `None`: the key is no name of a TPM's key, or the reason says nothing or is no single line.
    fn parse(&self) -> Option<AdmittedKey> {
        let digits = self.key.to_ascii_lowercase();
        // the identifier of SHA-256, and its 32 bytes (TPM 2.0 Library, Part 1, 16, and Part 2, 6.3)
        let digest = hex::decode(digits.strip_prefix("000b")?).ok()?;
        let reason = self.reason.trim();
        let said = !reason.is_empty()
            && reason.len() <= LONGEST_REASON
            && !reason.contains(char::is_control);
        (digest.len() == 32 && said).then(|| AdmittedKey {
            name: digits,
            reason: reason.to_owned(),
        })
    }

    /// All entries; `None`: one is no such entry, or two name one key.
    fn parse_all(list: &[Self]) -> Option<Vec<AdmittedKey>> {
        let keys: Vec<AdmittedKey> = list.iter().map(Self::parse).collect::<Option<_>>()?;
        let names: BTreeSet<&str> = keys.iter().map(|key| key.name.as_str()).collect();
        (names.len() == keys.len()).then_some(keys)
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EnclaveTable {
    id: ObjectId,
    key: PathBuf,
}

/// Who the master is, and what it asks of nodes beside their stake.
#[derive(Debug, Clone)]
pub struct TrustSettings {
    /// Whether nodes without evidence are refused.
    pub required: bool,
    /// What evidence is verified against; `None`: nodes are asked for none.
    pub evidence: Option<EvidenceSettings>,
    /// The key by which the master proves itself to nodes.
    pub enclave: Option<EnclaveSettings>,
}

/// What evidence is verified against.
#[derive(Debug, Clone)]
pub struct EvidenceSettings {
    /// Roots of manufacturers of TPMs, and authorities below them: a PEM file. `None`: no certificate counts.
    pub endorsement_roots: Option<PathBuf>,
    /// The endorsement keys that need no certificate.
    pub admitted_endorsement_keys: Vec<AdmittedKey>,
    /// The certificates by which Secure Boot may let something start: a PEM file. `None`: Secure Boot
    /// need not be on.
    pub secure_boot_certificates: Option<PathBuf>,
    /// The registry of releases on chain.
    pub releases: ObjectId,
    /// What becomes of firmware that a TPM has not shown before.
    pub firmware: FirmwareMode,
    /// The firmware that may start a machine; `None`: any.
    pub allowed_firmware: Option<Vec<AllowedFirmware>>,
    /// What is asked of reports of trusted execution environments; `None`: they are not looked at.
    pub reports: Option<ReportSettings>,
}

/// The key by which the master proves itself to nodes.
#[derive(Debug, Clone)]
pub struct EnclaveSettings {
    /// The object on chain that registers it.
    pub id: ObjectId,
    /// The ed25519 key: PKCS#8 in PEM form, or a seed of 32 bytes, in a file that others can't read.
    pub key: PathBuf,
}

impl TrustSettings {
    pub(crate) fn parse(
        path: &Path,
        folder: &Path,
        attestation: AttestationTable,
        enclave: Option<EnclaveTable>,
    ) -> Result<Self, MasterSettingsError> {
        let wrong = |field, found: &str, expected| wrong(path, field, found, expected);
        let required = attestation.required.unwrap_or(true);
        let mode = attestation.reports.unwrap_or(Mode::Verified);
        if mode == Mode::Required && !required {
            return Err(wrong(
                "attestation.reports",
                "required",
                "attestation.required = true beside it, since a node without evidence sends no report",
            ));
        }
        let some = attestation.endorsement_roots.is_some()
            || !attestation.admitted_endorsement_keys.is_empty()
            || attestation.releases.is_some()
            || attestation.reports.is_some()
            || attestation.sev_snp.is_some()
            || attestation.tdx.is_some()
            || attestation.secure_boot_certificates.is_some()
            || attestation.firmware != FirmwareMode::default()
            || attestation.allowed_firmware.is_some();
        let evidence = (required || some)
            .then(|| EvidenceSettings::parse(path, folder, attestation))
            .transpose()?;
        let enclave = match enclave {
            Some(table) => Some(EnclaveSettings {
                id: table.id,
                key: folder.join(table.key),
            }),
            None if required => {
                return Err(wrong(
                    "[enclave]",
                    "nothing",
                    "id and key, by which nodes know the master before they send evidence",
                ));
            }
            None => None,
        };
        Ok(Self {
            required,
            evidence,
            enclave,
        })
    }
}

impl EvidenceSettings {
    fn parse(
        path: &Path,
        folder: &Path,
        attestation: AttestationTable,
    ) -> Result<Self, MasterSettingsError> {
        let wrong = |field, found: &str, expected| wrong(path, field, found, expected);
        let mode = attestation.reports.unwrap_or(Mode::Verified);
        let admitted = AdmittedKeyTable::parse_all(&attestation.admitted_endorsement_keys)
            .ok_or_else(|| {
                wrong(
                    "attestation.admitted_endorsement_keys",
                    "something else",
                    "entries with a key, 000b and 64 hexadecimal digits as a refusal names it, each once, and a \
                     reason of at most 200 bytes in one line",
                )
            })?;
        if attestation.endorsement_roots.is_none() && admitted.is_empty() {
            return Err(wrong(
                "attestation.endorsement_roots",
                "nothing",
                "a PEM file with the roots of TPM manufacturers, or attestation.admitted_endorsement_keys, or \
                 attestation.required = false to admit nodes on their stake alone",
            ));
        }
        let Some(releases) = attestation.releases else {
            return Err(wrong(
                "attestation.releases",
                "nothing",
                "the object id of the registry of releases on chain",
            ));
        };
        let secure_boot = match (
            attestation.require_secure_boot.unwrap_or(true),
            attestation.secure_boot_certificates,
        ) {
            (true, Some(file)) => Some(folder.join(file)),
            (true, None) => {
                return Err(wrong(
                    "attestation.secure_boot_certificates",
                    "nothing",
                    "a PEM file with the certificates that images are signed by, or \
                     attestation.require_secure_boot = false",
                ));
            }
            (false, None) => None,
            (false, Some(file)) => {
                return Err(wrong(
                    "attestation.require_secure_boot",
                    &file.display().to_string(),
                    "true, where there are secure_boot_certificates",
                ));
            }
        };
        let allowed_firmware = match &attestation.allowed_firmware {
            Some(list) => {
                let parsed = list.iter().map(AllowedFirmwareTable::parse);
                let parsed: Option<Vec<_>> = parsed.collect();
                Some(parsed.filter(|list| !list.is_empty()).ok_or_else(|| {
                    wrong(
                        "attestation.allowed_firmware",
                        "something else",
                        "entries with pcr0, pcr2 or both, of 64 hexadecimal digits each",
                    )
                })?)
            }
            None => None,
        };
        Ok(Self {
            endorsement_roots: attestation
                .endorsement_roots
                .map(|roots| folder.join(roots)),
            admitted_endorsement_keys: admitted,
            secure_boot_certificates: secure_boot,
            releases,
            firmware: attestation.firmware,
            allowed_firmware,
            reports: ReportSettings::parse(
                path,
                folder,
                mode,
                attestation.sev_snp,
                attestation.tdx,
            )?,
        })
    }
}

/// A field of the file that holds something else than was expected.
fn wrong(
    path: &Path,
    field: &'static str,
    found: &str,
    expected: &'static str,
) -> MasterSettingsError {
    MasterSettingsError::Field {
        path: path.to_owned(),
        field,
        found: found.to_owned(),
        expected,
    }
}
