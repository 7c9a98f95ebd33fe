//! Releases of the node's image, as the pool's registry holds them.

use std::fmt;
use std::str::FromStr;

use chain_types::ParseError;

use crate::abi;

/// A release's version, `major.minor.patch`, in the order of its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReleaseVersion {
    /// The first number.
    pub major: u32,
    /// The second.
    pub minor: u32,
    /// The third.
    pub patch: u32,
}

/// A release: its images, approved together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Its version.
    pub version: ReleaseVersion,
    /// Its images.
    pub images: Vec<ReleaseImage>,
    /// SHA-256 of its manifest.
    pub manifest: [u8; 32],
    /// Where it can be fetched, `https://…`.
    pub places: Vec<String>,
    /// Whether it was revoked, which is for good.
    pub revoked: bool,
    /// From when on nodes that run it do not count, in milliseconds since the Unix epoch: it is
    /// revoked or below the minimum.
    pub gone_by_ms: Option<u64>,
}

/// An image of a release: what a machine that runs it measures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseImage {
    /// For what it is made: `disk`, `netboot`.
    pub target: String,
    /// As the kernel names it: `x86_64`, `aarch64`.
    pub architecture: String,
    /// The root hash of the root's dm-verity tree (SHA-256).
    pub root_hash: [u8; 32],
    /// PCR 11 of the SHA-256 bank. The first is what the boot stub leaves.
    pub pcr11: Vec<PhasePcr>,
    /// What TEEs measure of it at launch.
    pub launch_measurements: Vec<LaunchMeasurement>,
}

/// PCR 11 once some boot phases are measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhasePcr {
    /// The phases after the boot stub, as systemd-measure takes them: empty, `boot`, `boot:run`.
    pub phases: String,
    /// SHA-256.
    pub digest: [u8; 32],
}

impl Release {
    /// Whether nodes that run it count at a time, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn counts(&self, now_ms: u64) -> bool {
        self.gone_by_ms.is_none_or(|deadline| now_ms < deadline)
    }
}

impl ReleaseImage {
    /// PCR 11 as the boot stub leaves it.
    #[must_use]
    pub fn stub_pcr11(&self) -> Option<[u8; 32]> {
        let stub = |value: &&PhasePcr| value.phases.is_empty();
        self.pcr11.iter().find(stub).map(|value| value.digest)
    }
}

/// What a TEE measures of a release at launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaunchMeasurement {
    /// Which TEE.
    pub tee: Tee,
    /// The measurement (SHA-384).
    pub digest: [u8; 48],
}

/// A trusted execution environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Tee {
    /// AMD SEV-SNP (MEASUREMENT).
    SevSnp,
    /// Intel TDX (MRTD).
    Tdx,
    /// AWS Nitro (PCR 0).
    Nitro,
}

/// A pool's registry of releases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Releases {
    /// The least version that is approved any more.
    pub minimum: ReleaseVersion,
    /// All that are kept, revoked ones too, in the order of their approval.
    pub releases: Vec<Release>,
}

impl Tee {
    /// As the package numbers them.
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::SevSnp => 0,
            Self::Tdx => 1,
            Self::Nitro => 2,
        }
    }

    pub(crate) const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::SevSnp),
            1 => Some(Self::Tdx),
            2 => Some(Self::Nitro),
            _ => None,
        }
    }
}

impl fmt::Display for ReleaseVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl FromStr for ReleaseVersion {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        const WRONG: ParseError = ParseError {
            expected: "a release's version, such as 1.2.3",
        };
        // `u32::from_str` takes a sign and leading zeroes; a version has one form
        let number = |part: Option<&str>| {
            part.filter(|part| *part == "0" || !part.starts_with(['0', '+']))
                .and_then(|part| part.parse().ok())
                .ok_or(WRONG)
        };
        let mut parts = text.split('.');
        let version = Self {
            major: number(parts.next())?,
            minor: number(parts.next())?,
            patch: number(parts.next())?,
        };
        match parts.next() {
            None => Ok(version),
            Some(_) => Err(WRONG),
        }
    }
}

impl From<abi::ReleaseVersion> for ReleaseVersion {
    fn from(version: abi::ReleaseVersion) -> Self {
        Self {
            major: version.major,
            minor: version.minor,
            patch: version.patch,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> ReleaseVersion {
        text.parse().unwrap()
    }

    #[test]
    fn versions_have_one_form_and_an_order() {
        for text in ["0.0.0", "1.2.3", "4294967295.0.10"] {
            assert_eq!(version(text).to_string(), text);
        }
        for text in [
            "",
            "1",
            "1.2",
            "1.2.3.4",
            "1.2.03",
            "+1.2.3",
            "1.2.x",
            "4294967296.0.0",
            "1..3",
            " 1.2.3",
        ] {
            assert!(text.parse::<ReleaseVersion>().is_err(), "{text:?}");
        }
        assert!(version("0.9.9") < version("0.10.0"));
        assert!(version("1.0.0") > version("0.99.99"));
    }
}
