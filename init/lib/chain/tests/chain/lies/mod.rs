//! A fullnode whose replies are malformed in every way: the client gives a typed error or a value
//! that makes sense, does nothing that it should not, and takes no word for the end of a stake.

mod directed;
mod random;
mod streams;

use std::error::Error;

use chain::{
    Chain, ChainError, ChainSettings, LaunchMeasurement, Master, Mist, NodeKey, Prepared, Release,
    Releases, Stake, Tee, Verdict,
};
use fullnode::{Account, Reply, Running, serve};
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestRunner};
use proptest::{prop_assert, prop_assert_eq};
use std::time::Duration;

use fullnode::devnet::{Devnet, NODE, SUI, within};

/// The seed of every run, so that one that fails fails again; `PROPTEST_RNG_SEED` tries another.
const SEED: u64 = 20_260_701;

/// Longest an error may be in words, its sources not counted: a line of a log.
const LONGEST_ERROR: usize = 2000;

/// One ledger behind two fullnodes. One of them can be made to lie.
struct Stage {
    devnet: Devnet,
    lying: Running,
    /// The operator's.
    stake: Stake,
    /// Has coins and no stake.
    newcomer: NodeKey,
    /// What the directory and the registry really say.
    masters: Vec<Master>,
    releases: Releases,
}

impl Stage {
    async fn new(accounts: &[NodeKey]) -> Self {
        let newcomer = NodeKey::generate().unwrap();
        let devnet = Devnet::with(&[9 * SUI], |config| {
            let keys = accounts.iter().chain([&newcomer]);
            config.genesis.accounts.extend(keys.map(|key| Account {
                address: key.address(),
                coins_mist: vec![3 * SUI],
            }));
        })
        .await;
        let lying = serve(&devnet.node, &devnet.config).await.unwrap();
        let chain = devnet.chain().await;
        let stake = within(chain.stake(
            &devnet.operator,
            NODE,
            Mist(5 * SUI),
            devnet.operator.address(),
        ))
        .await
        .unwrap();
        let (masters, releases) = govern(&devnet, &chain).await;
        Self {
            devnet,
            lying,
            stake,
            newcomer,
            masters,
            releases,
        }
    }

    /// Has the replies of one method be something else.
    fn lie(&self, method: &'static str, reply: impl Fn(&[u8]) -> Reply + Send + Sync + 'static) {
        self.lying.tamper(move |called, message| {
            if called == method {
                reply(message)
            } else {
                Reply::Message(message.to_owned())
            }
        });
    }

    /// Settings with the liar first, and alone or not.
    fn settings(&self, alone: bool) -> ChainSettings {
        let mut urls = vec![format!("https://localhost:{}", self.lying.address().port())];
        if !alone {
            urls.push(self.devnet.url());
        }
        let mut settings = self.devnet.settings_for(&urls);
        settings.timeouts.call = Duration::from_secs(1);
        settings.timeouts.finality = Duration::from_millis(300);
        settings
    }

    /// Reads everything that can be read: alone from the liar, and from it and an honest one.
    async fn read_everything(&self) -> Result<(), TestCaseError> {
        let executed = self.devnet.node.executed_transactions();
        for alone in [true, false] {
            match Chain::connect(&self.settings(alone)).await {
                Ok(chain) => self.read_with(&chain, alone).await?,
                Err(error) => {
                    clear(&error)?;
                    prop_assert!(alone, "an honest fullnode answers: {error}");
                }
            }
        }
        prop_assert_eq!(self.devnet.node.executed_transactions(), executed);
        Ok(())
    }

    async fn read_with(&self, chain: &Chain, alone: bool) -> Result<(), TestCaseError> {
        let operator = &self.devnet.operator;
        typed(chain.pool().await)?;
        typed(chain.balance(operator.address()).await)?;
        let found = typed(chain.find_stake(operator.public(), NODE).await)?;
        if !alone {
            prop_assert!(found != Some(None), "one of two fullnodes shows the stake");
        }
        let again = typed(chain.reread(&self.stake).await)?;
        for seen in [found.flatten(), again].into_iter().flatten() {
            prop_assert_eq!(seen.record, self.stake.record);
            prop_assert_eq!(&seen.node_key, &self.stake.node_key);
            // what an honest one contradicts is never certain
            if let Some(sure) = typed(chain.confirm(&seen).await)? {
                prop_assert!(alone || !sure.verdict.is_gone(), "{sure:?}");
            }
        }
        let gone = Stake {
            verdict: Verdict::Slashed,
            ..self.stake.clone()
        };
        if let Some(sure) = typed(chain.confirm(&gone).await)? {
            prop_assert!(alone, "confirmed as {}", sure.verdict);
        }
        let administration = self.devnet.config.administration();
        let masters = typed(chain.corroborated_masters(administration.directory).await)?;
        if let Some(masters) = masters.filter(|_| !alone) {
            prop_assert_eq!(&masters, &self.masters);
        }
        let releases = chain.corroborated_releases(administration.release_registry);
        if let Some(releases) = typed(releases.await)?.filter(|_| !alone) {
            prop_assert_eq!(&releases, &self.releases);
        }
        if let Some(token) = self.stake.seal_token {
            typed(chain.stake_of_seal_token(token.id).await)?;
            let sure = typed(chain.corroborated_stake_of_token(token.id).await)?;
            if let Some(sure) = sure.filter(|_| !alone) {
                let told = sure.map(|stake| (stake.verdict, stake.staker, stake.node_id));
                let truth = &self.stake;
                let truth = (truth.verdict, truth.staker, truth.node_id.clone());
                prop_assert_eq!(told, Some(truth));
            }
        }
        // a transaction is built and signed, and not submitted
        let prepared = chain
            .prepare_stake(
                &self.newcomer,
                "edge-9999",
                Mist(SUI),
                self.newcomer.address(),
            )
            .await;
        if let Some(Prepared::Staked(stake)) = typed(prepared)? {
            return Err(TestCaseError::fail(format!("there is no {stake:?}")));
        }
        Ok(())
    }

    /// Stakes as a node does that keeps its transaction on disk, and meets the liar once.
    async fn stake_once(&self, key: &NodeKey, name: &str) -> Result<(), TestCaseError> {
        let honest = self.devnet.chain().await;
        let lying = Chain::connect(&self.settings(true)).await;
        let lying = lying.map_err(|error| TestCaseError::fail(error.to_string()))?;
        let mut chain = &lying;
        let stake = within(async {
            loop {
                let transaction = match honest
                    .prepare_stake(key, name, Mist(SUI), key.address())
                    .await
                {
                    Ok(Prepared::Staked(stake)) => break Ok(stake),
                    Ok(Prepared::Transaction(transaction)) => transaction,
                    // executed, and in no checkpoint yet
                    Err(error) => {
                        clear(&error)?;
                        continue;
                    }
                };
                let submitted = loop {
                    match chain.submit_stake(&transaction).await {
                        Err(error) if !error.never_executed() => {
                            clear(&error)?;
                            chain = &honest;
                        }
                        submitted => break submitted,
                    }
                };
                chain = &honest;
                if let Some(stake) = typed(submitted)? {
                    break Ok(stake);
                }
            }
        })
        .await
        .map_err(|error: TestCaseError| error)?;
        prop_assert_eq!(stake.record, honest.record_of(key.public()));
        // the coins were 3 SUI: one is staked, and a second stake would leave less than one
        let left = honest.balance(key.address()).await;
        let left = left.map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert!(left > Mist(SUI) && left < Mist(2 * SUI), "left: {left}");
        Ok(())
    }
}

/// Lists a master and approves a release, and reads both.
async fn govern(devnet: &Devnet, chain: &Chain) -> (Vec<Master>, Releases) {
    let (key, ids) = (&devnet.slasher, devnet.config.administration());
    within(async {
        let public = chain::PublicKey::from_ed25519_bytes([0x71; 32]);
        let enclave = chain
            .register_master_key(key, ids.registrar_cap, public, [0x72; 32], [0x73; 32])
            .await?;
        let url = "https://master.example.org";
        chain
            .list_master(key, ids.admin_cap, ids.directory, enclave, url)
            .await?;
        let release = Release {
            version: "0.1.0".parse().unwrap(),
            images: vec![chain::ReleaseImage {
                target: "disk".to_owned(),
                architecture: "x86_64".to_owned(),
                root_hash: [1; 32],
                pcr11: vec![chain::PhasePcr {
                    phases: String::new(),
                    digest: [2; 32],
                }],
                launch_measurements: vec![LaunchMeasurement {
                    tee: Tee::Tdx,
                    digest: [3; 48],
                }],
            }],
            manifest: [4; 32],
            places: Vec::new(),
            revoked: false,
            gone_by_ms: None,
        };
        chain
            .approve_release(key, ids.release_cap, &release)
            .await?;
        let masters = chain.corroborated_masters(ids.directory).await?;
        assert_eq!(masters.len(), 1);
        let releases = chain.corroborated_releases(ids.release_registry).await?;
        Ok::<_, ChainError>((masters, releases))
    })
    .await
    .unwrap()
}

/// The value, or nothing where there is a clear error.
fn typed<T>(answer: Result<T, ChainError>) -> Result<Option<T>, TestCaseError> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(error) => clear(&error).map(|()| None),
    }
}

/// An error fits a log, whatever the fullnode put into it.
fn clear(error: &ChainError) -> Result<(), TestCaseError> {
    let mut next: Option<&dyn Error> = Some(error);
    while let Some(part) = next {
        let text = part.to_string();
        prop_assert!(!text.is_empty() && text.len() < LONGEST_ERROR, "{text:?}");
        prop_assert!(!text.chars().any(char::is_control), "{text:?}");
        next = part.source();
    }
    Ok(())
}

/// A runner that tells its seed.
fn runner(what: &str, cases: u32) -> TestRunner {
    // `PROPTEST_CASES` and `PROPTEST_RNG_SEED` are read by the default
    let default = Config::default();
    let seed = match default.rng_seed {
        RngSeed::Fixed(seed) => seed,
        RngSeed::Random => SEED,
    };
    println!("{what}: {cases} cases, PROPTEST_RNG_SEED={seed}");
    TestRunner::new(Config {
        cases,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        max_shrink_iters: 32,
        ..default
    })
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}
