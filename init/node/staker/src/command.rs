//! Commands for a person with a configuration at hand: what the account and the stake are, and
//! what can be done with them. The key comes from the configuration file, never from an argument.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, ensure};
use chain::{Chain, Executed, Mist, NodeKey, Stake, Verdict};
use clap::Subcommand;
use node_settings::StakerSettings;
use serde_json::{Map, Value, json};

use crate::program;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub enum Action {
    /// Show the account that stakes, and where its record is.
    Address,
    /// Show what the account can spend.
    Balance,
    /// Show the stake.
    Status,
    /// Stake what the configuration says; once, however often it is asked for.
    Stake,
    /// Add what is missing to the pool's minimum.
    TopUp,
    /// Request the unstake.
    Unstake,
    /// Take the coins back, once the unbonding time is over.
    Withdraw,
}

/// What came of it, in the order in which it is shown.
#[derive(Debug, Default)]
pub struct Report(Vec<(&'static str, String, Value)>);

impl Report {
    fn text(&mut self, name: &'static str, value: impl ToString) {
        let text = value.to_string();
        self.0.push((name, text.clone(), Value::String(text)));
    }

    fn amount(&mut self, name: &'static str, amount: Mist) {
        self.0.push((name, amount.to_string(), json!(amount.0)));
    }

    fn number(&mut self, name: &'static str, unit: &str, number: Option<u64>) {
        let text = number.map_or("none".to_owned(), |number| format!("{number} {unit}"));
        self.0.push((name, text, json!(number)));
    }

    /// One object; amounts are numbers of MIST, times milliseconds since 1970-01-01 UTC.
    #[must_use]
    pub fn to_json(&self) -> String {
        let fields: Map<String, Value> = self
            .0
            .iter()
            .map(|(name, _, value)| ((*name).to_owned(), value.clone()))
            .collect();
        Value::Object(fields).to_string()
    }

    /// A line for each, aligned.
    #[must_use]
    pub fn to_table(&self) -> String {
        let width = self.0.iter().map(|(name, ..)| name.len()).max();
        let width = width.unwrap_or_default();
        let mut table = String::new();
        for (name, text, _) in &self.0 {
            // writing to a string can't fail
            let _ = writeln!(table, "{name:width$}  {text}");
        }
        table
    }

    fn stake(&mut self, stake: &Stake) {
        self.text("record", stake.record);
        self.text("node_id", &stake.node_id);
        self.text("beneficiary", stake.beneficiary);
        self.text("verdict", stake.verdict);
        self.amount("amount_mist", stake.amount);
        self.amount("minimum_mist", stake.minimum);
        self.amount("slashed_mist", stake.slashed);
        self.text(
            "seal_token",
            stake
                .seal_token
                .map_or("none".to_owned(), |token| token.id.to_string()),
        );
        let expires = stake.seal_token.map(|token| token.expires_at_ms);
        self.number("seal_token_expires_ms", "ms", expires);
        self.number("unbonding_until_ms", "ms", stake.unbonding_until_ms);
    }

    fn executed(&mut self, executed: &Executed) {
        self.text("transaction", executed.transaction);
        self.amount("gas_mist", executed.gas);
    }
}

/// Does it, with the configuration of a file.
///
/// # Errors
/// Where the configuration can't be used, or the chain refuses.
pub async fn run(configuration: &Path, action: Action) -> anyhow::Result<Report> {
    execute(&program::read(configuration)?, configuration, action).await
}

/// Does it. `configuration` is where the document lies: a TPM's key lies beside it.
///
/// # Errors
/// Where the chain refuses, or can't be reached.
pub async fn execute(
    settings: &StakerSettings,
    configuration: &Path,
    action: Action,
) -> anyhow::Result<Report> {
    let (key, chain_settings) = program::identity(settings, configuration)?;
    let chain = Chain::connect(&chain_settings).await?;
    let mut report = Report::default();
    report.text("address", key.address());
    match action {
        Action::Address => {
            report.text("node_key", key.public());
            report.text("record", chain.record_of(key.public()));
        }
        Action::Balance => report.amount("balance_mist", chain.balance(key.address()).await?),
        Action::Status => match find(&chain, settings, &key).await? {
            Some(stake) => report.stake(&stake),
            None => report.text("verdict", Verdict::NotFound),
        },
        Action::Stake => {
            let stake = stake(&chain, settings, &key).await?;
            report.stake(&stake);
        }
        Action::TopUp => {
            let stake = needed(&chain, settings, &key).await?;
            ensure!(
                stake.verdict == Verdict::BelowMinimum,
                "the stake {} is {}: there is nothing to top up",
                stake.record,
                stake.verdict
            );
            let executed = chain.top_up(&key, stake.record, stake.missing()).await?;
            report.executed(&executed);
            report.stake(&chain.reread(&stake).await?);
        }
        Action::Unstake => {
            let stake = needed(&chain, settings, &key).await?;
            report.executed(&chain.request_unstake(&key, &stake).await?);
            report.stake(&chain.reread(&stake).await?);
        }
        Action::Withdraw => {
            let stake = needed(&chain, settings, &key).await?;
            report.executed(&chain.withdraw(&key, stake.record).await?);
            report.stake(&chain.reread(&stake).await?);
        }
    }
    Ok(report)
}

async fn find(
    chain: &Chain,
    settings: &StakerSettings,
    key: &NodeKey,
) -> anyhow::Result<Option<Stake>> {
    let found = chain
        .find_stake(key.public(), settings.node_name.as_str())
        .await;
    Ok(found?)
}

async fn needed(chain: &Chain, settings: &StakerSettings, key: &NodeKey) -> anyhow::Result<Stake> {
    find(chain, settings, key).await?.with_context(|| {
        format!(
            "the key of {} has no stake in the pool {}: run `staker stake`",
            key.address(),
            settings.chain.pool
        )
    })
}

async fn stake(chain: &Chain, settings: &StakerSettings, key: &NodeKey) -> anyhow::Result<Stake> {
    let amount = settings.chain.stake;
    let beneficiary = settings.chain.beneficiary.unwrap_or_else(|| key.address());
    let stake = chain
        .stake(key, settings.node_name.as_str(), amount, beneficiary)
        .await?;
    if stake.verdict != Verdict::Withdrawn {
        return Ok(stake);
    }
    ensure!(
        settings.chain.restake,
        "the stake {} was withdrawn: set chain.restake = true to stake anew with this key",
        stake.record
    );
    let transaction = chain.prepare_restake(key, &stake, amount).await?;
    Ok(chain.submit_stake(&transaction).await?)
}
