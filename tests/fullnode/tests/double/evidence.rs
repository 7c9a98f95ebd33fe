//! Slashing by the verdict of a registered enclave, and the list of slashers' capabilities: the
//! double refuses what the contracts refuse, with the same codes.

use chain::abi::authority::SLASH_INTENT;
use chain::abi::enclave::DOMAIN;
use chain::abi::{IntentMessage, Verdict};
use chain::{Chain, ChainError, Mist, ObjectId, PublicKey, Stake};
use sui_crypto::Signer;
use sui_crypto::ed25519::Ed25519PrivateKey;
use sui_rpc::proto::sui::rpc::v2::ExecutedTransaction;
use sui_sdk_types::{Address, Ed25519Signature};
use sui_transaction_builder::{Argument, ObjectInput, TransactionBuilder};

use fullnode::devnet::raw::owned;
use fullnode::devnet::{Devnet, Raw, SUI, within};

const NOTICE_MS: u64 = chain::abi::authority::NOTICE_MS;

/// A court: a stake, and an enclave that may judge it.
struct Court {
    devnet: Devnet,
    chain: Chain,
    raw: Raw,
    stake: Stake,
    secret: Ed25519PrivateKey,
    enclave: ObjectId,
}

/// What is brought against the stake; what a test does not change is right.
#[derive(Clone)]
struct Charge {
    message: IntentMessage<Verdict>,
    signature: Option<Vec<u8>>,
}

impl Court {
    async fn sits() -> Self {
        let devnet = Devnet::with_coins(&[10 * SUI]).await;
        let (chain, _) = devnet.staked().await;
        let stake = within(chain.find_stake(devnet.operator.public(), fullnode::devnet::NODE))
            .await
            .unwrap()
            .unwrap();
        let secret = Ed25519PrivateKey::new([0x42; 32]);
        let enclave = within(chain.register_master_key(
            &devnet.slasher,
            devnet.config.administration().registrar_cap,
            PublicKey::from_ed25519_bytes(*secret.public_key().inner()),
            [1; 32],
            [2; 32],
        ))
        .await
        .unwrap();
        let mut court = Self {
            raw: devnet.raw().await,
            devnet,
            chain,
            stake,
            secret,
            enclave,
        };
        let early = Charge {
            message: IntentMessage {
                timestamp_ms: now_ms() - REGISTRATION_MS,
                ..court.charge(100, 1).message
            },
            signature: None,
        };
        assert_eq!(
            refusal(&court.bring(&early).await),
            because("authority", "ENotYetEffective"),
            "a key counts a day after its registration"
        );
        court.pass(REGISTRATION_MS).await;
        court
    }

    /// Sets the chain's clock forward.
    async fn pass(&mut self, milliseconds: u64) {
        self.devnet.node.advance_clock(milliseconds);
        self.devnet.node.make_checkpoint();
        let mut settings = self.devnet.settings();
        settings.timeouts.staleness = std::time::Duration::from_secs(365 * 24 * 60 * 60);
        self.chain = Chain::connect(&settings).await.unwrap();
    }

    /// Of an offence that takes this share.
    fn charge(&self, basis_points: u64, nonce: u64) -> Charge {
        let reason = match basis_points {
            10_000 => 7,
            2_500 => 125,
            100 => 101,
            other => panic!("no offence takes {other}"),
        };
        Charge {
            message: IntentMessage {
                domain: DOMAIN.to_vec(),
                intent: SLASH_INTENT,
                enclave: self.enclave.into(),
                config_version: 1,
                nonce,
                timestamp_ms: now_ms(),
                data: Verdict {
                    pool: self.devnet.config.pool.into(),
                    record: self.stake.record.into(),
                    reason,
                    evidence: vec![u8::try_from(nonce % 251).unwrap(); 32],
                    reporter: Address::ZERO,
                },
            },
            signature: None,
        }
    }

    /// Anybody may bring it; here the slasher's account does, without its capability.
    async fn bring(&mut self, charge: &Charge) -> ExecutedTransaction {
        let verdict = charge.message.data.clone();
        let signature = charge.signature.clone().unwrap_or_else(|| {
            let bytes = bcs::to_bytes(&charge.message).unwrap();
            let signature: Ed25519Signature = self.secret.sign(&bytes);
            signature.inner().to_vec()
        });
        let (nonce, timestamp_ms) = (charge.message.nonce, charge.message.timestamp_ms);
        let config = self.devnet.config.administration().enclave_config;
        self.devnet.node.make_checkpoint();
        let treasury: Address = self.devnet.config.administration().treasury.into();
        let since = [
            self.raw.shared_since(self.enclave.into()).await,
            self.raw.shared_since(self.stake.record.into()).await,
        ];
        let [enclave, record] = [self.enclave, self.stake.record].map(Address::from);
        self.send(|raw, tx| {
            let pool = raw.pool(tx, false);
            let treasury = tx.object(ObjectInput::shared(treasury, 1, true));
            let config = tx.object(ObjectInput::shared(config.into(), 1, false));
            let enclave = tx.object(ObjectInput::shared(enclave, since[0], false));
            let record = tx.object(ObjectInput::shared(record, since[1], true));
            let arguments = vec![
                pool,
                treasury,
                config,
                enclave,
                record,
                tx.pure(&verdict.reason),
                tx.pure(&verdict.evidence),
                tx.pure(&verdict.reporter),
                tx.pure(&nonce),
                tx.pure(&timestamp_ms),
                tx.pure(&signature),
                raw.clock(tx),
            ];
            raw.call(tx, "slashing::slash_with_evidence", arguments);
        })
        .await
    }

    async fn send(
        &mut self,
        commands: impl FnOnce(&Raw, &mut TransactionBuilder),
    ) -> ExecutedTransaction {
        let sender = self.devnet.slasher.address().into();
        self.devnet.node.make_checkpoint();
        let coins = self.raw.coins(sender).await;
        let tx = self.raw.build(sender, &coins, commands);
        let executed = self.raw.execute(&self.devnet.slasher, &tx).await.unwrap();
        self.devnet.node.make_checkpoint();
        executed
    }

    async fn stake_now(&self) -> Stake {
        within(self.chain.reread(&self.stake)).await.unwrap()
    }
}

/// How long after its registration a key counts.
const REGISTRATION_MS: u64 = 24 * 60 * 60 * 1000;

/// The chain's time once a court sits.
fn now_ms() -> u64 {
    chain::now_ms() + REGISTRATION_MS
}

/// The module and the constant of an abort; nothing where it succeeded.
fn refusal(executed: &ExecutedTransaction) -> Option<(String, String)> {
    let status = executed.effects().status();
    let abort = status.error().abort();
    (!status.success()).then(|| {
        (
            abort.location().module().to_owned(),
            abort.clever_error().constant_name().to_owned(),
        )
    })
}

fn because(module: &str, name: &str) -> Option<(String, String)> {
    Some((module.to_owned(), name.to_owned()))
}

#[tokio::test]
async fn a_verdict_slashes_and_its_reporter_gets_a_share() {
    let mut court = Court::sits().await;
    let reporter = ObjectId::from_bytes([0xfe; 32]);
    let mut charge = court.charge(2_500, 5);
    charge.message.data.reporter = reporter.into();
    let before = court.devnet.node.supply();
    let executed = court.bring(&charge).await;
    assert_eq!(refusal(&executed), None);
    let stake = court.stake_now().await;
    assert_eq!(stake.amount, Mist(SUI / 4 * 3));
    assert_eq!(stake.slashed, Mist(SUI / 4));
    // a tenth of what was taken, to whom the enclave named
    let share = court
        .devnet
        .balance(chain::Address::from_bytes([0xfe; 32]))
        .await;
    assert_eq!(share, Mist(SUI / 40));
    let treasury = within(court.chain.treasury()).await.unwrap();
    assert_eq!(treasury, Mist(SUI / 4 - SUI / 40));
    let spent = before - court.devnet.node.supply();
    assert!(spent < SUI / 10, "only gas: {spent}");

    // without a reporter all of it goes to the treasury, and all of the stake can be taken
    let whole = court.charge(10_000, 6);
    assert_eq!(refusal(&court.bring(&whole).await), None);
    assert_eq!(court.stake_now().await.verdict, chain::Verdict::Slashed);
    let treasury = within(court.chain.treasury()).await.unwrap();
    assert_eq!(treasury, Mist(SUI - SUI / 40));
    let again = court.charge(10_000, 7);
    assert_eq!(
        refusal(&court.bring(&again).await),
        because("staking", "ESettled")
    );
}

#[tokio::test]
async fn a_verdict_counts_once_of_late_and_as_it_was_signed() {
    let mut court = Court::sits().await;
    let first = court.charge(100, 5);
    assert_eq!(refusal(&court.bring(&first).await), None);
    // in any order
    let earlier = court.charge(100, 4);
    assert_eq!(refusal(&court.bring(&earlier).await), None);
    let replayed = court.bring(&first).await;
    assert_eq!(refusal(&replayed), because("evidence", "ENonceUsed"));
    let mut same_evidence = court.charge(100, 6);
    same_evidence.message.data.evidence = first.message.data.evidence.clone();
    assert_eq!(
        refusal(&court.bring(&same_evidence).await),
        because("evidence", "EEvidenceUsed")
    );
    let change = |change: fn(&mut Charge)| {
        let mut charge = court.charge(100, 9);
        change(&mut charge);
        charge
    };
    let signed_by_another = {
        let charge = court.charge(100, 9);
        let bytes = bcs::to_bytes(&charge.message).unwrap();
        let signature: Ed25519Signature = Ed25519PrivateKey::new([0x43; 32]).sign(&bytes);
        Charge {
            signature: Some(signature.inner().to_vec()),
            ..charge
        }
    };
    let invalid = because("statement", "EInvalidSignature");
    let cases = [
        (signed_by_another, invalid.clone()),
        (
            change(|charge| charge.signature = Some(vec![0; 64])),
            invalid.clone(),
        ),
        (
            change(|charge| charge.signature = Some(vec![1; 63])),
            invalid.clone(),
        ),
        (
            change(|charge| charge.message.domain.push(b'x')),
            invalid.clone(),
        ),
        (change(|charge| charge.message.intent += 1), invalid.clone()),
        (
            change(|charge| charge.message.config_version = 2),
            invalid.clone(),
        ),
        (
            change(|charge| charge.message.enclave = Address::new([3; 32])),
            invalid,
        ),
        (
            change(|charge| charge.message.timestamp_ms += 60_000),
            because("statement", "EFromFuture"),
        ),
        (
            change(|charge| charge.message.timestamp_ms -= 600_001),
            because("statement", "ETooOld"),
        ),
        (
            change(|charge| charge.message.timestamp_ms = u64::MAX),
            because("statement", "EFromFuture"),
        ),
        (
            change(|charge| charge.message.data.evidence.truncate(31)),
            because("slashing", "ENoEvidence"),
        ),
        (
            change(|charge| charge.message.data.evidence.clear()),
            because("slashing", "ENoEvidence"),
        ),
        (
            change(|charge| charge.message.data.reason = 9),
            because("offences", "EUnknownOffence"),
        ),
    ];
    for (charge, expected) in cases {
        assert_eq!(refusal(&court.bring(&charge).await), expected);
    }
    // a hundredth, and a hundredth of what it left
    assert_eq!(
        court.stake_now().await.slashed,
        Mist(SUI / 100 + SUI * 99 / 10_000)
    );
}

#[tokio::test]
async fn the_words_of_a_retired_enclave_do_not_count() {
    let mut court = Court::sits().await;
    let cap = court.devnet.config.administration().admin_cap;
    within(
        court
            .chain
            .retire_master_key(&court.devnet.slasher, cap, court.enclave),
    )
    .await
    .unwrap();
    let charge = court.charge(100, 5);
    assert_eq!(
        refusal(&court.bring(&charge).await),
        because("enclave", "ERetired")
    );
}

/// Makes a slasher's capability, and tells its id.
async fn new_cap(court: &mut Court) -> ObjectId {
    let admin = court.devnet.config.administration().admin_cap;
    let admin = court.raw.reference(admin.into()).await;
    let receiver: Address = court.devnet.slasher.address().into();
    let executed = court
        .send(|raw, tx| {
            let arguments = vec![raw.pool(tx, true), tx.object(owned(&admin)), raw.clock(tx)];
            let cap: Argument = raw.call(tx, "administration::new_slasher_cap", arguments);
            let receiver = tx.pure(&receiver);
            tx.transfer_objects(vec![cap], receiver);
        })
        .await;
    assert_eq!(refusal(&executed), None);
    let made = executed
        .effects()
        .changed_objects
        .iter()
        .find(|object| object.object_type().ends_with("::pool::SlasherCap"));
    made.unwrap().object_id().parse().unwrap()
}

async fn revoke(court: &mut Court, cap: ObjectId) -> Option<(String, String)> {
    let admin = court.devnet.config.administration().admin_cap;
    let admin = court.raw.reference(admin.into()).await;
    let executed = court
        .send(|raw, tx| {
            let arguments = vec![
                raw.pool(tx, true),
                tx.object(owned(&admin)),
                tx.pure(&Address::from(cap)),
            ];
            raw.call(tx, "administration::revoke_slasher_cap", arguments);
        })
        .await;
    refusal(&executed)
}

async fn slash(court: &Court, cap: ObjectId) -> Result<(), String> {
    let slashed = within(
        court
            .chain
            .slash(&court.devnet.slasher, cap, court.stake.record, 100, 1),
    )
    .await;
    match slashed {
        Ok(_executed) => Ok(()),
        Err(ChainError::Aborted { module, name, .. }) => {
            Err(format!("{module}::{}", name.split(',').next().unwrap()))
        }
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn a_slashers_capability_counts_after_its_notice_and_while_it_is_listed() {
    let mut court = Court::sits().await;
    let first = court.devnet.config.slasher_cap;
    assert_eq!(slash(&court, first).await, Ok(()));
    // something is staked: whoever does not trust the new one can leave first
    let second = new_cap(&mut court).await;
    let early = slash(&court, second).await;
    assert_eq!(early, Err("authority::ENotYetEffective".to_owned()));
    assert_eq!(revoke(&mut court, first).await, None);
    let revoked = slash(&court, first).await;
    assert_eq!(revoked, Err("authority::ERevoked".to_owned()));
    assert_eq!(
        revoke(&mut court, first).await,
        because("authority", "ERevoked")
    );
    court.pass(NOTICE_MS).await;
    assert_eq!(slash(&court, second).await, Ok(()));
}

#[tokio::test]
async fn capability_made_before_the_pool_is_open_counts_at_once() {
    let close = |config: &mut fullnode::Config| config.genesis.closed = true;
    let devnet = Devnet::with(&[10 * SUI], close).await;
    let raw = devnet.raw().await;
    let chain = devnet.chain().await;
    // a court without a stake yet
    let mut court = Court {
        raw,
        stake: Court::sits().await.stake,
        secret: Ed25519PrivateKey::new([0x42; 32]),
        enclave: ObjectId::from_bytes([1; 32]),
        chain,
        devnet,
    };
    let cap = new_cap(&mut court).await;
    let admin = court.devnet.config.administration().admin_cap;
    let admin = court.raw.reference(admin.into()).await;
    let opened = court
        .send(|raw, tx| {
            let arguments = vec![raw.pool(tx, true), tx.object(owned(&admin))];
            raw.call(tx, "administration::open_pool", arguments);
        })
        .await;
    assert_eq!(refusal(&opened), None);
    court.stake = court.devnet.staked().await.1;
    assert_eq!(slash(&court, cap).await, Ok(()));
}
