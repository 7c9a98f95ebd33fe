//! What a node does, each scenario on machines and a devnet of its own.

mod attested;
mod boot_phase;
mod busy_tpm;
mod cloud;
mod configuration;
mod firmware;
mod hardware;
mod life;
mod measured;
mod network;
mod outages;
mod partial_slash;
mod privileges;
mod recovery;
mod reservations;
mod reset;
mod restart;
mod root;
mod sealed_configuration;
mod sealed_state;
mod services;
mod state_disk;
mod state_paths;
mod tpm_key;

use std::future::Future;
use std::pin::Pin;

use anyhow::Result;

use crate::lab::Context;

/// What a scenario's function gives.
pub type Outcome<'a> = Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;

/// One scenario.
pub struct Scenario {
    /// Its name, for results and filters.
    pub name: &'static str,
    /// What it shows, in one sentence.
    pub shows: &'static str,
    /// It reaches into the node by the control port that only the k3s double has.
    pub needs_double: bool,
    /// What it does.
    pub run: for<'a> fn(&'a Context) -> Outcome<'a>,
}

macro_rules! scenarios {
    ($(#[$doc:meta])+ $list:ident: $($module:ident::$name:ident, $double:literal, $shows:literal;)+) => {
        $(#[$doc])+
        pub const $list: &[Scenario] = &[$(Scenario {
            name: stringify!($name),
            shows: $shows,
            needs_double: $double,
            run: |context| Box::pin($module::$name(context)),
        },)+];
    };
}

scenarios! {
    /// Every scenario for any image, the longest first, so that none runs alone at the end.
    ALL:
    services::killed_services_come_back, true,
        "kill -9 of containerd, k3s, netd and staker: each comes back, the pod's container lives on";
    services::stopped_services_are_started_anew, true,
        "kill -STOP of staker, containerd and k3s: each is noticed, ended and started anew, the pod's container \
         lives on";
    outages::outages_degrade_and_heal, true,
        "no network, chain or master at boot, then an outage of both: told, endured, healed";
    reservations::pod_takes_neither_memory_nor_processes, true,
        "a fork bomb and a memory hog in a pod: the pod is held back, PID 1, staker, containerd and agent live on, and \
         the node stays joined";
    partial_slash::partial_slash_stops_the_pods_until_topped_up, true,
        "a stake below the minimum: agent and pods stop, the node stays, and a top-up brings them \
         back";
    busy_tpm::state_shut_out_restarts_the_machine_once, false,
        "a TPM that is locked for the whole boot phase: the machine restarts once, with the reason, then stays up and \
         says why, until the TPM is open again";
    life::whole_life, true,
        "from power-on to a running pod, stake, heartbeat, slash and power-off, and off again at \
         the next boot";
    state_paths::planted_files_reach_no_program, true,
        "files left on the state disk where programs of the host look are gone at the next boot; what was \
         opened since the kernel started is in the table of paths, and nothing of the state was executed";
    restart::restart_keeps_stake_and_identity, false,
        "after a power cut the node is the same one again and does not stake a second time";
    firmware::firmware_boot_and_power_button, false,
        "UEFI boots the disk image with a wrong clock; the power button switches the node off in \
         order";
    attested::attested_node_joins_until_its_release_is_revoked, false,
        "with Secure Boot, a TPM and a master that demands evidence: the node joins, and again after a \
         restart, until its release is revoked on the chain";
    attested::nothing_is_gained_between_node_and_master, false,
        "somebody between node and master with a valid certificate gets a nonce; one with the master's \
         own key, who says again what he heard, is refused";
    attested::unregistered_master_gets_no_evidence, false,
        "a master whose key the chain has retired: the node says so, and sends it nothing";
    sealed_configuration::another_image_unseals_nothing, false,
        "a changed command line, a changed initramfs, a release below the floor, a command line from \
         outside: configuration and state stay closed, and the console says why";
    sealed_configuration::another_machine_unseals_nothing, false,
        "another TPM, an edited file, somebody else's document, a cleared TPM: the same";
    sealed_configuration::sealed_node_lives_and_root_unseals_nothing, true,
        "a plain configuration is sealed and overwritten; root in the running machine can't unseal; \
         an update can, with nothing sealed anew";
    firmware::next_boot_tells_how_the_last_one_ended, true,
        "a crash of the kernel, the power button, a power cut: the next boot tells, and keeps a crash's last words";
    sealed_configuration::key_born_in_the_tpm_stakes, false,
        "a Sui key that the TPM makes: its address is shown, funded, and stakes, once";
    busy_tpm::tpm_busy_at_boot_delays_and_fails_nothing, false,
        "PCR 10 is extended behind each policy that is checked, and the TPM is busy now and then: the node boots, \
         without a task that fails";
    boot_phase::nothing_of_the_state_starts_in_the_boot_phase, true,
        "whoever was root plants a container that starts by itself and takes the sealed configuration away: \
         nothing of the state disk starts while the TPM unseals, however long the node waits";
    tpm_key::tpm_key_outlives_a_compromised_staker, true,
        "from the staker's user, and from root, no command destroys the TPM's key: clear, undefine, \
         increment, evict, extend; it signs and quotes on, and at the next boot";
    tpm_key::reset_of_a_tpm_key_asks_twice, false,
        "a reset that destroys the TPM's Sui key names its address and changes nothing until somebody types \
         it, on the console or to build.sh reset";
    recovery::recovery_key_opens_what_new_firmware_shuts_out, false,
        "an update of the firmware's lists shuts configuration and state out; the recovery key opens \
         both, once, and the node goes on";
    network::ipv6_alone_joins_and_flaps, true,
        "a network that has IPv6 alone: the node joins and its pod runs; a cable that flaps ends neither";
    measured::measured_boot_matches_the_manifest, false,
        "a TPM holds what the manifest says, for the image, for another command line and, otherwise, \
         for the menu's entry that resets";
    measured::secure_boot_starts_only_what_is_signed, false,
        "with Secure Boot and the owner's keys: the signed image boots and measures the same, an \
         unsigned one does not start";
    cloud::metadata_service_gives_the_configuration, false,
        "a machine in a cloud asks its metadata service for a configuration, and seals it; one that is in \
         none asks nobody";
    cloud::configuration_drive_is_taken_and_sealed, false,
        "a configuration on a drive of NoCloud's or OpenStack's, plain or sealed for this machine, is taken \
         and sealed; what can't be removed from there is told";
    reset::running_node_is_reset_from_another_terminal, false,
        "build.sh reset: a node that runs is switched off, wipes keys and state, and comes back as a new one";
    sealed_state::sealed_state_opens_for_its_own_machine_alone, false,
        "the state of a machine with a TPM is encrypted; another TPM, a cleared one, none, a damaged \
         header, a state in the plain: refused and left as it is";
    sealed_state::reset_wipes_keys_and_state, false,
        "the menu's reset entry wipes keys and state and powers off; the next boot begins anew, and \
         a copy of the disk from before does not open";
    configuration::broken_configuration_waits_for_a_good_one, false,
        "a broken configuration is told with file, line and field, and replaced without a reboot";
    state_disk::foreign_state_is_left_untouched, false,
        "a state partition of somebody else's, of another version, or too small is left as it is";
    root::corrupt_root_is_told, false,
        "flipped bytes in the root: a screen that says what and where, and a restart";
    root::wrong_root_hash_is_told, false,
        "a root hash that is not the root's: the same";
    root::missing_root_disk_is_told, false,
        "no disk: the same";
}

scenarios! {
    /// The scenarios for images of the target `edge` alone: machines with devices that others have no drivers for.
    METAL:
    hardware::metal_sata_and_e1000e_joins, true,
        "a SATA disk and Intel's e1000e: from the firmware to a running pod";
    hardware::metal_nvme_and_igb_joins, true,
        "an NVMe disk and Intel's igb: from the firmware to a running pod";
    hardware::metal_usb_stick_and_usb_network_joins, true,
        "a USB stick and a network adapter on USB: from the firmware to a running pod";
    hardware::metal_usb_attached_scsi_joins, true,
        "a USB disk that speaks UAS: from the kernel to a running pod, as OVMF has no driver for it";
    hardware::metal_sd_card_joins, true,
        "an SD card: from the kernel to a running pod, as OVMF has no driver for it";
}

/// The scenarios that are left out unless they are named, or all are asked for: they wait for bounds of minutes.
const LONG: [&str; 1] = ["state_shut_out_restarts_the_machine_once"];

impl Scenario {
    /// It is left out unless it is named, or all are asked for.
    pub fn is_long(&self) -> bool {
        LONG.contains(&self.name)
    }
}

/// The scenarios for images of a target.
pub fn of_target(target: &str) -> impl Iterator<Item = &'static Scenario> {
    let metal = if target == "edge" { METAL } else { &[] };
    ALL.iter().chain(metal)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique() {
        let names: BTreeSet<&str> = of_target("edge").map(|scenario| scenario.name).collect();
        assert_eq!(names.len(), ALL.len() + METAL.len());
        assert_eq!(of_target("cloud").count(), ALL.len());
        assert!(LONG.iter().all(|name| names.contains(name)));
    }
}
