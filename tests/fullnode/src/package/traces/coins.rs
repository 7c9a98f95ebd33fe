//! Where the coins of a sequence came from and went, counted apart from the objects that hold them:
//! by what was brought, and by the coins that accounts got.

use std::collections::{BTreeMap, BTreeSet};

use chain::abi::{Epoch, Pool, StakeRecord, Treasury, Vault};
use sui_sdk_types::Address;

use super::choices::Step;
use super::rewards::points;
use super::stage::{Place, Stage, admin, reporter};
use super::{EPOCHS, NODES, WHOLE};

/// The accounts of coins.
#[derive(Default)]
pub(super) struct Coins {
    /// What stakers brought, and others for them.
    brought: u64,
    /// What each stake has to hold.
    stakes: BTreeMap<u64, u64>,
    /// What the treasury has to hold.
    treasury: u64,
    /// What the two vaults have to hold.
    vaults: [u64; 2],
    /// Of each epoch, its tree, its budget, and what it has to hold.
    epochs: BTreeMap<u64, (u64, u64, u64)>,
    /// Epochs and nodes whose reward was paid.
    claimed: BTreeSet<(u64, u64)>,
    /// What each account got.
    paid: BTreeMap<Address, u64>,
    /// Nodes and evidence for which a reporter was paid.
    rewarded: BTreeSet<(u64, u64)>,
}

/// What a step finds that decides whom it pays.
pub(super) struct Before {
    beneficiaries: BTreeMap<u64, Address>,
    reporter_basis_points: u64,
}

impl Before {
    pub(super) fn of(stage: &mut Stage<'_>) -> Self {
        let now_ms = stage.now_ms;
        let mut beneficiaries = BTreeMap::new();
        for node in 0..NODES {
            let Some(record) = stage.slot(Place::Record(node)) else {
                continue;
            };
            let record: StakeRecord = record.read().unwrap();
            beneficiaries.insert(node, record.beneficiary.at(now_ms));
        }
        let pool: Pool = stage.read(Place::Pool);
        Self {
            beneficiaries,
            reporter_basis_points: pool.reporter_basis_points.at(now_ms),
        }
    }
}

impl Coins {
    /// Counts what a step that succeeded brought, took and paid, and compares all that is held with it.
    pub(super) fn count(&mut self, stage: &mut Stage<'_>, step: &Step, before: &Before) {
        let (name, n) = step;
        let paid = stage.done.paid.clone();
        match *name {
            "stake" | "top_up" => self.bring(n[0], n[1]),
            "restake" => self.bring(n[0], n[2]),
            "withdraw" => {
                // all of the stake at once, to one account
                let amount = self.stakes.insert(n[0], 0).unwrap();
                assert!(amount > 0, "a stake is paid twice: {step:?}");
                let beneficiary = before.beneficiaries[&n[0]];
                assert_eq!(paid, [(beneficiary, amount)], "{step:?}");
            }
            "withdraw_treasury" => {
                assert_eq!(paid, [(admin(), n[0])], "{step:?}");
                let left = self.treasury.checked_sub(n[0]);
                self.treasury = left.expect("the treasury pays what it never got");
            }
            "slash" | "verdict" => {
                let record: StakeRecord = stage.read(Place::Record(n[0]));
                let stake = self.stakes.get_mut(&n[0]).unwrap();
                let taken = *stake - record.balance;
                *stake = record.balance;
                let reward = match *name == "verdict" && n[3] == 1 {
                    true => taken * before.reporter_basis_points / WHOLE,
                    false => 0,
                };
                if reward > 0 {
                    assert_eq!(paid, [(reporter(), reward)], "{step:?}");
                    assert!(self.rewarded.insert((n[0], n[2])), "paid twice: {step:?}");
                } else {
                    assert_eq!(paid, [], "{step:?}");
                }
                self.treasury += taken - reward;
            }
            "fund" | "publish" | "object" | "object_by_admin" | "close" | "claim" => {
                self.reward(stage, step, before, &paid);
            }
            _ => assert_eq!(paid, [], "{step:?}"),
        }
        for (account, amount) in paid {
            *self.paid.entry(account).or_default() += amount;
        }
        self.compare(stage, step);
    }

    /// That objects hold what they have to, and that no coin appeared or vanished.
    pub(super) fn compare(&self, stage: &mut Stage<'_>, step: &Step) {
        let mut held = 0;
        for node in 0..NODES {
            let balance = stage.slot(Place::Record(node)).map_or(0, |record| {
                let record: StakeRecord = record.read().unwrap();
                record.balance
            });
            let stake = self.stakes.get(&node).copied().unwrap_or_default();
            assert_eq!(balance, stake, "node {node} after {step:?}");
            held += balance;
        }
        let kind = Place::Treasury.kind().unwrap();
        let treasuries = stage.sides.each_ref().map(|side| {
            let treasury: Treasury = side[kind].read().unwrap();
            treasury.balance
        });
        assert_eq!(treasuries, [self.treasury, 0], "after {step:?}");
        let kind = Place::Vault.kind().unwrap();
        let vaults = stage.sides.each_ref().map(|side| {
            let vault: Vault = side[kind].read().unwrap();
            vault.funds
        });
        assert_eq!(vaults, self.vaults, "after {step:?}");
        held += vaults.iter().sum::<u64>();
        for slot in 0..EPOCHS {
            let funds = stage.slot(Place::Epoch(slot)).map(|epoch| {
                let epoch: Epoch = epoch.read().unwrap();
                epoch.funds
            });
            let epoch = self.epochs.get(&slot).map(|(_, _, left)| *left);
            assert_eq!(funds, epoch, "epoch {slot} after {step:?}");
            held += epoch.unwrap_or_default();
        }
        let paid: u64 = self.paid.values().sum();
        assert_eq!(self.brought, held + self.treasury + paid, "after {step:?}");
    }

    /// What a step of rewards moves between vaults, epochs and a beneficiary.
    fn reward(
        &mut self,
        stage: &Stage<'_>,
        (name, n): &Step,
        before: &Before,
        paid: &[(Address, u64)],
    ) {
        let vault = &mut self.vaults[stage.at[Place::Vault.kind().unwrap()]];
        if *name == "claim" {
            let (tree, budget, left) = self.epochs.get_mut(&n[0]).unwrap();
            let total: u64 = (0..NODES).map(|node| points(*tree, node)).sum();
            let amount = *budget * points(*tree, n[1]) / total;
            assert_eq!(paid, [(before.beneficiaries[&n[1]], amount)], "{n:?}");
            assert!(self.claimed.insert((n[0], n[1])), "paid twice: {n:?}");
            *left = (left.checked_sub(amount)).expect("an epoch pays what it never had");
            return;
        }
        assert_eq!(paid, [], "{name} {n:?}");
        match *name {
            "fund" => {
                self.brought += n[0];
                *vault += n[0];
            }
            "publish" => {
                *vault = (vault.checked_sub(n[3])).expect("a vault reserves what it has not");
                self.epochs.insert(n[0], (n[2], n[3], n[3]));
            }
            _ => {
                let (_, _, left) = self.epochs.get_mut(&n[0]).unwrap();
                *vault += std::mem::take(left);
            }
        }
    }

    fn bring(&mut self, node: u64, amount: u64) {
        self.brought += amount;
        *self.stakes.entry(node).or_default() += amount;
    }
}
