//! Nodes: known by the images that they were admitted with, and removed with their releases; and never
//! one for another.

use super::*;
use chain::Stake;
use seal::release::Phase;

/// Register 11 of two images, as the boot stub leaves it.
const OLD: [u8; 32] = [0x0a; 32];
const NEW: [u8; 32] = [0x0b; 32];

fn image(stub: [u8; 32]) -> Image {
    Image::from_register(Phase::Run.predict(&stub))
}

fn release(version: &str, pcr11: [u8; 32], standing: Standing) -> Release {
    Release {
        version: version.to_owned(),
        pcr11,
        launch_measurements: Vec::new(),
        standing,
    }
}

impl World {
    /// What the master has read of the registry.
    fn releases(&self, old: Standing) {
        let new = release("1.1.0", NEW, Standing::Approved);
        self.master
            .releases
            .keep(vec![release("1.0.0", OLD, old), new]);
    }

    /// A token for the node that runs this image, as a registration with evidence gives it.
    async fn token_for(&self, stake: &Stake, stub: [u8; 32]) -> String {
        let cluster = self.master.join.tokens.cluster().unwrap();
        let made = cluster
            .issue(&node(), stake, Some(image(stub)), seconds())
            .await;
        made.unwrap().token.expose().to_owned()
    }
}

#[tokio::test]
async fn a_node_whose_release_counts_no_more_is_cordoned_then_deleted() {
    let minimum = "1.1.0".to_owned();
    for standing in [
        Standing::Revoked { gone_by_ms: 0 },
        Standing::BelowMinimum {
            minimum,
            gone_by_ms: 0,
        },
    ] {
        let k3s = K3s::start().await;
        let world = k3s.world(seconds);
        world.releases(Standing::Approved);
        let folder = TempDir::new().unwrap();
        let token = world.token_for(&a_stake(), OLD).await;
        let kubelet = k3s.come(folder.path(), &token).await;
        assert_eq!(world.look().await, None);
        let backing = Backing {
            image: Some(image(OLD)),
            ..BACKING
        };
        assert_eq!(Backing::of(&k3s.metadata().await), Some(backing));

        // another master, which knows no session, and has not read the registry yet
        let other = k3s.world(seconds);
        assert_eq!(other.look().await, None);
        assert!(k3s.node().await.is_some());
        other.releases(standing);
        assert_eq!(other.look().await, None);
        assert!(k3s.node().await.is_none());
        // its kubelet's certificate does not bring it back
        let host = Host::at(folder.path());
        kubelet.register(&host, &facts()).await.unwrap();
        assert_eq!(other.look().await, None);
        assert!(k3s.node().await.is_none());

        // with another image the node is admitted, and stays
        let token = other.token_for(&a_stake(), NEW).await;
        assert!(k3s.secrets("removed").await.is_empty());
        k3s.come(folder.path(), &token).await;
        assert_eq!(other.look().await, None);
        assert_eq!(other.look().await, None);
        assert!(k3s.node().await.is_some());
    }
}

#[tokio::test]
async fn a_node_that_was_updated_in_time_stays() {
    let k3s = K3s::start().await;
    let world = k3s.world(seconds);
    world.releases(Standing::Approved);
    let folder = TempDir::new().unwrap();
    k3s.come(folder.path(), &world.token_for(&a_stake(), OLD).await)
        .await;
    assert_eq!(world.look().await, None);
    // it boots from the new image and registers; its Node is the one that was there
    world.token_for(&a_stake(), NEW).await;
    world.releases(Standing::Revoked { gone_by_ms: 0 });
    assert_eq!(world.look().await, None);
    let backing = Backing::of(&k3s.metadata().await).unwrap();
    assert_eq!(backing.image, Some(image(NEW)));
    // a token that was not used yet goes with the release
    world.token_for(&a_stake(), OLD).await;
    assert_eq!(world.look().await, None);
    assert!(k3s.secrets("token").await.is_empty());
    assert!(k3s.node().await.is_none());
}

/// The name's former stake was removed, and the note on that was written anew while the next stake
/// registered: it must not take that one's Node.
#[tokio::test]
async fn the_note_on_a_former_stake_does_not_remove_the_next_ones_node() {
    let k3s = K3s::start().await;
    let world = k3s.world(seconds);
    let cluster = world.master.join.tokens.cluster().unwrap();
    let former = Backing {
        stake: ObjectId::from_bytes([1; 32]),
        image: None,
    };
    let note = Note {
        kind: REMOVED,
        node: "edge-0001-0707070707".parse().unwrap(),
        backing: former,
        expires: later(seconds(), REMEMBERED).unwrap(),
        known: None,
    };
    let token = world.token().await;
    let secret = note.metadata("k3s-daas-removed-edge-0001-0707070707".to_owned());
    let secret = cluster
        .api
        .create_secret("Opaque", &secret, &json!({}))
        .await
        .unwrap();
    let folder = TempDir::new().unwrap();
    k3s.come(folder.path(), &token).await;
    // it has come, and no label says by whose token
    let seen = k3s.metadata().await;
    assert_eq!(Backing::of(&seen), None);
    assert_eq!(cluster.returned(&secret, &note).await.unwrap(), None);

    // another master labels it, and takes the token away, after it was seen
    assert_eq!(k3s.world(seconds).look().await, None);
    assert!(k3s.secrets("token").await.is_empty());
    let failure = cluster.remove(&seen, former, "a test", seconds()).await;
    let failure = failure.unwrap_err();
    assert!(failure.is(StatusCode::CONFLICT), "{failure}");
    let node = k3s.node().await.unwrap();
    assert_eq!(node.pointer("/spec/unschedulable"), None);
    assert_eq!(Backing::of(&k3s.metadata().await), Some(BACKING));
    assert_eq!(cluster.returned(&secret, &note).await.unwrap(), None);
}
