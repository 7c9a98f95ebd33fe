//! Masters: what the administrator sends, and what nodes and masters read of it and of releases.

use chain::{
    Chain, ChainError, LaunchMeasurement, Master, NodeKey, ObjectId, PhasePcr, PublicKey, Release,
    ReleaseImage, ReleaseVersion, Timeouts,
};
use fullnode::Administration;

use fullnode::devnet::raw::{Raw, owned};
use fullnode::devnet::{Devnet, SUI, within};
use sui_transaction_builder::{Argument, ObjectInput, TransactionBuilder};

pub(crate) const URL: &str = "https://master.example.org:8443";

pub(crate) fn version(text: &str) -> ReleaseVersion {
    text.parse().unwrap()
}

pub(crate) fn release(text: &str, pcr11: u8) -> Release {
    Release {
        version: version(text),
        images: vec![image(pcr11, Vec::new())],
        manifest: [0x11; 32],
        places: vec!["https://r.example.org/".to_owned()],
        revoked: false,
        gone_by_ms: None,
    }
}

pub(crate) fn image(pcr11: u8, launch_measurements: Vec<LaunchMeasurement>) -> ReleaseImage {
    ReleaseImage {
        target: "disk".to_owned(),
        architecture: "x86_64".to_owned(),
        root_hash: [0x10; 32],
        pcr11: vec![
            PhasePcr {
                phases: String::new(),
                digest: [pcr11; 32],
            },
            PhasePcr {
                phases: "boot".to_owned(),
                digest: [pcr11 + 0x80; 32],
            },
        ],
        launch_measurements,
    }
}

pub(crate) struct Office {
    pub(crate) devnet: Devnet,
    pub(crate) chain: Chain,
    pub(crate) ids: Administration,
}

impl Office {
    pub(crate) async fn open() -> Self {
        let devnet = Devnet::with_coins(&[10 * SUI]).await;
        Self {
            chain: devnet.chain().await,
            ids: devnet.config.administration(),
            devnet,
        }
    }

    pub(crate) fn key(&self) -> &NodeKey {
        &self.devnet.slasher
    }

    pub(crate) async fn register(&self, key: u8) -> Result<ObjectId, ChainError> {
        within(self.chain.register_master_key(
            self.key(),
            self.ids.registrar_cap,
            PublicKey::from_ed25519_bytes([key; 32]),
            [key + 1; 32],
            [key + 2; 32],
        ))
        .await
    }

    pub(crate) async fn list(&self, enclave: ObjectId, url: &str) -> Result<(), ChainError> {
        let (cap, directory) = (self.ids.admin_cap, self.ids.directory);
        within(
            self.chain
                .list_master(self.key(), cap, directory, enclave, url),
        )
        .await
        .map(|_executed| ())
    }

    pub(crate) async fn masters(&self) -> Vec<Master> {
        within(self.chain.corroborated_masters(self.ids.directory))
            .await
            .unwrap()
    }

    /// Carries out a call of the enclave configuration, or says how it aborts.
    async fn configure(
        &self,
        name: &str,
        more: impl FnOnce(&Raw, &mut TransactionBuilder) -> Vec<Argument>,
    ) -> Result<(), String> {
        self.devnet.node.make_checkpoint();
        let mut raw = self.devnet.raw().await;
        let sender = self.key().address().into();
        let cap = raw.reference(self.ids.admin_cap.into()).await;
        let coins = raw.coins(sender).await;
        let tx = raw.build(sender, &coins, |raw, tx| {
            let config = self.ids.enclave_config.into();
            let config = tx.object(ObjectInput::shared(config, 1, true));
            let mut arguments = vec![config, raw.pool(tx, false), tx.object(owned(&cap))];
            arguments.extend(more(raw, tx));
            raw.call(tx, &format!("enclave::{name}"), arguments);
        });
        let executed = raw.execute(self.key(), &tx).await.unwrap();
        self.devnet.node.make_checkpoint();
        let status = executed.effects().status();
        let abort = || status.error().abort().clever_error().constant_name();
        status
            .success()
            .then_some(())
            .ok_or_else(|| abort().to_owned())
    }

    /// Retires all keys of the configurations before the second, to which a key is the successor.
    async fn raise_minimum(&self, successor: ObjectId) -> Result<(), String> {
        self.devnet.node.make_checkpoint();
        let mut raw = self.devnet.raw().await;
        let since = raw.shared_since(successor.into()).await;
        self.configure("set_minimum_config_version", |raw, tx| {
            let successor = ObjectInput::shared(successor.into(), since, false);
            vec![tx.pure(&2_u64), tx.object(successor), raw.clock(tx)]
        })
        .await
    }

    pub(crate) async fn approve(&self, release: &Release) -> Result<(), ChainError> {
        within(
            self.chain
                .approve_release(self.key(), self.ids.release_cap, release),
        )
        .await
        .map(|_executed| ())
    }

    /// Whether the release with this value in PCR 11 was revoked, and whether it is to be gone some
    /// day; `None`: there is none.
    pub(crate) async fn standing(&self, pcr11: u8) -> Option<(bool, bool)> {
        let releases = within(self.chain.corroborated_releases(self.ids.release_registry))
            .await
            .unwrap();
        let mut all = releases.releases.iter();
        let has = |image: &ReleaseImage| image.stub_pcr11() == Some([pcr11; 32]);
        let found = all.find(|release| release.images.iter().any(has))?;
        Some((found.revoked, !found.counts(u64::MAX)))
    }
}

/// The module and the code of an abort.
pub(crate) fn abort<T: std::fmt::Debug>(result: Result<T, ChainError>) -> (String, u64) {
    match result.unwrap_err() {
        ChainError::Aborted { module, code, .. } => (module, code),
        other => panic!("{other}"),
    }
}

pub(crate) fn code(module: &str, code: u64) -> (String, u64) {
    (module.to_owned(), code)
}

#[tokio::test]
async fn a_master_is_read_as_it_was_registered_and_listed() {
    let office = Office::open().await;
    assert_eq!(office.masters().await, []);
    let enclave = office.register(0x71).await.unwrap();
    assert_eq!(office.masters().await, [], "registered, and not listed");
    office.list(enclave, URL).await.unwrap();
    let master = Master {
        url: URL.to_owned(),
        enclave,
        public_key: PublicKey::from_ed25519_bytes([0x71; 32]),
        tls_key_sha256: [0x72; 32],
    };
    assert_eq!(office.masters().await, std::slice::from_ref(&master));

    let other = office.register(0x81).await.unwrap();
    office.list(other, "https://m2.example.org").await.unwrap();
    assert_eq!(office.masters().await.len(), 2);
    // a key alone is retired: it stays listed, and counts no more
    let cap = office.ids.admin_cap;
    within(office.chain.retire_master_key(office.key(), cap, other))
        .await
        .unwrap();
    assert_eq!(office.masters().await, [master]);
    let directory = office.ids.directory;
    let remove = |enclave| {
        office
            .chain
            .remove_master(office.key(), cap, directory, enclave)
    };
    within(remove(enclave)).await.unwrap();
    assert_eq!(office.masters().await, []);
    let again = within(remove(enclave)).await;
    assert_eq!(abort(again), code("k8s_gateway", 8));
}

#[tokio::test]
async fn what_the_contracts_refuse_of_masters_is_refused() {
    let office = Office::open().await;
    let enclave = office.register(0x71).await.unwrap();
    assert_eq!(abort(office.register(0x71).await), code("enclave", 12));
    for url in [
        "http://m.example.org",
        "https://",
        &format!("https://{}", "m".repeat(250)),
    ] {
        assert_eq!(
            abort(office.list(enclave, url).await),
            code("k8s_gateway", 5)
        );
    }
    office.list(enclave, URL).await.unwrap();
    assert_eq!(
        abort(office.list(enclave, URL).await),
        code("k8s_gateway", 7)
    );
    let cap = office.ids.admin_cap;
    let retire = || office.chain.retire_master_key(office.key(), cap, enclave);
    within(retire()).await.unwrap();
    assert_eq!(abort(within(retire()).await), code("enclave", 9));
    let retired = office.register(0x73).await.unwrap();
    within(office.chain.retire_master_key(office.key(), cap, retired))
        .await
        .unwrap();
    assert_eq!(abort(office.list(retired, URL).await), code("enclave", 9));
    assert_eq!(
        office.register(0x71).await.unwrap_err().to_string(),
        "enclave::register aborted with EAlreadyRegistered, This key was registered \
         before (code 12)",
        "a key that was retired does not come back"
    );
    // another's capability is no use
    let stranger = within(office.chain.list_master(
        &office.devnet.operator,
        cap,
        office.ids.directory,
        retired,
        URL,
    ))
    .await;
    assert!(
        matches!(stranger, Err(ChainError::Refused { .. })),
        "{stranger:?}"
    );
}

#[tokio::test]
async fn keys_of_a_version_below_the_minimum_do_not_count() {
    let mut office = Office::open().await;
    let old = office.register(0x71).await.unwrap();
    office.list(old, URL).await.unwrap();
    office
        .configure("update_pcrs", |raw, tx| {
            let mut arguments: Vec<_> = [1_u8, 2, 3].map(|byte| tx.pure(&vec![byte; 48])).into();
            arguments.push(raw.clock(tx));
            arguments
        })
        .await
        .unwrap();
    let refused = office.raise_minimum(old).await.unwrap_err();
    assert!(refused.contains("ENoSuccessor"), "{refused}");
    assert_eq!(office.masters().await[0].enclave, old);
    let new = office.register(0x81).await.unwrap();
    let early = office.raise_minimum(new).await.unwrap_err();
    assert!(early.contains("ENoSuccessor"), "{early}");
    office.devnet.node.advance_clock(24 * 60 * 60 * 1000);
    office.devnet.node.make_checkpoint();
    let mut settings = office.devnet.settings();
    settings.timeouts.staleness = std::time::Duration::from_secs(2 * 24 * 60 * 60);
    office.chain = within(Chain::connect(&settings)).await.unwrap();
    office.raise_minimum(new).await.unwrap();
    assert_eq!(office.masters().await, []);
    assert_eq!(abort(office.list(old, URL).await), code("enclave", 9));
    office.list(new, URL).await.unwrap();
    assert_eq!(office.masters().await[0].enclave, new);
}

#[tokio::test]
async fn directory_and_registry_must_be_of_the_package_and_the_pool() {
    let office = Office::open().await;
    let (chain, ids) = (&office.chain, &office.ids);
    let missing = ObjectId::from_bytes([9; 32]);
    for wrong in [missing, ids.release_registry, office.devnet.config.pool] {
        let error = within(chain.corroborated_masters(wrong)).await.unwrap_err();
        let told = if wrong == missing {
            "not on the chain"
        } else {
            "is no MasterDirectory"
        };
        assert!(error.to_string().contains(told), "{error}");
    }
    let error = within(chain.corroborated_releases(ids.directory))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("is no ReleaseRegistry"),
        "{error}"
    );
    // a pool of the same package, but not the one in the settings
    let mut settings = office.devnet.settings();
    settings.pool = missing;
    let other = Chain::connect(&settings).await.unwrap();
    let error = within(other.corroborated_masters(ids.directory))
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains(&format!("expected pool {missing}")),
        "{error}"
    );
    let error = within(other.corroborated_releases(ids.release_registry))
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains(&format!("expected pool {missing}")),
        "{error}"
    );
}

#[tokio::test]
async fn two_fullnodes_must_say_the_same_of_masters_and_releases() {
    let office = Office::open().await;
    let (liar, url) = office.devnet.twin().await;
    let enclave = office.register(0x71).await.unwrap();
    office.list(enclave, URL).await.unwrap();
    office.approve(&release("0.1.0", 1)).await.unwrap();
    let settings = office
        .devnet
        .settings_for(&[office.devnet.url(), url.clone()]);
    let chain = Chain::connect(&settings).await.unwrap();
    let (directory, registry) = (office.ids.directory, office.ids.release_registry);
    // the twin knows nothing of either
    let masters = within(chain.corroborated_masters(directory)).await;
    assert!(
        matches!(masters, Err(ChainError::Disagreement { .. })),
        "{masters:?}"
    );
    let releases = within(chain.corroborated_releases(registry)).await;
    assert!(
        matches!(releases, Err(ChainError::Disagreement { .. })),
        "{releases:?}"
    );
    // a second fullnode of the same chain settles it, whatever the third says
    let second = fullnode::serve(&office.devnet.node, &office.devnet.config)
        .await
        .unwrap();
    let second_url = format!("https://localhost:{}", second.address().port());
    let settings = office
        .devnet
        .settings_for(&[url.clone(), office.devnet.url(), second_url]);
    let three = Chain::connect(&settings).await.unwrap();
    let masters = within(three.corroborated_masters(directory)).await.unwrap();
    assert_eq!(masters.len(), 1);
    assert_eq!(
        within(three.corroborated_releases(registry))
            .await
            .unwrap()
            .releases,
        [release("0.1.0", 1)]
    );
    // one alone is not enough where two are configured
    drop(liar);
    let mut settings = office
        .devnet
        .settings_for(&[office.devnet.url(), "https://localhost:1".to_owned()]);
    settings.timeouts = Timeouts {
        connect: std::time::Duration::from_millis(500),
        ..Timeouts::default()
    };
    let half = Chain::connect(&settings).await.unwrap();
    let masters = within(half.corroborated_masters(directory)).await;
    assert!(
        matches!(masters, Err(ChainError::Unreachable { .. })),
        "{masters:?}"
    );
}
