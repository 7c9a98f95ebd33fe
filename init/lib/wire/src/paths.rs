//! Where programs of the node leave files for one another, and the devices that several of them use.

/// What programs of the node share until the next boot, on tmpfs.
pub const RUN: &str = "/run/daas";
/// Where `provision` leaves for each program what that one needs of the configuration.
pub const CONFIGURATION: &str = "/run/daas/config";
/// The node's name, one line, for PID 1.
pub const NODE_NAME: &str = "/run/daas/config/node-name";
/// A digest of the configuration without its secrets, one line of hexadecimal digits, for PID 1: another
/// digest is another configuration.
pub const CONFIGURATION_DIGEST: &str = "/run/daas/config/digest";
/// The name of a [`Protection`](crate::status::Protection), for PID 1: how the configuration is kept.
pub const SEAL: &str = "/run/daas/config/seal";
/// Where the configuration still stands in plaintext though it is sealed, and what to do, one line, for
/// PID 1; not there when it stands nowhere.
pub const PLAIN_COPY: &str = "/run/daas/config/plain-copy";
/// Network and time servers, JSON, for netd; everybody on the node may read it.
pub const NETD_SETTINGS: &str = "/run/daas/config/netd.json";
/// What the staker needs, with the Sui key, JSON, for the staker alone.
pub const STAKER_SETTINGS: &str = "/run/daas/config/staker.json";
/// The TPM's key and what lets it sign, for the staker alone: beside [`STAKER_SETTINGS`], or any other
/// document that the staker is given.
pub const SUI_KEY: &str = "/run/daas/config/sui-key";
/// The whole document where it is sealed, for a later run of `provision` alone: the TPM opens the sealed
/// one in the boot phase only.
pub const DOCUMENT: &str = "/run/daas/config/document";
/// The name of a [`Protection`](crate::status::Protection), from `provision` for PID 1: how the state disk
/// is encrypted.
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
/// What `tpm-broker` leaves until the next boot.
pub const TPM_BROKER_RUN: &str = "/run/tpm-broker";
/// The socket at which `tpm-broker` takes the staker's commands for the TPM.
pub const TPM_BROKER: &str = "/run/tpm-broker/socket";
/// What `metadata` leaves until the next boot.
pub const METADATA_RUN: &str = "/run/daas/metadata";
/// The user data of a cloud, from `metadata` for `provision`.
pub const USER_DATA: &str = "/run/daas/metadata/user-data";
/// What the agent joins with, from PID 1 for the agent alone.
pub const AGENT: &str = "/run/daas/agent";
/// The join token in [`AGENT`].
pub const AGENT_TOKEN: &str = "/run/daas/agent/token";
/// The kubelet's configuration in [`AGENT`].
pub const KUBELET_CONFIGURATION: &str = "/run/daas/agent/kubelet.json";
/// What the TPM shows to others, from `provision` for the staker.
pub const EVIDENCE: &str = "/run/daas/evidence";
/// The firmware's and the stub's log of what they measured.
pub const EVENT_LOG: &str = "/run/daas/evidence/event-log";
/// The storage root key's public part, for the staker's page.
pub const STORAGE_ROOT_KEY: &str = "/run/daas/evidence/srk.pub";
/// The endorsement key's public part, for the staker's page.
pub const ENDORSEMENT_KEY: &str = "/run/daas/evidence/ek.pub";
/// What programs of the node keep on the state disk.
pub const STATE: &str = "/var/lib/daas";
/// Why the last boot ended, if it ended in order: the reason's name, which PID 1 leaves.
pub const LAST_END: &str = "/var/lib/daas/last-end";
/// The kernel's last words before its crashes, a folder each.
pub const CRASHES: &str = "/var/log/daas/crashes";
/// What the staker keeps on the state disk.
pub const STAKER_STATE: &str = "/var/lib/daas/staker";
/// The same on tmpfs, until the next boot.
pub const STAKER_RUN: &str = "/run/staker";
/// What netd keeps on the state disk.
pub const NETD_STATE: &str = "/var/lib/daas/netd";
/// The name of [`LAST_TIME`] in its directory.
pub const LAST_TIME_NAME: &str = "last-time";
/// The last time that netd was given.
pub const LAST_TIME: &str = "/var/lib/daas/netd/last-time";
/// What netd leaves on tmpfs for everybody on the node.
pub const NETD_RUN: &str = "/run/netd";
/// The name of [`RESOLVER`] in its directory.
pub const RESOLVER_NAME: &str = "resolv.conf";
/// resolv.conf(5), to which the image's link in /etc leads.
pub const RESOLVER: &str = "/run/netd/resolv.conf";
/// The socket of containerd, which `k3s agent` uses.
pub const CONTAINERD_SOCKET: &str = "/run/containerd/containerd.sock";
/// The socket at which containerd says whether it works, for `probe`: nothing else can be asked there.
pub const CONTAINERD_HEALTH: &str = "/run/containerd/health.sock";
/// Where `k3s agent` keeps its state, and with it its credentials.
pub const K3S_DATA: &str = "/var/lib/rancher/k3s";

/// The name of a file, without its folder.
#[must_use]
pub fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_one_folder_lie_in_it() {
        for (folder, paths) in [
            (
                RUN,
                &[
                    CONFIGURATION,
                    EVIDENCE,
                    METADATA_RUN,
                    AGENT,
                    STATE_ENCRYPTION,
                ][..],
            ),
            (
                CONFIGURATION,
                &[
                    NODE_NAME,
                    CONFIGURATION_DIGEST,
                    SEAL,
                    PLAIN_COPY,
                    NETD_SETTINGS,
                    STAKER_SETTINGS,
                    SUI_KEY,
                    DOCUMENT,
                ],
            ),
            (EVIDENCE, &[EVENT_LOG, STORAGE_ROOT_KEY, ENDORSEMENT_KEY]),
            (METADATA_RUN, &[USER_DATA]),
            (AGENT, &[AGENT_TOKEN, KUBELET_CONFIGURATION]),
            (STATE, &[STAKER_STATE, NETD_STATE]),
            (NETD_STATE, &[LAST_TIME]),
            (NETD_RUN, &[RESOLVER]),
            (TPM_BROKER_RUN, &[TPM_BROKER]),
        ] {
            for path in paths {
                assert_eq!(*path, format!("{folder}/{}", name(path)));
            }
        }
    }
}
