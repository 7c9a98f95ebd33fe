//! Firmware: recorded for each endorsement key, or pinned.

use attest_verify::{Firmware, ManufacturerRoots, Policy};
use master_api::RefusalCode;

use super::*;
use crate::cluster::firmware::Seen;
use crate::trust::{Attestation, FirmwareMode, Trust};

const KEY: [u8; 34] = [0x1c; 34];

fn firmware(version: u8) -> Firmware {
    Firmware {
        pcr0: [version; 32],
        pcr2: [2; 32],
    }
}

/// A master that does this with firmware that is new.
fn world(k3s: &K3s, mode: FirmwareMode) -> World {
    let cluster = Cluster::open(&k3s.settings()).unwrap();
    let attestation = Attestation {
        required: true,
        policy: Policy {
            roots: ManufacturerRoots::from_pem(k3s_authority(k3s).as_bytes()).unwrap(),
            admitted_keys: Vec::new(),
            secure_boot: None,
            firmware: None,
            reports: None,
        },
        releases: ObjectId::from_bytes([1; 32]),
        firmware: mode,
    };
    let trust = Trust {
        attestation: Some(attestation),
        ..Trust::default()
    };
    let tokens = JoinTokens::Cluster(Arc::new(cluster));
    World::all(TempDir::new().unwrap(), tokens, seconds, trust)
}

/// Any certificate of an authority: no evidence is verified here.
fn k3s_authority(k3s: &K3s) -> String {
    fs::read_to_string(k3s.tls("server-ca.crt")).unwrap()
}

impl World {
    async fn see(&self, version: u8, record: bool) -> Seen {
        let cluster = self.master.join.tokens.cluster().unwrap();
        let (firmware, node) = (firmware(version), node());
        let seen = cluster.see_firmware(&KEY, &firmware, &node, record);
        seen.await.unwrap()
    }
}

#[tokio::test]
async fn firmware_of_an_endorsement_key_is_recorded() {
    let k3s = K3s::start().await;
    let first = world(&k3s, FirmwareMode::Recorded);
    assert_eq!(first.see(1, true).await, Seen::First);
    assert_eq!(first.see(1, true).await, Seen::Known);
    // another master, after a restart
    let second = world(&k3s, FirmwareMode::Recorded);
    assert_eq!(second.see(1, true).await, Seen::Known);
    let before = firmware(1);
    assert_eq!(second.see(2, true).await, Seen::New { before });
    // back again is no news
    assert_eq!(second.see(1, true).await, Seen::Known);
    // another TPM
    let cluster = second.master.join.tokens.cluster().unwrap();
    let (same, node) = (firmware(1), node());
    let other = cluster.see_firmware(&[7; 34], &same, &node, true);
    assert_eq!(other.await.unwrap(), Seen::First);
    // a round leaves the records alone, and they are bounded
    assert_eq!(second.look().await, None);
    for version in 3..20 {
        second.see(version, true).await;
    }
    let path =
        "/api/v1/namespaces/kube-system/secrets?labelSelector=k3s-daas.local/endorsement-key";
    let (_, list) = k3s.ask("GET", path, None).await;
    assert_eq!(list["items"].as_array().unwrap().len(), 8 + 1);
}

#[tokio::test]
async fn new_firmware_is_refused_where_it_is_pinned() {
    let k3s = K3s::start().await;
    let check = async |world: &World, version| {
        let (firmware, node) = (firmware(version), node());
        let checked = world.master.check_firmware(&node, &KEY, &firmware);
        checked.await.map_err(|refused| refused.code)
    };
    let recorded = world(&k3s, FirmwareMode::Recorded);
    let pinned = world(&k3s, FirmwareMode::Pinned);
    assert_eq!(check(&pinned, 1).await, Ok(()));
    for _ in 0..2 {
        assert_eq!(check(&pinned, 2).await, Err(RefusalCode::Firmware));
    }
    assert_eq!(check(&pinned, 1).await, Ok(()));
    assert_eq!(check(&recorded, 2).await, Ok(()));
    // without the API nothing is known
    let k3s = K3s::start().await;
    let (recorded, pinned) = (
        world(&k3s, FirmwareMode::Recorded),
        world(&k3s, FirmwareMode::Pinned),
    );
    drop(k3s);
    assert_eq!(check(&pinned, 1).await, Err(RefusalCode::Unavailable));
    assert_eq!(check(&recorded, 1).await, Ok(()));
}
