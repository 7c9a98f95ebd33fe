//! AMD SEV-SNP: the report that the security processor makes of the machine it has started.

mod layout;
mod table;

use attest::tee_report::TeeKind;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode as _, asn1::Ia5StringRef};

pub use layout::Tcb;

use layout::{Layout, SigningKey};

use super::certificate::Certificate;
use super::outcome::{Refusal, VerifiedReport};
use super::roots::{AmdProduct, Roots};

/// A part of the firmware's version: its name, its extension in a chip's certificate, and where it is in
/// a report.
type Extension = (&'static str, ObjectIdentifier, fn(&Tcb) -> u8);

/// The parts of a TCB version, and the extensions of an endorsement key's certificate that hold
/// them: Versioned Chip Endorsement Key (VCEK) Certificate and KDS Interface Specification (AMD
/// document 57230), table "VCEK Certificate x509v3 Custom Extensions".
const EXTENSIONS: [Extension; 4] = [
    (
        "boot loader",
        ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.1"),
        |tcb| tcb.boot_loader,
    ),
    (
        "TEE",
        ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.2"),
        |tcb| tcb.tee,
    ),
    (
        "SNP firmware",
        ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.3"),
        |tcb| tcb.snp,
    ),
    (
        "microcode",
        ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.8"),
        |tcb| tcb.microcode,
    ),
];
/// `fmcSPL`, since Turin.
const FMC_EXTENSION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.9");
/// `productName`: the product, and for a VCEK the stepping behind a dash.
const PRODUCT_EXTENSION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.2");
/// `hwID`: the chip, as its bare bytes; 64 of them, and 8 since Turin.
const CHIP_EXTENSION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.4");

/// `POLICY`, bit 18: a migration agent may be bound to the guest (56860, section 4.3).
const POLICY_MIGRATE: u64 = 1 << 18;
/// `POLICY`, bit 19: the host may read the guest's memory through the firmware.
const POLICY_DEBUG: u64 = 1 << 19;

/// What an SEV-SNP report must say.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The launch measurements that are approved: firmware, kernel, initramfs and command line.
    /// `None`: the caller judges [`VerifiedReport::measurement`].
    pub measurements: Option<Vec<[u8; 48]>>,
    /// The least of every part of the platform's TCB.
    pub minimum_tcb: Tcb,
    /// The least privileged level (VMPL, 0 to 3) that may ask for the report. 0 but where a
    /// paravisor runs below the operating system.
    pub maximum_vmpl: u32,
    /// What the host must have bound to the launch, if anything: `HOST_DATA`.
    pub host_data: Option<[u8; 32]>,
    /// Certificates (DER) of endorsement keys and of their issuers, for reports that bring none.
    pub certificates: Vec<Vec<u8>>,
}

/// Verifies a report. See [`crate::tee_report::verify()`].
pub(super) fn verify(
    bytes: &[u8],
    auxiliary: &[u8],
    report_data: &[u8; 64],
    policy: &Policy,
    roots: &Roots,
    now: u64,
) -> Result<VerifiedReport, Refusal> {
    const KIND: TeeKind = TeeKind::SevSnp;
    let report = Layout::parse(bytes)?;
    let (endorsement, product) = endorsement(&report, auxiliary, policy, roots, now)?;
    let tcb = check_endorsement(&report, &endorsement, product)?;
    if !endorsement.has_signed(&report.signed, &report.signature) {
        return Err(Refusal::Signature(KIND));
    }

    // from here on the report is the security processor's word
    if report.policy & POLICY_DEBUG != 0 {
        return Err(Refusal::Debug(KIND));
    }
    if report.policy & POLICY_MIGRATE != 0 {
        return Err(Refusal::Migratable(KIND));
    }
    if report.report_data != *report_data {
        return Err(Refusal::ReportData(KIND));
    }
    if report.vmpl > policy.maximum_vmpl {
        return Err(Refusal::PrivilegeLevel {
            found: report.vmpl,
            maximum: policy.maximum_vmpl,
        });
    }
    if policy
        .measurements
        .as_ref()
        .is_some_and(|approved| !approved.contains(&report.measurement))
    {
        return Err(Refusal::Measurement {
            kind: KIND,
            what: "launch measurement",
        });
    }
    if policy
        .host_data
        .is_some_and(|expected| expected != report.host_data)
    {
        return Err(Refusal::Measurement {
            kind: KIND,
            what: "host data",
        });
    }
    let fmc: (&str, fn(&Tcb) -> u8) = ("FMC", |tcb| tcb.fmc);
    let parts = EXTENSIONS.map(|(component, _, part)| (component, part));
    for (component, part) in parts.into_iter().chain([fmc]) {
        let (found, minimum) = (part(&tcb), part(&policy.minimum_tcb));
        if found < minimum {
            return Err(Refusal::Firmware {
                component,
                found,
                minimum,
            });
        }
    }
    Ok(VerifiedReport {
        kind: KIND,
        measurement: report.measurement,
        machine: report.chip.to_vec(),
        platform: format!(
            "{product}, boot loader {}, TEE {}, SNP {}, microcode {}, FMC {}",
            tcb.boot_loader, tcb.tee, tcb.snp, tcb.microcode, tcb.fmc
        ),
    })
}

/// The certificate of the key that has signed the report, and the product whose root it leads to.
fn endorsement(
    report: &Layout,
    auxiliary: &[u8],
    policy: &Policy,
    roots: &Roots,
    now: u64,
) -> Result<(Certificate, AmdProduct), Refusal> {
    let table = table::parse(auxiliary)?;
    let (wanted, name) = match report.signing_key {
        SigningKey::Vcek => (table::VCEK, "SEV-VCEK"),
        SigningKey::Vlek => (table::VLEK, "SEV-VLEK"),
    };
    let in_table = |wanted| {
        let entries = table.iter();
        entries
            .filter(move |(guid, _)| *guid == wanted)
            .filter_map(|(_, certificate)| Certificate::from_der(certificate))
    };
    let given: Vec<_> = policy
        .certificates
        .iter()
        .filter_map(|certificate| Certificate::from_der(certificate))
        .collect();
    let built_in = roots.amd.iter().flat_map(|root| &root.intermediates);
    let authorities: Vec<_> = in_table(table::ASK)
        .chain(given.iter().cloned())
        .chain(built_in.filter_map(|certificate| Certificate::from_der(certificate)))
        .filter(Certificate::is_authority)
        .collect();
    let endorsements: Vec<_> = in_table(wanted)
        .chain(given.iter().cloned())
        .filter(|certificate| certificate.common_name().as_deref() == Some(name))
        .collect();
    if endorsements.is_empty() {
        return Err(Refusal::NoCertificate);
    }
    let usable = |certificate: &Certificate| {
        certificate.is_valid_at(now) && certificate.has_only_known_critical_extensions()
    };
    // Several may be at hand, of other chips or older firmware. The one that fits, or else any that
    // is AMD's, so that what follows can say what is wrong with it.
    let mut other = None;
    for endorsement in endorsements.into_iter().filter(|found| usable(found)) {
        let product = authorities
            .iter()
            .filter(|authority| usable(authority) && endorsement.is_signed_by(authority))
            .find_map(|authority| roots.amd_issuer(authority, now));
        let Some(product) = product else { continue };
        if check_endorsement(report, &endorsement, product).is_ok() {
            return Ok((endorsement, product));
        }
        other = Some((endorsement, product));
    }
    other.ok_or(Refusal::Chain(TeeKind::SevSnp))
}

/// Checks that the certificate is for the product, the chip and the firmware that the report names,
/// and gives the firmware's versions.
fn check_endorsement(
    report: &Layout,
    endorsement: &Certificate,
    product: AmdProduct,
) -> Result<Tcb, Refusal> {
    let product_name = endorsement
        .extension(PRODUCT_EXTENSION)
        .and_then(|value| Ia5StringRef::from_der(value).ok())
        .map(|name| {
            name.as_str()
                .split('-')
                .next()
                .unwrap_or_default()
                .to_owned()
        });
    if product_name != Some(product.to_string())
        || report.product.is_some_and(|of_report| of_report != product)
    {
        return Err(Refusal::ForeignCertificate("product"));
    }
    // only a newer report says which product's layout its TCB version has
    let tcb = Tcb::from_bytes(report.reported_tcb, product).ok_or(match report.product {
        None => Refusal::ForeignCertificate("product"),
        Some(_) => Refusal::Malformed {
            kind: TeeKind::SevSnp,
            what: "reserved bytes of its TCB version are in use",
        },
    })?;
    for (component, oid, part) in EXTENSIONS {
        if small_number(endorsement, oid) != Some(part(&tcb)) {
            return Err(Refusal::ForeignCertificate(component));
        }
    }
    if product == AmdProduct::Turin && small_number(endorsement, FMC_EXTENSION) != Some(tcb.fmc) {
        return Err(Refusal::ForeignCertificate("FMC"));
    }
    // A VLEK belongs to a cloud and to no chip. Where the host masks the chip, it shows as zeros, and
    // a VCEK's report can't be tied to its machine: such a host must use a VLEK.
    if report.signing_key == SigningKey::Vcek {
        let length = match product {
            AmdProduct::Milan | AmdProduct::Genoa => 64,
            AmdProduct::Turin => 8,
        };
        let chip = endorsement.extension(CHIP_EXTENSION);
        let (start, rest) = report.chip.split_at(length);
        if report.chip == [0; 64] || chip != Some(start) || rest.iter().any(|byte| *byte != 0) {
            return Err(Refusal::ForeignCertificate("chip"));
        }
    }
    Ok(tcb)
}

/// The content of an extension that is an INTEGER of one byte.
fn small_number(certificate: &Certificate, oid: ObjectIdentifier) -> Option<u8> {
    u8::from_der(certificate.extension(oid)?).ok()
}

#[cfg(test)]
mod tests;
