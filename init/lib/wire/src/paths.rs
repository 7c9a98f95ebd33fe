//! Where programs of the node leave files for one another. Where the TPM is, and what the publisher
//! signed, `seal` says.

/// The configuration without its secrets, from `init` for everybody on the node.
pub const PUBLIC_CONFIGURATION: &str = "/run/daas/config/public.toml";
/// The whole of it, from `init` for the staker alone.
pub const SECRET_CONFIGURATION: &str = "/run/daas/config/staker.toml";
/// The TPM's key and what lets it sign, from `init` for the staker alone: beside
/// [`SECRET_CONFIGURATION`], or any other document that the staker is given.
pub const SUI_KEY: &str = "/run/daas/config/sui-key";
/// What the TPM shows to others, from `init` for the staker.
pub const EVIDENCE: &str = "/run/daas/evidence";
/// The firmware's and the stub's log of what they measured.
pub const EVENT_LOG: &str = "/run/daas/evidence/event-log";
/// The storage root key's public part, for the staker's page.
pub const STORAGE_ROOT_KEY: &str = "/run/daas/evidence/srk.pub";
/// The endorsement key's public part, for the staker's page.
pub const ENDORSEMENT_KEY: &str = "/run/daas/evidence/ek.pub";
/// What the staker keeps on the state disk.
pub const STAKER_STATE: &str = "/var/lib/daas/staker";
/// The same on tmpfs, until the next boot.
pub const STAKER_RUN: &str = "/run/staker";
/// What netd keeps on the state disk.
pub const NETD_STATE: &str = "/var/lib/daas/netd";

/// The name of a file, without its folder.
#[must_use]
pub fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_together_lies_together() {
        for path in [EVENT_LOG, STORAGE_ROOT_KEY, ENDORSEMENT_KEY] {
            assert_eq!(path, format!("{EVIDENCE}/{}", name(path)));
        }
        let folder = SECRET_CONFIGURATION.trim_end_matches(name(SECRET_CONFIGURATION));
        assert_eq!(SUI_KEY, format!("{folder}{}", name(SUI_KEY)));
    }
}
