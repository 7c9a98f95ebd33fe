//! On a recorded document of a real enclave, and on documents that the tests sign themselves for what
//! the recorded one lacks: a nonce. `fixtures/reports/README.md` names its origin.

use attest::tee_report::TeeReport;
use ciborium::Value;
use coset::{CoseSign1Builder, HeaderBuilder};
use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P384_SHA384,
};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair};

use super::*;
use crate::tee_report::Expectations;

const RECORDED: &[u8] = fixtures::recorded::nitro::DOCUMENT;
/// When the recorded document was made: its certificate holds for three hours.
const THEN: u64 = 1_736_179_625;

fn recorded_image(document: &Document) -> Image {
    Image {
        pcr0: document.pcrs[&0],
        pcr1: document.pcrs[&1],
        pcr2: document.pcrs[&2],
    }
}

#[test]
fn a_recorded_document_is_authentic_up_to_awss_root() {
    let document = authenticate(RECORDED, &Roots::vendors(), THEN).unwrap();
    assert_eq!(document.module, "i-0bee92034f3d60691-enc01943c5eaab3ad6a");
    assert_eq!(document.timestamp / 1000, THEN);
    assert_eq!(document.pcrs.len(), 16);
    assert_eq!(
        (document.user_data.clone(), document.nonce.clone()),
        (None, None)
    );

    // it was made for nobody in particular
    let policy = Policy {
        images: Some(vec![recorded_image(&document)]),
        user_data: None,
        maximum_age: Duration::from_secs(60),
    };
    let refusal = check(document, &[0; 64], &policy, THEN).unwrap_err();
    assert_eq!(refusal, Refusal::ReportData(TeeKind::Nitro));
}

#[test]
fn every_byte_of_a_recorded_document_counts() {
    for index in 0..RECORDED.len() {
        let mut changed = RECORDED.to_vec();
        changed[index] ^= 1;
        let outcome = authenticate(&changed, &Roots::vendors(), THEN);
        assert!(outcome.is_err(), "byte {index}");
    }
    for length in [0, 1, RECORDED.len() - 1] {
        assert!(authenticate(&RECORDED[..length], &Roots::vendors(), THEN).is_err());
    }
    let longer = [RECORDED, b"\x00"].concat();
    assert!(authenticate(&longer, &Roots::vendors(), THEN).is_err());
}

#[test]
fn another_root_and_an_expired_certificate_are_refused() {
    for now in [THEN - 86_400, THEN + 86_400] {
        let outcome = authenticate(RECORDED, &Roots::vendors(), now);
        assert_eq!(outcome, Err(Refusal::Chain(TeeKind::Nitro)));
    }
    let outcome = authenticate(RECORDED, &Authority::new().roots(), THEN);
    assert_eq!(outcome, Err(Refusal::Chain(TeeKind::Nitro)));
}

// --- documents that the tests sign ----------------------------------------------------------------

/// A root of the tests', and a key under it that signs documents.
struct Authority {
    root: Vec<u8>,
    leaf: Vec<u8>,
    key: KeyPair,
}

impl Authority {
    fn new() -> Self {
        let named = |name: &str| {
            let mut parameters = CertificateParams::default();
            parameters.distinguished_name.push(DnType::CommonName, name);
            parameters
        };
        let root_key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
        let mut root = named("root");
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        root.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let certificate = root.self_signed(&root_key).unwrap();
        let issuer = Issuer::new(root, root_key);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
        let leaf = named("enclave").signed_by(&key, &issuer).unwrap();
        Self {
            root: certificate.der().to_vec(),
            leaf: leaf.der().to_vec(),
            key,
        }
    }

    fn roots(&self) -> Roots {
        let mut roots = Roots::vendors();
        roots.aws = self.root.clone();
        roots
    }

    fn sign(&self, payload: &Value) -> Vec<u8> {
        self.sign_with(
            payload,
            HeaderBuilder::new().algorithm(Algorithm::ES384).build(),
        )
    }

    fn sign_with(&self, payload: &Value, header: Header) -> Vec<u8> {
        let mut bytes = Vec::new();
        ciborium::into_writer(payload, &mut bytes).unwrap();
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P384_SHA384_FIXED_SIGNING;
        let key = EcdsaKeyPair::from_pkcs8(algorithm, &self.key.serialize_der(), &random).unwrap();
        CoseSign1Builder::new()
            .protected(header)
            .payload(bytes)
            .create_signature(&[], |signed| {
                key.sign(&random, signed).unwrap().as_ref().to_vec()
            })
            .build()
            .to_vec()
            .unwrap()
    }

    /// A document as the security module makes them, with fields in place of others.
    fn document(&self, changes: &[(&str, Value)]) -> Value {
        let text = |text: &str| Value::Text(text.to_owned());
        let pcrs = (0..5u8).map(|index| (index.into(), Value::Bytes(vec![index + 1; 48])));
        let mut fields = vec![
            ("module_id", text("i-1-enc1")),
            ("digest", text("SHA384")),
            ("timestamp", (NOW * 1000).into()),
            ("pcrs", Value::Map(pcrs.collect())),
            ("certificate", Value::Bytes(self.leaf.clone())),
            (
                "cabundle",
                Value::Array(vec![Value::Bytes(self.root.clone())]),
            ),
            ("public_key", Value::Null),
            ("user_data", Value::Null),
            ("nonce", Value::Bytes(vec![9; 64])),
        ];
        for (name, value) in changes {
            fields.retain(|(field, _)| field != name);
            fields.push((name, value.clone()));
        }
        Value::Map(
            fields
                .into_iter()
                .map(|(name, value)| (text(name), value))
                .collect(),
        )
    }

    fn check(&self, changes: &[(&str, Value)]) -> Result<VerifiedReport, Refusal> {
        self.check_bytes(self.sign(&self.document(changes)), &policy())
    }

    fn check_bytes(&self, bytes: Vec<u8>, policy: &Policy) -> Result<VerifiedReport, Refusal> {
        let report = TeeReport::new(TeeKind::Nitro, bytes, Vec::new()).unwrap();
        let expectations = Expectations {
            report_data: [9; 64],
            sev_snp: None,
            tdx: None,
            nitro: Some(policy.clone()),
        };
        crate::tee_report::verify(&report, &expectations, &self.roots(), NOW)
    }
}

/// Within the validity that `rcgen` gives.
const NOW: u64 = 2_000_000_000;

fn policy() -> Policy {
    Policy {
        images: Some(vec![Image {
            pcr0: [1; 48],
            pcr1: [2; 48],
            pcr2: [3; 48],
        }]),
        user_data: None,
        maximum_age: Duration::from_secs(60),
    }
}

#[test]
fn a_document_over_our_nonce_verifies() {
    let authority = Authority::new();
    let verified = authority.check(&[]).unwrap();
    assert_eq!(verified.measurement, [1; 48]);
    assert_eq!(verified.machine, b"i-1-enc1");
}

#[test]
fn what_a_document_says_is_compared() {
    let authority = Authority::new();
    let bytes = |byte, length| Value::Bytes(vec![byte; length]);
    let refused = |name, value| authority.check(&[(name, value)]).unwrap_err();
    const KIND: TeeKind = TeeKind::Nitro;

    assert_eq!(refused("nonce", Value::Null), Refusal::ReportData(KIND));
    assert_eq!(refused("nonce", bytes(8, 64)), Refusal::ReportData(KIND));
    assert_eq!(refused("nonce", bytes(9, 63)), Refusal::ReportData(KIND));
    assert_eq!(refused("user_data", bytes(0, 1)), Refusal::UserData);
    let maximum = Duration::from_secs(60);
    assert_eq!(
        refused("timestamp", ((NOW - 61) * 1000).into()),
        Refusal::Stale {
            age: Duration::from_secs(61),
            maximum
        }
    );
    assert_eq!(
        refused("timestamp", ((NOW + 61) * 1000).into()),
        Refusal::Future(Duration::from_secs(61))
    );
    authority
        .check(&[("timestamp", ((NOW - 60) * 1000).into())])
        .unwrap();
    authority
        .check(&[("timestamp", ((NOW + 60) * 1000).into())])
        .unwrap();

    let pcrs = |values: [u8; 3]| {
        let values = values.into_iter().enumerate();
        Value::Map(
            values
                .map(|(index, byte)| ((index as u64).into(), bytes(byte, 48)))
                .collect(),
        )
    };
    authority.check(&[("pcrs", pcrs([1, 2, 3]))]).unwrap();
    for (values, what) in [
        ([9, 2, 3], "PCR 0"),
        ([1, 9, 3], "PCR 1"),
        ([1, 2, 9], "PCR 2"),
    ] {
        assert_eq!(
            refused("pcrs", pcrs(values)),
            Refusal::Measurement { kind: KIND, what }
        );
    }
    for values in [[0, 0, 0], [0, 2, 3], [1, 0, 3], [1, 2, 0]] {
        assert_eq!(refused("pcrs", pcrs(values)), Refusal::Debug(KIND));
    }
}

#[test]
fn user_data_that_is_expected_must_be_there() {
    let authority = Authority::new();
    let mut policy = policy();
    policy.user_data = Some(vec![4, 2]);
    let with = |value| authority.sign(&authority.document(&[("user_data", value)]));
    authority
        .check_bytes(with(Value::Bytes(vec![4, 2])), &policy)
        .unwrap();
    let refusal = authority
        .check_bytes(with(Value::Null), &policy)
        .unwrap_err();
    assert_eq!(refusal, Refusal::UserData);
}

#[test]
fn signed_documents_of_another_layout_are_refused() {
    let authority = Authority::new();
    let bytes = |length| Value::Bytes(vec![1; length]);
    let map = |entries: Vec<(u64, usize)>| {
        let entries = entries.into_iter();
        Value::Map(
            entries
                .map(|(index, length)| (index.into(), bytes(length)))
                .collect(),
        )
    };
    for (name, value) in [
        ("module_id", Value::Text(String::new())),
        ("digest", Value::Text("SHA256".to_owned())),
        ("timestamp", (-1).into()),
        ("pcrs", map(vec![])),
        ("pcrs", map(vec![(0, 47)])),
        ("pcrs", map(vec![(32, 48)])),
        ("pcrs", map(vec![(0, 48), (0, 48)])),
        ("certificate", bytes(0)),
        ("certificate", bytes(1025)),
        ("cabundle", Value::Array(vec![])),
        ("cabundle", Value::Array(vec![bytes(1); 17])),
        ("nonce", bytes(1025)),
        ("public_key", bytes(1025)),
        ("something", Value::Null),
    ] {
        let refusal = authority.check(&[(name, value)]).unwrap_err();
        assert!(
            matches!(refusal, Refusal::Malformed { .. }),
            "{name}: {refusal}"
        );
    }
    let mut twice = authority.document(&[]).into_map().unwrap();
    twice.push(twice[8].clone());
    let outcome = authority.check_bytes(authority.sign(&Value::Map(twice)), &policy());
    assert!(
        matches!(outcome, Err(Refusal::Malformed { .. })),
        "{outcome:?}"
    );

    let header = HeaderBuilder::new().algorithm(Algorithm::ES256).build();
    let other = authority.sign_with(&authority.document(&[]), header);
    let refusal = authority.check_bytes(other, &policy()).unwrap_err();
    assert!(matches!(refusal, Refusal::Malformed { .. }), "{refusal}");
}

#[test]
fn a_document_signed_by_another_key_is_refused() {
    let authority = Authority::new();
    let forged = Authority {
        key: Authority::new().key,
        ..authority
    };
    assert_eq!(forged.check(&[]), Err(Refusal::Signature(TeeKind::Nitro)));
}

proptest! {
    #[test]
    fn nothing_brings_the_parser_down(
        document in proptest::collection::vec(any::<u8>(), 0..512),
        at in 0..RECORDED.len(),
    ) {
        prop_assert!(authenticate(&document, &Roots::vendors(), THEN).is_err());
        let mut whole = RECORDED.to_vec();
        let end = RECORDED.len().min(at + document.len());
        whole[at..end].copy_from_slice(&document[..end - at]);
        if whole != RECORDED {
            prop_assert!(authenticate(&whole, &Roots::vendors(), THEN).is_err());
        }
    }
}
