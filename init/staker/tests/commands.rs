//! The commands for a person, against the fullnode double.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use chain::{ChainId, Mist, NodeKey, ObjectId};
use common::Authority;
use config::NodeConfig;
use fullnode::{Account, Config, Genesis, Node, Running};
use serde_json::Value;
use staker::command::{Action, execute};

const SUI: u64 = Mist::PER_SUI;

struct Devnet {
    node: Node,
    _running: Running,
    document: String,
    address: String,
}

impl Devnet {
    async fn new() -> Self {
        let key = NodeKey::generate().unwrap();
        let authority = Authority::new();
        let leaf = authority.issue("localhost");
        let config = Config {
            listen: "127.0.0.1:0".parse().unwrap(),
            certificate: leaf.certificate,
            key: leaf.key,
            chain_id: ChainId::from_bytes([7; 32]),
            package: ObjectId::from_bytes([0xa1; 32]),
            pool: ObjectId::from_bytes([0xb2; 32]),
            slasher_cap: ObjectId::from_bytes([0xc3; 32]),
            finality_ms: 20,
            epoch_ms: 24 * 60 * 60 * 1000,
            gas_price: 1000,
            genesis: Genesis {
                minimum_stake_mist: SUI,
                unbonding_ms: 60 * 60 * 1000,
                seal_token_ms: 30 * 24 * 60 * 60 * 1000,
                slasher: key.address(),
                accounts: vec![Account {
                    address: key.address(),
                    coins_mist: vec![3 * SUI],
                }],
            },
        };
        let node = Node::new(&config);
        let running = fullnode::serve(&node, &config).await.unwrap();
        let document = format!(
            r#"version = 1
[node]
id = "edge-0001"
[chain]
chain_id = "{}"
fullnodes = ["https://localhost:{}"]
root_certificate = """
{root}"""
package = "{}"
pool = "{}"
stake_mist = {SUI}
[identity]
sui_key = "{}"
[master]
url = "https://localhost:8443"
root_certificate = """
{root}"""
"#,
            config.chain_id,
            running.address().port(),
            config.package,
            config.pool,
            key.to_suiprivkey().unwrap().as_str(),
            root = authority.pem(),
        );
        Self {
            node,
            _running: running,
            document,
            address: key.address().to_string(),
        }
    }

    async fn run(&self, action: Action) -> anyhow::Result<Value> {
        self.run_with(&self.document, action).await
    }

    async fn run_with(&self, document: &str, action: Action) -> anyhow::Result<Value> {
        let config = NodeConfig::parse("node.toml", document)?;
        let report = execute(&config, action).await?;
        assert!(!report.to_table().contains("suiprivkey"));
        let json: Value = serde_json::from_str(&report.to_json())?;
        assert_eq!(json["address"], self.address.as_str());
        assert!(report.to_table().starts_with("address "));
        Ok(json)
    }
}

#[tokio::test]
async fn a_stake_from_its_making_to_its_withdrawal() {
    let devnet = Devnet::new().await;
    let address = devnet.run(Action::Address).await.unwrap();
    let balance = devnet.run(Action::Balance).await.unwrap();
    assert_eq!(balance["balance_mist"], 3 * SUI);
    let status = devnet.run(Action::Status).await.unwrap();
    assert_eq!(status["verdict"], "not-found");
    let error = devnet.run(Action::Unstake).await.unwrap_err();
    assert!(error.to_string().contains("staker stake"), "{error}");

    for _ in 0..2 {
        let stake = devnet.run(Action::Stake).await.unwrap();
        assert_eq!(stake["verdict"], "active");
        assert_eq!(stake["amount_mist"], SUI);
        assert_eq!(stake["record"], address["record"]);
    }
    assert_eq!(devnet.node.executed_transactions(), 1);
    let error = devnet.run(Action::TopUp).await.unwrap_err();
    assert!(error.to_string().contains("nothing to top up"), "{error}");

    let unbonding = devnet.run(Action::Unstake).await.unwrap();
    assert_eq!(unbonding["verdict"], "unbonding");
    assert!(unbonding["unbonding_until_ms"].is_u64(), "{unbonding}");
    let error = devnet.run(Action::Withdraw).await.unwrap_err();
    assert!(error.to_string().contains("EStillLocked"), "{error}");
    devnet.node.advance_clock(60 * 60 * 1000);
    let withdrawn = devnet.run(Action::Withdraw).await.unwrap();
    assert_eq!(withdrawn["verdict"], "withdrawn");

    let error = devnet.run(Action::Stake).await.unwrap_err();
    assert!(
        error.to_string().contains("chain.restake = true"),
        "{error}"
    );
    let amount = format!("stake_mist = {SUI}");
    let again = devnet
        .document
        .replace(&amount, &format!("{amount}\nrestake = true"));
    let stake = devnet.run_with(&again, Action::Stake).await.unwrap();
    assert_eq!(stake["verdict"], "active");
    assert_eq!(stake["record"], address["record"]);
}
