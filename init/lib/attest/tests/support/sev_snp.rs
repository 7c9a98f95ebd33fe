//! A double of AMD's security processor: it makes reports as the real one lays them out, and signs them
//! by the key of a chip that a root of the tests' own has certified.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test program uses its own part of this, and fails by panicking"
)]

use std::io;

use attest::report::{AmdProduct, AmdRoot, Roots};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair};

macro_rules! made {
    ($name:literal) => {
        include_bytes!(concat!("../reports/sev-snp/made-for-tests/", $name)).as_slice()
    };
}

/// The entry of a chip's certificate: 63da758d-e664-4564-adc5-f4b93be8accd.
const VCEK: [u8; 16] = 0x63da758d_e664_4564_adc5_f4b93be8accd_u128.to_be_bytes();

/// A machine that was started, as the security processor knows it.
#[derive(Debug, Clone, Copy)]
pub struct SecurityProcessor {
    /// MEASUREMENT.
    pub measurement: [u8; 48],
    /// Whether the host may read the machine's memory.
    pub debug: bool,
}

impl SecurityProcessor {
    /// A machine that was started with this measurement.
    pub fn new(measurement: [u8; 48]) -> Self {
        Self {
            measurement,
            debug: false,
        }
    }

    /// A report over the data. As the real one does, it takes 64 bytes and no other number
    /// (`MSG_REPORT_REQ`, AMD document 56860, 7.3).
    pub fn report(&self, data: &[u8]) -> io::Result<Vec<u8>> {
        if data.len() != 64 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut report = own_report();
        report[0x50..0x90].copy_from_slice(data);
        report[0x90..0xc0].copy_from_slice(&self.measurement);
        if self.debug {
            report[0x0a] |= 1 << 3;
        }
        Ok(sign(report))
    }
}

/// What the host adds to a report: the certificate of the chip.
pub fn certificates() -> Vec<u8> {
    table(&[(VCEK, made!("genoa.vcek.der"))])
}

/// The root of these tests in the place of AMD's.
pub fn own_roots() -> Roots {
    let root = |product| AmdRoot {
        product,
        ark: made!("ark.der").to_vec(),
        intermediates: vec![made!("ask.der").to_vec()],
    };
    let mut roots = Roots::vendors();
    roots.amd = vec![root(AmdProduct::Genoa)];
    roots
}

/// A report of a Genoa, of version 5 with every newer field set.
pub fn own_report() -> Vec<u8> {
    let mut report = vec![0; 0x4a0];
    report[0] = 5;
    report[0x08..0x10].copy_from_slice(&0x3_0000u64.to_le_bytes());
    report[0x34] = 1;
    report[0x50..0x90].fill(0x11);
    report[0x90..0xc0].fill(0x22);
    report[0xc0..0xe0].fill(0x33);
    report[0x180..0x188].copy_from_slice(&[3, 0, 0, 0, 0, 0, 8, 0x73]);
    report[0x188..0x18b].copy_from_slice(&[0x19, 0x11, 1]);
    report[0x1a0..0x1e0].fill(0xc1);
    report[0x1f8..0x208].fill(0x44);
    report
}

/// Signs a report by the key of the chip.
pub fn sign(mut report: Vec<u8>) -> Vec<u8> {
    let random = SystemRandom::new();
    let key = made!("chip.pk8");
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, key, &random).unwrap();
    let signature = key.sign(&random, &report[..0x2a0]).unwrap();
    for (number, offset) in signature.as_ref().chunks(48).zip([0x2a0, 0x2a0 + 72]) {
        let little_endian: Vec<_> = number.iter().rev().copied().collect();
        report[offset..offset + 48].copy_from_slice(&little_endian);
    }
    report
}

/// The host's table of certificates (AMD document 56421, 4.1.8.1).
pub fn table(entries: &[([u8; 16], &[u8])]) -> Vec<u8> {
    let mut offset = 24 * (entries.len() + 1);
    let mut head = Vec::new();
    let mut body = Vec::new();
    for (guid, certificate) in entries {
        head.extend_from_slice(guid);
        head.extend_from_slice(&u32::try_from(offset).unwrap().to_le_bytes());
        head.extend_from_slice(&u32::try_from(certificate.len()).unwrap().to_le_bytes());
        body.extend_from_slice(certificate);
        offset += certificate.len();
    }
    [head, vec![0; 24], body].concat()
}
