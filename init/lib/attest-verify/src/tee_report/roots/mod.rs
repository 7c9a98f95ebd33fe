//! The vendors' roots: what every verified report ends at.

use std::fmt;

use super::certificate::Certificate;

/// The generations of processors with SEV-SNP that are known, by AMD's product name in the
/// certificates and in the addresses of its key distribution service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AmdProduct {
    /// EPYC 7003.
    Milan,
    /// EPYC 9004 and 8004 (which AMD's service lists under Genoa, too).
    Genoa,
    /// EPYC 9005.
    Turin,
}

impl fmt::Display for AmdProduct {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Milan => "Milan",
            Self::Genoa => "Genoa",
            Self::Turin => "Turin",
        })
    }
}

/// AMD's authority for one product.
#[derive(Debug, Clone)]
pub struct AmdRoot {
    /// Whose it is.
    pub product: AmdProduct,
    /// The AMD Root Key's certificate (DER), which is believed.
    pub ark: Vec<u8>,
    /// Certificates (DER) that the ARK has signed, for reports that bring none: the AMD SEV Key's,
    /// which signs the VCEKs. Not believed by themselves.
    pub intermediates: Vec<Vec<u8>>,
}

/// What is believed.
#[derive(Debug, Clone)]
pub struct Roots {
    /// For SEV-SNP.
    pub amd: Vec<AmdRoot>,
    /// For TDX: the certificate (DER) of Intel's SGX Root CA.
    pub intel: Vec<u8>,
    /// For Nitro: the certificate (DER) of AWS's root of Nitro Enclaves.
    pub aws: Vec<u8>,
}

/// The certificates that this crate carries, with the names of their files in `roots`.
/// Their digests are pinned by a test, their sources named in the README beside them.
macro_rules! certificate {
    ($name:literal) => {
        include_bytes!(concat!($name, ".der")).to_vec()
    };
}

impl Roots {
    /// The vendors' own.
    #[must_use]
    pub fn vendors() -> Self {
        let root = |product, ark, ask| AmdRoot {
            product,
            ark,
            intermediates: vec![ask],
        };
        Self {
            amd: vec![
                root(
                    AmdProduct::Milan,
                    certificate!("amd-ark-milan"),
                    certificate!("amd-ask-milan"),
                ),
                root(
                    AmdProduct::Genoa,
                    certificate!("amd-ark-genoa"),
                    certificate!("amd-ask-genoa"),
                ),
                root(
                    AmdProduct::Turin,
                    certificate!("amd-ark-turin"),
                    certificate!("amd-ask-turin"),
                ),
            ],
            intel: certificate!("intel-sgx-root"),
            aws: certificate!("aws-nitro-root-g1"),
        }
    }

    /// AMD's authority that has signed this certificate, directly.
    pub(super) fn amd_issuer(&self, certificate: &Certificate, now: u64) -> Option<AmdProduct> {
        self.amd.iter().find_map(|root| {
            let ark = Certificate::from_der(&root.ark)?;
            (ark.is_valid_at(now) && certificate.is_signed_by(&ark)).then_some(root.product)
        })
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::*;

    #[test]
    fn the_roots_are_the_pinned_ones() {
        let roots = Roots::vendors();
        let mut found: Vec<&[u8]> = vec![&roots.intel, &roots.aws];
        for root in &roots.amd {
            found.push(&root.ark);
            found.extend(root.intermediates.iter().map(Vec::as_slice));
        }
        let digests: Vec<_> = found
            .into_iter()
            .map(|certificate| hex::encode(Sha256::digest(certificate)))
            .collect();
        assert_eq!(
            digests,
            [
                "44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3",
                "641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b",
                "69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd",
                "67d303bd3905fd38db8b20e0793699870e7fa612eaad5dec358293fd8c0bac1b",
                "4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1",
                "5464738c1546aed5f2cecf1dc98c5c960a92e8913238a61711bc90ec6e828521",
                "1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a",
                "5b77ef5fe7a7a004fd9032668fba9d0fda22f88c4442069a479636a6ae3b3185",
            ]
        );
    }

    #[test]
    fn amds_authorities_have_signed_each_other_product_by_product() {
        const NOW: u64 = 1_750_000_000;
        let roots = Roots::vendors();
        for root in &roots.amd {
            let ark = Certificate::from_der(&root.ark).unwrap();
            assert!(ark.is_authority() && ark.has_only_known_critical_extensions());
            assert_eq!(roots.amd_issuer(&ark, NOW), Some(root.product));
            for intermediate in &root.intermediates {
                let intermediate = Certificate::from_der(intermediate).unwrap();
                assert!(intermediate.is_authority());
                assert!(intermediate.has_only_known_critical_extensions());
                assert_eq!(roots.amd_issuer(&intermediate, NOW), Some(root.product));
                assert_eq!(roots.amd_issuer(&intermediate, u64::MAX), None);
            }
        }
    }
}
