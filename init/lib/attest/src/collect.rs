//! Evidence from this machine: its TPM, and the event log that its firmware left.
//!
//! All of it blocks for as long as the TPM works, about a second.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use seal::tpm::{Tpm, attest::Quote, crypto::sha256, error::Error as TpmError};

use crate::{
    channel::{Binding, Claim},
    evidence::{Evidence, MAXIMUM_EVENT_LOG, REGISTERS},
    tee_report::{self, TeeReport, report_data},
};

/// How often registers and quote are taken until they are of one moment.
const ATTEMPTS: usize = 5;

/// Evidence that can't be collected.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// The TPM does not do what it is asked.
    #[error("the TPM can't quote what runs here")]
    Tpm(#[from] TpmError),
    /// The log can't be read.
    #[error("{}: the firmware's event log can't be read", path.display())]
    EventLog {
        /// Where it should be.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The registers change all the time.
    #[error("the TPM's registers change while they are quoted")]
    Unstable,
    /// The binding can't be encoded.
    #[error("what the quote is to be over can't be encoded")]
    Encoding(#[from] bcs::Error),
}

/// Whoever gives the report of a trusted execution environment, over the quote's qualifying data.
pub trait ReportSource {
    /// The report; `None` where the machine is of another kind.
    ///
    /// # Errors
    /// When the machine is of this kind, and gives none.
    fn report(&self, qualifying_data: &[u8; 32]) -> io::Result<Option<TeeReport>>;
}

impl ReportSource for tee_report::collect::Sources {
    fn report(&self, qualifying_data: &[u8; 32]) -> io::Result<Option<TeeReport>> {
        self.collect(&report_data(qualifying_data))
            .map_err(io::Error::other)
    }
}

/// Reads the copy of the firmware's event log; empty where the machine has none.
///
/// # Errors
/// When it is there and can't be read, or is longer than [`MAXIMUM_EVENT_LOG`].
pub fn read_event_log(path: &Path) -> Result<Vec<u8>, CollectError> {
    let read = || {
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        let mut bytes = Vec::new();
        file.take(MAXIMUM_EVENT_LOG as u64 + 1)
            .read_to_end(&mut bytes)?;
        if bytes.len() > MAXIMUM_EVENT_LOG {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(bytes)
    };
    read().map_err(|source| CollectError::EventLog {
        path: path.to_owned(),
        source,
    })
}

/// Collects evidence.
///
/// # Errors
/// When the TPM refuses, or its registers change all the time.
pub fn collect(
    tpm: &mut Tpm,
    claim: Claim,
    event_log: Vec<u8>,
    sources: &[&dyn ReportSource],
) -> Result<Evidence, CollectError> {
    let root = tpm.storage_root_key()?;
    let endorsement = tpm.endorsement_public()?;
    let attestation = tpm.attestation_public()?;
    let certificate = tpm.endorsement_certificate(&root)?.map(without_padding);
    let binding = Binding {
        nonce: claim.nonce,
        node_id: claim.node_id,
        node_key: claim.node_key,
        address: claim.address,
        channel: claim.channel,
        attestation_key: attestation.name()?.to_bytes().to_vec(),
        endorsement_key: endorsement.name()?.to_bytes().to_vec(),
    };
    let data = binding.qualifying_data()?;
    let key = attestation.point()?;
    for _ in 0..ATTEMPTS {
        let registers = REGISTERS
            .iter()
            .map(|register| tpm.read_pcr(*register))
            .collect::<Result<Vec<_>, _>>()?;
        let quote = tpm.quote(&data, &REGISTERS)?;
        let quoted = quote.verify(&key, &data, &REGISTERS)?;
        let parts: Vec<&[u8]> = registers.iter().map(<[u8; 32]>::as_slice).collect();
        if quoted.pcr_digest != sha256(&parts) {
            continue;
        }
        let mut reports = Vec::new();
        for source in sources {
            let report = source
                .report(&data)
                .map_err(|error| CollectError::Tpm(TpmError::Channel(error)))?;
            reports.extend(report);
        }
        return Ok(Evidence {
            binding,
            quote_message: quote.message,
            quote_signature: quote.signature,
            attestation_key: attestation.to_bytes()?,
            endorsement_key: endorsement.to_bytes()?,
            endorsement_certificate: certificate,
            event_log,
            registers,
            reports,
        });
    }
    Err(CollectError::Unstable)
}

/// Quotes the registers again, for a heartbeat.
///
/// # Errors
/// When the TPM refuses.
pub fn quote(tpm: &mut Tpm, data: &[u8; 32]) -> Result<Quote, CollectError> {
    Ok(tpm.quote(data, &REGISTERS)?)
}

/// A certificate without what fills its place in the TPM up: some manufacturers' indices are longer
/// than what is in them. The length stands in the DER header (X.690, 8.1.3).
fn without_padding(mut certificate: Vec<u8>) -> Vec<u8> {
    let length = match certificate.as_slice() {
        [0x30, short @ 0..=0x7f, ..] => Some(2 + usize::from(*short)),
        [0x30, 0x81, length, ..] => Some(3 + usize::from(*length)),
        [0x30, 0x82, high, low, ..] => Some(4 + usize::from(u16::from_be_bytes([*high, *low]))),
        _ => None,
    };
    if let Some(length) = length {
        certificate.truncate(length);
    }
    certificate
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_cut_and_nothing_else() {
        assert_eq!(without_padding(vec![0x30, 1, 7, 0xff]), [0x30, 1, 7]);
        assert_eq!(
            without_padding(vec![0x30, 0x81, 1, 7, 0]),
            [0x30, 0x81, 1, 7]
        );
        let mut long = vec![0x30, 0x82, 1, 0];
        long.extend([7; 256]);
        let mut padded = long.clone();
        padded.extend([0xff; 9]);
        assert_eq!(without_padding(padded), long);
        assert_eq!(without_padding(long.clone()), long);
        assert_eq!(without_padding(vec![1, 2]), [1, 2]);
    }

    #[test]
    fn a_machine_without_a_log_has_an_empty_one() {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("event-log");
        assert_eq!(read_event_log(&path).expect("none"), Vec::<u8>::new());
        std::fs::write(&path, b"log").expect("written");
        assert_eq!(read_event_log(&path).expect("read"), b"log");
        std::fs::write(&path, vec![0; MAXIMUM_EVENT_LOG + 1]).expect("written");
        assert!(read_event_log(&path).is_err());
    }
}
