//! The commands for a person, against the fullnode double.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::path::Path;

use chain::Mist;
use common::devnet::Devnet;
use config::NodeConfig;
use serde_json::Value;
use staker::command::{Action, execute};

const SUI: u64 = Mist::PER_SUI;

/// Somebody with a node's configuration at hand.
struct Person {
    devnet: Devnet,
    document: String,
    address: String,
}

impl Person {
    async fn new() -> Self {
        let devnet = Devnet::new().await;
        let (config, key) = (&devnet.config, devnet.operator());
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
            devnet.running.address().port(),
            config.package,
            config.pool,
            key.to_suiprivkey().unwrap().as_str(),
            root = devnet.authority.pem(),
        );
        let address = key.address().to_string();
        Self {
            devnet,
            document,
            address,
        }
    }

    async fn run(&self, action: Action) -> anyhow::Result<Value> {
        self.run_with(&self.document, action).await
    }

    async fn run_with(&self, document: &str, action: Action) -> anyhow::Result<Value> {
        let config = NodeConfig::parse("node.toml", document)?;
        let report = execute(&config.staker(), Path::new(""), action).await?;
        assert!(!report.to_table().contains("suiprivkey"));
        let json: Value = serde_json::from_str(&report.to_json())?;
        assert_eq!(json["address"], self.address.as_str());
        assert!(report.to_table().starts_with("address "));
        Ok(json)
    }
}

#[tokio::test]
async fn a_stake_from_its_making_to_its_withdrawal() {
    let person = Person::new().await;
    let address = person.run(Action::Address).await.unwrap();
    let balance = person.run(Action::Balance).await.unwrap();
    assert_eq!(balance["balance_mist"], 3 * SUI);
    let status = person.run(Action::Status).await.unwrap();
    assert_eq!(status["verdict"], "not-found");
    let error = person.run(Action::Unstake).await.unwrap_err();
    assert!(error.to_string().contains("staker stake"), "{error}");

    for _ in 0..2 {
        let stake = person.run(Action::Stake).await.unwrap();
        assert_eq!(stake["verdict"], "active");
        assert_eq!(stake["amount_mist"], SUI);
        assert_eq!(stake["record"], address["record"]);
    }
    assert_eq!(person.devnet.node.executed_transactions(), 1);
    let error = person.run(Action::TopUp).await.unwrap_err();
    assert!(error.to_string().contains("nothing to top up"), "{error}");

    let unbonding = person.run(Action::Unstake).await.unwrap();
    assert_eq!(unbonding["verdict"], "unbonding");
    assert!(unbonding["unbonding_until_ms"].is_u64(), "{unbonding}");
    let error = person.run(Action::Withdraw).await.unwrap_err();
    assert!(error.to_string().contains("EStillLocked"), "{error}");
    person.devnet.node.advance_clock(60 * 60 * 1000);
    let withdrawn = person.run(Action::Withdraw).await.unwrap();
    assert_eq!(withdrawn["verdict"], "withdrawn");

    let error = person.run(Action::Stake).await.unwrap_err();
    assert!(
        error.to_string().contains("chain.restake = true"),
        "{error}"
    );
    let amount = format!("stake_mist = {SUI}");
    let again = person
        .document
        .replace(&amount, &format!("{amount}\nrestake = true"));
    let stake = person.run_with(&again, Action::Stake).await.unwrap();
    assert_eq!(stake["verdict"], "active");
    assert_eq!(stake["record"], address["record"]);
}
