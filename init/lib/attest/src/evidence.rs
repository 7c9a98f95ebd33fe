//! What travels from node to master, with a bound on each part.

use seal::tpm::{attest::Quote, crypto::Digest};
use serde::{Deserialize, Serialize};

use crate::channel::Binding;
use crate::tee_report::{MAXIMUM_AUXILIARY, MAXIMUM_REPORT, TeeReport};

/// The registers that are quoted, of the SHA-256 bank: firmware, Secure Boot, the unified kernel
/// image with its boot phases, and what came from outside of it.
pub const REGISTERS: [u8; 10] = [0, 1, 2, 3, 4, 5, 6, 7, 11, 12];

/// The longest event log in bytes.
pub const MAXIMUM_EVENT_LOG: usize = 1024 * 1024;

/// The longest certificate in bytes; `seal` reads none longer.
pub const MAXIMUM_CERTIFICATE: usize = 8 * 1024;

/// The most reports of TEEs.
pub const MOST_REPORTS: usize = 3;

/// The longest evidence in bytes: its log, and all the rest.
pub const MAXIMUM_EVIDENCE: usize = MAXIMUM_EVENT_LOG
    + MAXIMUM_CERTIFICATE
    + MOST_REPORTS * (MAXIMUM_REPORT + MAXIMUM_AUXILIARY + 8)
    + 8 * 1024;

/// The longest of the small parts: quote, signature, public areas, nonce, address.
const MAXIMUM_SMALL: usize = 1024;

/// The format that this program writes, and the only one that it reads.
const FORMAT: u8 = 1;

/// What runs on a machine, and what proves it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// What the quote is over.
    pub binding: Binding,
    /// The quote's message (`TPMS_ATTEST`).
    pub quote_message: Vec<u8>,
    /// The quote's signature (`TPMT_SIGNATURE`).
    pub quote_signature: Vec<u8>,
    /// The public area of the key that signed it (`TPM2B_PUBLIC`).
    pub attestation_key: Vec<u8>,
    /// The public area of the TPM's endorsement key (`TPM2B_PUBLIC`).
    pub endorsement_key: Vec<u8>,
    /// The manufacturer's certificate of the endorsement key (DER), where the TPM carries one.
    pub endorsement_certificate: Option<Vec<u8>>,
    /// The firmware's event log; empty where the machine has none.
    pub event_log: Vec<u8>,
    /// The values of [`REGISTERS`], in their order.
    pub registers: Vec<Digest>,
    /// The reports of TEEs, over the quote's qualifying data.
    pub reports: Vec<TeeReport>,
}

/// Bytes that are no evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceError {
    /// Too long as a whole.
    #[error("the evidence is longer than {MAXIMUM_EVIDENCE} bytes")]
    TooLong,
    /// Another format.
    #[error("the evidence has the format {0}; expected {FORMAT}")]
    Format(u8),
    /// Not the structure.
    #[error("the evidence is not of the structure that its format has")]
    Structure,
    /// A part that is out of its bounds.
    #[error("a part of the evidence is out of its bounds: {0}")]
    Bounds(&'static str),
}

impl Evidence {
    /// Writes it: a byte for the format, then BCS.
    ///
    /// # Errors
    /// When a part is out of its bounds.
    pub fn to_bytes(&self) -> Result<Vec<u8>, EvidenceError> {
        self.check()?;
        let mut bytes = vec![FORMAT];
        bcs::serialize_into(&mut bytes, self).map_err(|_| EvidenceError::Structure)?;
        Ok(bytes)
    }

    /// Reads it.
    ///
    /// # Errors
    /// When it is too long, of another format or structure, or a part is out of its bounds.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EvidenceError> {
        if bytes.len() > MAXIMUM_EVIDENCE {
            return Err(EvidenceError::TooLong);
        }
        let evidence: Self = match bytes.split_first() {
            Some((&FORMAT, rest)) => bcs::from_bytes(rest).map_err(|_| EvidenceError::Structure)?,
            Some((format, _)) => return Err(EvidenceError::Format(*format)),
            None => return Err(EvidenceError::Structure),
        };
        evidence.check()?;
        Ok(evidence)
    }

    /// The quote.
    #[must_use]
    pub fn quote(&self) -> Quote {
        Quote {
            message: self.quote_message.clone(),
            signature: self.quote_signature.clone(),
        }
    }

    /// The quoted value of a register.
    #[must_use]
    pub fn register(&self, number: u8) -> Option<&Digest> {
        let index = REGISTERS.iter().position(|other| *other == number)?;
        self.registers.get(index)
    }

    fn check(&self) -> Result<(), EvidenceError> {
        let binding = &self.binding;
        for (what, part) in [
            ("the nonce", &binding.nonce),
            ("the node's key", &binding.node_key),
            ("the attestation key's name", &binding.attestation_key),
            ("the endorsement key's name", &binding.endorsement_key),
            ("the quote's message", &self.quote_message),
            ("the quote's signature", &self.quote_signature),
            ("the attestation key", &self.attestation_key),
            ("the endorsement key", &self.endorsement_key),
        ] {
            if part.is_empty() || part.len() > MAXIMUM_SMALL {
                return Err(EvidenceError::Bounds(what));
            }
        }
        if binding.address.len() > MAXIMUM_SMALL {
            return Err(EvidenceError::Bounds("the node's address"));
        }
        if self
            .endorsement_certificate
            .as_ref()
            .is_some_and(|certificate| certificate.len() > MAXIMUM_CERTIFICATE)
        {
            return Err(EvidenceError::Bounds("the certificate"));
        }
        if self.event_log.len() > MAXIMUM_EVENT_LOG {
            return Err(EvidenceError::Bounds("the event log"));
        }
        if self.registers.len() != REGISTERS.len() {
            return Err(EvidenceError::Bounds("the number of registers"));
        }
        // each has its own bounds
        if self.reports.len() > MOST_REPORTS {
            return Err(EvidenceError::Bounds("the reports"));
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tee_report::TeeKind;

    pub(crate) fn an_evidence() -> Evidence {
        Evidence {
            binding: Binding {
                nonce: vec![1; 32],
                node_id: "edge-0001".parse().expect("a name"),
                node_key: vec![2; 33],
                address: format!("0x{}", "03".repeat(32)),
                channel: [4; 32],
                attestation_key: vec![5; 34],
                endorsement_key: vec![6; 34],
            },
            quote_message: vec![7; 145],
            quote_signature: vec![8; 72],
            attestation_key: vec![9; 90],
            endorsement_key: vec![10; 122],
            endorsement_certificate: None,
            event_log: vec![11; 4000],
            registers: vec![[12; 32]; REGISTERS.len()],
            reports: vec![
                TeeReport::new(TeeKind::Tdx, vec![13; 100], Vec::new()).expect("a report"),
            ],
        }
    }

    #[test]
    fn it_comes_back_as_it_went() {
        let evidence = an_evidence();
        let bytes = evidence.to_bytes().expect("within bounds");
        assert_eq!(Evidence::from_bytes(&bytes), Ok(evidence));
        let mut other = bytes.clone();
        other[0] = 2;
        assert_eq!(Evidence::from_bytes(&other), Err(EvidenceError::Format(2)));
        let mut longer = bytes;
        longer.push(0);
        assert_eq!(Evidence::from_bytes(&longer), Err(EvidenceError::Structure));
    }

    #[test]
    fn each_part_has_a_bound() {
        let changes: [fn(&mut Evidence); 8] = [
            |evidence| evidence.binding.nonce.clear(),
            |evidence| evidence.quote_message = vec![0; MAXIMUM_SMALL + 1],
            |evidence| evidence.endorsement_certificate = Some(vec![0; MAXIMUM_CERTIFICATE + 1]),
            |evidence| evidence.event_log = vec![0; MAXIMUM_EVENT_LOG + 1],
            |evidence| {
                evidence.registers.pop();
            },
            |evidence| evidence.registers.push([0; 32]),
            |evidence| evidence.reports = vec![evidence.reports[0].clone(); MOST_REPORTS + 1],
            |evidence| evidence.binding.address = "x".repeat(MAXIMUM_SMALL + 1),
        ];
        for change in changes {
            let mut evidence = an_evidence();
            change(&mut evidence);
            let error = evidence.to_bytes().expect_err("out of bounds");
            assert!(matches!(error, EvidenceError::Bounds(_)), "{error}");
            let mut bytes = vec![FORMAT];
            bcs::serialize_into(&mut bytes, &evidence).expect("small");
            assert!(Evidence::from_bytes(&bytes).is_err());
        }
    }

    #[test]
    fn evidence_with_a_bad_node_name_is_refused() {
        let bytes = an_evidence().to_bytes().expect("within bounds");
        let name = b"\x09edge-0001";
        let place = bytes.windows(name.len()).position(|part| part == name);
        let place = place.expect("the name and its length");
        let long = [&[0x81, 0x08][..], &[b'x'; MAXIMUM_SMALL + 1]].concat();
        for wrong in [&b"\x00"[..], b"\x09Edge-0001", b"\x0aedge-0001.", &long] {
            let mut edited = bytes.clone();
            edited.splice(place..place + name.len(), wrong.iter().copied());
            assert_eq!(Evidence::from_bytes(&edited), Err(EvidenceError::Structure));
        }
        let mut other = bytes;
        other.splice(place..place + name.len(), *b"\x0bedge-000001");
        assert!(Evidence::from_bytes(&other).is_ok());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..2048)) {
            let _ = Evidence::from_bytes(&bytes);
        }

        #[test]
        fn edited_evidence_is_read_or_refused(
            edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = an_evidence().to_bytes().expect("within bounds");
            for (place, value) in edits {
                let place = place.index(bytes.len());
                bytes[place] = value;
            }
            let _ = Evidence::from_bytes(&bytes);
            let _ = Evidence::from_bytes(&bytes[..cut.index(bytes.len())]);
        }
    }
}
