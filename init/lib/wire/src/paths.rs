//! Where programs of the node leave files for one another, and the devices that several of them use.

/// The configuration without its secrets, from `init` for everybody on the node.
pub const PUBLIC_CONFIGURATION: &str = "/run/daas/config/public.toml";
/// The whole of it, from `init` for the staker alone.
pub const SECRET_CONFIGURATION: &str = "/run/daas/config/staker.toml";
/// The TPM's key and what lets it sign, from `init` for the staker alone: beside
/// [`SECRET_CONFIGURATION`], or any other document that the staker is given.
pub const SUI_KEY: &str = "/run/daas/config/sui-key";
/// The name of a [`Protection`](crate::status::Protection): how the configuration is kept.
pub const SEAL: &str = "/run/daas/config/seal";
/// Where the configuration still stands in plaintext though it is sealed, and what to do about it; not
/// there when it stands nowhere.
pub const PLAIN_COPY: &str = "/run/daas/config/plain-copy";
/// The name of a [`Protection`](crate::status::Protection): how the state is encrypted.
pub const STATE_ENCRYPTION: &str = "/run/daas/state-encryption";
/// What `/etc/machine-id`, `/etc/hostname` and `/etc/hosts` are links into.
pub const ETC: &str = "/run/daas/etc";
/// What the publisher signed about the image that runs, from the initramfs.
pub const RELEASE_POLICIES: &str = "/run/daas/release/policies.json";
/// The publisher's key, which is measured; from the initramfs.
pub const RELEASE_KEY: &str = "/run/daas/release/key.pem";
/// The kernel's resource-managed TPM: sessions and objects that its opener leaves behind go when it is
/// closed, and no other process sees them.
pub const TPM: &str = "/dev/tpmrm0";
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
