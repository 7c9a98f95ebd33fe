//! A manufacturer of TPMs and a firmware that measures, for a real TPM in software.
//!
//! The TPM is swtpm. What a machine's maker and its firmware would do to it is done here: a certificate
//! for its endorsement key in its NV memory, and events in its registers and in a log.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test program is a crate, and uses its own part of this"
)]

#[path = "../../../seal/tests/support/mod.rs"]
pub mod seal_support;

use std::fs;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SubjectPublicKeyInfo,
};
use seal::{
    release::Phase,
    tpm::{
        Tpm,
        crypto::{Digest, sha256},
        pcr,
    },
};
pub use seal_support::{Swtpm, enter, workshop};

/// What the boot stub extends register 11 by, in these tests once.
pub const STUB: Digest = seal_support::STUB;

/// The certificate that the publisher signs images by, as far as the firmware is concerned.
pub const PUBLISHER: &[u8] = b"the publisher's certificate";

/// Register 11 as the boot stub leaves it for an image of this hash: what a release names.
pub fn pcr11(stub: &Digest) -> Digest {
    pcr::extended(&[0; 32], stub)
}

/// A manufacturer: a root, and an authority below it that issues.
pub struct Manufacturer {
    root: CertifiedIssuer<'static, KeyPair>,
    issuing: CertifiedIssuer<'static, KeyPair>,
}

/// What a certificate can have wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    None,
    /// Its time is over.
    Expired,
    /// It is not for endorsement keys.
    Purpose,
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

impl Manufacturer {
    pub fn new() -> Self {
        let key = || KeyPair::generate().expect("a key");
        let root = CertifiedIssuer::self_signed(authority("Root"), key()).expect("a root");
        let issuing = CertifiedIssuer::signed_by(authority("Issuing"), key(), &root)
            .expect("an authority below it");
        Self { root, issuing }
    }

    /// What a master's operator puts into `endorsement_roots`. The authority below the root is in it,
    /// since TPMs carry the last certificate alone.
    pub fn roots(&self) -> String {
        self.root.pem() + &self.issuing.pem()
    }

    /// A certificate for a TPM's endorsement key, in the form of the EK Credential Profile: no subject,
    /// a critical alternative name with the TPM's make, and its purpose.
    pub fn certificate(&self, tpm: &mut Tpm, flaw: Flaw) -> Vec<u8> {
        let point = tpm
            .endorsement_public()
            .and_then(|public| public.point())
            .expect("an endorsement key");
        let header =
            hex::decode("3059301306072a8648ce3d020106082a8648ce3d030107034200").expect("hex");
        let info = [header.as_slice(), &point.to_sec1()].concat();
        let info = SubjectPublicKeyInfo::from_der(&info).expect("a public key");
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.distinguished_name = DistinguishedName::new();
        params.key_usages = vec![KeyUsagePurpose::KeyAgreement];
        // tcg-kp-EKCertificate, or else server authentication
        let purpose = match flaw {
            Flaw::Purpose => vec![1, 3, 6, 1, 5, 5, 7, 3, 1],
            _ => vec![2, 23, 133, 8, 1],
        };
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(purpose)];
        if flaw == Flaw::Expired {
            params.not_before = rcgen::date_time_ymd(2001, 1, 1);
            params.not_after = rcgen::date_time_ymd(2002, 1, 1);
        }
        let mut name = CustomExtension::from_oid_content(&[2, 5, 29, 17], alternative_name());
        name.set_criticality(true);
        params.custom_extensions = vec![name];
        params
            .signed_by(&info, &self.issuing)
            .expect("a certificate")
            .der()
            .to_vec()
    }

    /// Makes the certificate and puts it where the profile has it, with tpm2-tools.
    pub fn provision(&self, swtpm: &Swtpm, flaw: Flaw) {
        let certificate = self.certificate(&mut swtpm.open(), flaw);
        install(swtpm, &certificate);
    }
}

/// Puts a certificate into the TPM.
pub fn install(swtpm: &Swtpm, certificate: &[u8]) {
    let (_kept, at) = workshop();
    fs::write(at.join("ek.der"), certificate).expect("written");
    let size = certificate.len();
    swtpm.tool(
        &at,
        &format!(
            "tpm2_nvdefine 0x01c0000a --hierarchy o --size {size} --attributes ownerread|ownerwrite|authread|authwrite|no_da"
        ),
    );
    swtpm.tool(&at, "tpm2_nvwrite 0x01c0000a --hierarchy o --input ek.der");
}

/// A GeneralNames with one directoryName: tcg-at-tpmManufacturer, tcg-at-tpmModel and
/// tcg-at-tpmVersion (EK Credential Profile, 3.1.2).
fn alternative_name() -> Vec<u8> {
    fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = u8::try_from(content.len()).expect("short");
        assert!(length < 0x80, "short");
        [&[tag, length], content].concat()
    }
    let attributes: Vec<u8> = [(1_u8, "id:53494D00"), (2, "double"), (3, "id:1")]
        .iter()
        .flat_map(|(number, text)| {
            let identifier = tagged(6, &[0x67, 0x81, 0x05, 0x02, *number]);
            let value = tagged(12, text.as_bytes());
            tagged(0x31, &tagged(0x30, &[identifier, value].concat()))
        })
        .collect();
    tagged(0x30, &tagged(0xa4, &tagged(0x30, &attributes)))
}

/// What a firmware is set to.
#[derive(Debug, Clone, Copy)]
pub struct Firmware {
    pub secure_boot: bool,
    /// The certificate by which the image was let start.
    pub authority: &'static [u8],
    /// A command line from outside the image.
    pub command_line: Option<&'static [u8]>,
}

impl Default for Firmware {
    fn default() -> Self {
        Self {
            secure_boot: true,
            authority: PUBLISHER,
            command_line: None,
        }
    }
}

/// A log, and the TPM that it is of.
struct Recorder<'a> {
    tpm: &'a mut Tpm,
    log: Vec<u8>,
}

impl Recorder<'_> {
    fn measure(&mut self, register: u8, kind: u32, data: &[u8], digest: &Digest) {
        self.tpm.extend_pcr(register, digest).expect("extended");
        let log = &mut self.log;
        log.extend(u32::from(register).to_le_bytes());
        log.extend(kind.to_le_bytes());
        log.extend(1_u32.to_le_bytes());
        log.extend(0x000b_u16.to_le_bytes());
        log.extend(digest);
        log.extend(u32::try_from(data.len()).expect("short").to_le_bytes());
        log.extend(data);
    }

    fn measure_data(&mut self, register: u8, kind: u32, data: &[u8]) {
        self.measure(register, kind, data, &sha256(&[data]));
    }
}

fn variable(vendor: [u8; 16], name: &str, content: &[u8]) -> Vec<u8> {
    let units: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut data = vendor.to_vec();
    data.extend((name.len() as u64).to_le_bytes());
    data.extend((content.len() as u64).to_le_bytes());
    data.extend(units);
    data.extend(content);
    data
}

/// The first event of a log with the SHA-256 bank alone.
fn specification() -> Vec<u8> {
    let mut data = b"Spec ID Event03\0".to_vec();
    data.extend([0, 0, 0, 0, 0, 2, 0, 2, 1, 0, 0, 0, 0x0b, 0, 32, 0, 0]);
    let mut event = vec![0; 4];
    event.extend(3_u32.to_le_bytes());
    event.extend([0; 20]);
    event.extend(u32::try_from(data.len()).expect("short").to_le_bytes());
    event.extend(data);
    event
}

impl Firmware {
    /// Starts a machine: firmware, boot stub with an image of this hash, and `init` up to where
    /// registration happens. Gives the event log.
    pub fn boot(&self, swtpm: &Swtpm, stub: &Digest) -> Vec<u8> {
        let global = [
            0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03,
            0x2b, 0x8c,
        ];
        let database = [
            0xcb, 0xb2, 0x19, 0xd7, 0x3a, 0x3d, 0x96, 0x45, 0xa3, 0xbc, 0xda, 0xd0, 0x0e, 0x67,
            0x65, 0x6f,
        ];
        let mut tpm = swtpm.open();
        let mut recorder = Recorder {
            tpm: &mut tpm,
            log: specification(),
        };
        recorder.measure_data(0, 8, b"firmware 1.0");
        let state = variable(global, "SecureBoot", &[u8::from(self.secure_boot)]);
        recorder.measure_data(7, 0x8000_0001, &state);
        for register in 0..8 {
            recorder.measure_data(register, 4, &[0; 4]);
        }
        if self.secure_boot {
            let entry = [&[0; 16], self.authority].concat();
            recorder.measure_data(7, 0x8000_00e0, &variable(database, "db", &entry));
        }
        recorder.measure(4, 0x8000_0003, b"the image's path", &[4; 32]);
        recorder.measure(11, 0xd, b"the image's sections", stub);
        if let Some(command_line) = self.command_line {
            recorder.measure_data(12, 0xd, command_line);
        }
        let log = recorder.log;
        enter(&mut tpm, Phase::Boot);
        enter(&mut tpm, Phase::Run);
        log
    }
}
