//! `ATTESTATION_REPORT`: SEV Secure Nested Paging Firmware ABI Specification (AMD document 56860,
//! revision 1.58), section 7.3, table "ATTESTATION_REPORT Structure". Numbers are little-endian.

use attest::tee_report::TeeKind;

use crate::tee_report::outcome::Refusal;
use crate::tee_report::roots::AmdProduct;

/// The length of a report in bytes.
const LENGTH: usize = 0x4a0;
/// How many of them are signed.
const SIGNED: usize = 0x2a0;
/// The length in bytes of r and of s in a signature, little-endian: table "Format for an ECDSA
/// P-384 Signature", chapter 10.
const SCALAR: usize = 72;
/// `SIGNATURE_ALGO`: ECDSA P-384 with SHA-384, chapter 10.
const ECDSA_P384_SHA384: u32 = 1;
/// The versions whose layout is known. What was reserved in the older ones has a meaning in the
/// newer: the CPUID values since 3, mitigation vectors since 5.
const VERSIONS: std::ops::RangeInclusive<u32> = 2..=5;

/// The key that signed a report: `SIGNING_KEY`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SigningKey {
    /// The Versioned Chip Endorsement Key.
    Vcek,
    /// The Versioned Loaded Endorsement Key, which a cloud shares among its machines.
    Vlek,
}

/// Security versions of the parts of a platform: `TCB_VERSION`, section 2.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tcb {
    /// The boot loader of the security processor.
    pub boot_loader: u8,
    /// The operating system of the security processor.
    pub tee: u8,
    /// The SNP firmware.
    pub snp: u8,
    /// The microcode of all cores.
    pub microcode: u8,
    /// The firmware of the chip's management controller; 0 before Turin.
    pub fmc: u8,
}

impl Tcb {
    /// Reads it as that product lays it out. Nothing when reserved bytes are in use.
    pub(super) fn from_bytes(bytes: [u8; 8], product: AmdProduct) -> Option<Self> {
        let (tcb, reserved) = match (product, bytes) {
            (
                AmdProduct::Milan | AmdProduct::Genoa,
                [boot_loader, tee, a, b, c, d, snp, microcode],
            ) => (
                Self {
                    boot_loader,
                    tee,
                    snp,
                    microcode,
                    fmc: 0,
                },
                [a, b, c, d],
            ),
            (AmdProduct::Turin, [fmc, boot_loader, tee, snp, a, b, c, microcode]) => (
                Self {
                    boot_loader,
                    tee,
                    snp,
                    microcode,
                    fmc,
                },
                [a, b, c, 0],
            ),
        };
        (reserved == [0; 4]).then_some(tcb)
    }
}

/// What is looked at of a report.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub(super) policy: u64,
    pub(super) vmpl: u32,
    pub(super) signing_key: SigningKey,
    pub(super) report_data: [u8; 64],
    pub(super) measurement: [u8; 48],
    pub(super) host_data: [u8; 32],
    pub(super) reported_tcb: [u8; 8],
    /// The product by CPUID, in a report of version 3 or newer.
    pub(super) product: Option<AmdProduct>,
    /// Zeros where the host masks it.
    pub(super) chip: [u8; 64],
    pub(super) signed: Vec<u8>,
    /// r and s, big-endian, 48 bytes each.
    pub(super) signature: [u8; 96],
}

/// A field at an offset, which the length check of the report makes sure of.
fn field<const N: usize>(bytes: &[u8; LENGTH], offset: usize) -> [u8; N] {
    let mut field = [0; N];
    for (to, from) in field.iter_mut().zip(bytes.iter().skip(offset)) {
        *to = *from;
    }
    field
}

impl Layout {
    /// Reads a report.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        let malformed = |what| Refusal::Malformed {
            kind: TeeKind::SevSnp,
            what,
        };
        let bytes: &[u8; LENGTH] = bytes
            .try_into()
            .map_err(|_| malformed("its length is not 1184 bytes"))?;
        let version = u32::from_le_bytes(field(bytes, 0));
        if !VERSIONS.contains(&version) {
            return Err(Refusal::Version {
                kind: TeeKind::SevSnp,
                version,
            });
        }
        if u32::from_le_bytes(field(bytes, 0x34)) != ECDSA_P384_SHA384 {
            return Err(malformed("its signature is not one of ECDSA on P-384"));
        }
        // bits 2 to 4; 7 says that nobody signed
        let signing_key = match (u32::from_le_bytes(field(bytes, 0x48)) >> 2) & 7 {
            0 => SigningKey::Vcek,
            1 => SigningKey::Vlek,
            _ => return Err(malformed("it is signed by neither a VCEK nor a VLEK")),
        };
        let product = match version {
            2 => None,
            _ => {
                let [family, model] = field(bytes, 0x188);
                Some(product_of(family, model).ok_or_else(|| malformed("its CPUID is not known"))?)
            }
        };
        Ok(Self {
            policy: u64::from_le_bytes(field(bytes, 0x08)),
            vmpl: u32::from_le_bytes(field(bytes, 0x30)),
            signing_key,
            report_data: field(bytes, 0x50),
            measurement: field(bytes, 0x90),
            host_data: field(bytes, 0xc0),
            reported_tcb: field(bytes, 0x180),
            product,
            chip: field(bytes, 0x1a0),
            signed: bytes.iter().copied().take(SIGNED).collect(),
            signature: signature(bytes)
                .ok_or_else(|| malformed("its signature is no pair of numbers"))?,
        })
    }
}

/// r and s as other libraries take them. Nothing else may stand in the signature's field, which is
/// itself not signed.
fn signature(bytes: &[u8; LENGTH]) -> Option<[u8; 96]> {
    let scalars: [[u8; SCALAR]; 2] = [field(bytes, SIGNED), field(bytes, SIGNED + SCALAR)];
    let rest = bytes.iter().skip(SIGNED + 2 * SCALAR);
    let padding = scalars.iter().flat_map(|scalar| scalar.iter().skip(48));
    if rest.chain(padding).any(|byte| *byte != 0) {
        return None;
    }
    let numbers = scalars
        .iter()
        .flat_map(|scalar| scalar.iter().take(48).rev());
    let mut signature = [0; 96];
    for (to, from) in signature.iter_mut().zip(numbers) {
        *to = *from;
    }
    Some(signature)
}

/// The product of a CPUID family and model, base and extended together: revision guides of AMD's
/// families 19h and 1Ah.
fn product_of(family: u8, model: u8) -> Option<AmdProduct> {
    match (family, model) {
        (0x19, 0x00..=0x0f) => Some(AmdProduct::Milan),
        (0x19, 0x10..=0x1f | 0xa0..=0xaf) => Some(AmdProduct::Genoa),
        (0x1a, 0x00..=0x11) => Some(AmdProduct::Turin),
        _ => None,
    }
}
