//! The transactions that a node, a slasher and a staker send, as Sui's programmable transactions.

mod administration;

use sui_sdk_types::{
    Address, Digest, Identifier, ObjectReference, Transaction, TransactionExpiration, TypeTag,
};
use sui_transaction_builder::{Argument, Function, ObjectInput, TransactionBuilder};

use crate::abi::{self, MoveType, function};

pub(crate) use administration::{Administration, ReleaseChange};

/// What gas is paid with, and until when the transaction counts.
#[derive(Debug, Clone)]
pub(crate) struct Gas {
    /// Coins; the chain merges them into the first.
    pub(crate) coins: Vec<ObjectReference>,
    /// Price of a unit, in MIST.
    pub(crate) price: u64,
    /// Most that may be spent, in MIST.
    pub(crate) budget: u64,
    /// The last epoch in which the transaction may run.
    pub(crate) last_epoch: u64,
}

/// A shared object, and since which version it is shared.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shared {
    pub(crate) id: Address,
    pub(crate) since: u64,
}

/// What is to be done, in one transaction: all of it or nothing.
#[derive(Debug, Clone)]
pub(crate) enum Plan {
    /// Stake for a node and take the seal token.
    Stake {
        pool: Shared,
        node_id: String,
        node_key: Vec<u8>,
        beneficiary: Address,
        amount: u64,
    },
    /// Stake anew what was withdrawn, and take a seal token.
    Restake {
        pool: Shared,
        record: Shared,
        amount: u64,
    },
    /// Add to a stake.
    TopUp {
        pool: Shared,
        record: Shared,
        amount: u64,
    },
    /// Slash a stake.
    Slash {
        pool: Shared,
        treasury: Shared,
        cap: ObjectReference,
        record: Shared,
        basis_points: u64,
        reason: u16,
        evidence: Vec<u8>,
    },
    /// Take a seal token; with the old one at hand, burn that.
    SealToken {
        pool: Shared,
        record: Shared,
        old: Option<ObjectReference>,
    },
    /// Request the unstake; with the seal token at hand, burn that.
    RequestUnstake {
        pool: Shared,
        record: Shared,
        token: Option<ObjectReference>,
    },
    /// Let the stake stand after all.
    CancelUnstake { pool: Shared, record: Shared },
    /// Have the coins paid to the beneficiary.
    Withdraw { pool: Shared, record: Shared },
    /// Send coins to another account.
    Send { amount: u64, receiver: Address },
    /// Send all coins that pay for gas, but for what the gas takes, to another account.
    SendAll { receiver: Address },
    /// Merge coins into those that pay for gas.
    Consolidate { coins: Vec<ObjectReference> },
    /// Change what the pool's administrator keeps.
    Administer(Administration),
}

impl Plan {
    /// What the transaction takes from the sender's coins, gas not counted.
    pub(crate) fn payment(&self) -> u64 {
        match self {
            Self::Stake { amount, .. }
            | Self::Restake { amount, .. }
            | Self::TopUp { amount, .. }
            | Self::Send { amount, .. } => *amount,
            _ => 0,
        }
    }

    /// The most that is paid for it, in MIST.
    ///
    /// A node's transactions cost some 0.01 SUI, most of it a deposit for storage: ten times that.
    /// What an administrator changes is stored anew as a whole, a full registry of releases at a
    /// deposit of half a SUI, which comes back with the next change.
    pub(crate) fn most_gas(&self) -> u64 {
        match self {
            Self::Administer(_) => 1_000_000_000,
            _ => 100_000_000,
        }
    }

    /// The transaction.
    pub(crate) fn build(
        &self,
        package: Address,
        sender: Address,
        gas: &Gas,
    ) -> Result<Transaction, sui_transaction_builder::Error> {
        let mut tx = Program {
            builder: TransactionBuilder::new(),
            package,
        };
        self.program(&mut tx);
        let mut builder = tx.builder;
        builder.set_sender(sender);
        builder.add_gas_objects(gas.coins.iter().map(|coin| {
            ObjectInput::owned(
                *coin.object_id(),
                coin.version(),
                Digest::clone(coin.digest()),
            )
        }));
        builder.set_gas_price(gas.price);
        builder.set_gas_budget(gas.budget);
        builder.set_expiration(TransactionExpiration::Epoch(gas.last_epoch));
        builder.try_build()
    }

    fn program(&self, tx: &mut Program) {
        match self {
            Self::Stake {
                pool,
                node_id,
                node_key,
                beneficiary,
                amount,
            } => tx.stake(*pool, node_id, node_key, *beneficiary, *amount),
            Self::Restake {
                pool,
                record,
                amount,
            } => {
                let payment = tx.payment(*amount);
                let (pool, record) = (tx.shared(*pool, false), tx.shared(*record, true));
                let mut arguments = vec![pool, record];
                arguments.extend(payment);
                arguments.push(tx.clock());
                tx.call(abi::STAKING, function::RESTAKE, arguments);
                tx.seal_token(pool, record);
            }
            Self::TopUp {
                pool,
                record,
                amount,
            } => {
                let payment = tx.payment(*amount);
                let mut arguments = vec![tx.shared(*pool, false), tx.shared(*record, true)];
                arguments.extend(payment);
                tx.call(abi::STAKING, function::TOP_UP, arguments);
            }
            Self::Slash {
                pool,
                treasury,
                cap,
                record,
                basis_points,
                reason,
                evidence,
            } => {
                let arguments = vec![
                    tx.shared(*pool, false),
                    tx.shared(*treasury, true),
                    tx.owned(cap),
                    tx.shared(*record, true),
                    tx.builder.pure(basis_points),
                    tx.builder.pure(reason),
                    tx.builder.pure(evidence),
                    tx.clock(),
                ];
                tx.call(abi::STAKING, function::SLASH_STAKE, arguments);
            }
            Self::SealToken { pool, record, old } => {
                tx.renew_seal_token(*pool, *record, old.as_ref());
            }
            Self::RequestUnstake {
                pool,
                record,
                token,
            } => tx.request_unstake(*pool, *record, token.as_ref()),
            Self::CancelUnstake { pool, record } => {
                let arguments = vec![
                    tx.shared(*pool, false),
                    tx.shared(*record, true),
                    tx.clock(),
                ];
                tx.call(abi::GATEWAY, function::CANCEL_UNSTAKE, arguments);
            }
            Self::Withdraw { pool, record } => {
                let arguments = vec![
                    tx.shared(*pool, false),
                    tx.shared(*record, true),
                    tx.clock(),
                ];
                tx.call(abi::STAKING, function::WITHDRAW_STAKE, arguments);
            }
            Self::Send { amount, receiver } => {
                let coins = tx.payment(*amount);
                let receiver = tx.builder.pure(receiver);
                tx.builder.transfer_objects(coins, receiver);
            }
            Self::SendAll { receiver } => {
                let coins = tx.builder.gas();
                let receiver = tx.builder.pure(receiver);
                tx.builder.transfer_objects(vec![coins], receiver);
            }
            Self::Consolidate { coins } => {
                let merged = coins.iter().map(|coin| tx.owned(coin)).collect();
                let gas = tx.builder.gas();
                tx.builder.merge_coins(gas, merged);
            }
            Self::Administer(administration) => administration.program(tx),
        }
    }
}

struct Program {
    builder: TransactionBuilder,
    package: Address,
}

impl Program {
    fn shared(&mut self, object: Shared, mutable: bool) -> Argument {
        self.builder
            .object(ObjectInput::shared(object.id, object.since, mutable))
    }

    fn owned(&mut self, object: &ObjectReference) -> Argument {
        self.builder.object(ObjectInput::owned(
            *object.object_id(),
            object.version(),
            *object.digest(),
        ))
    }

    fn clock(&mut self) -> Argument {
        self.shared(
            Shared {
                id: abi::CLOCK,
                since: 1,
            },
            false,
        )
    }

    /// A coin of this amount, split from those that pay for gas.
    fn payment(&mut self, amount: u64) -> Vec<Argument> {
        let coins = self.builder.gas();
        let amount = self.builder.pure(&amount);
        self.builder.split_coins(coins, vec![amount])
    }

    fn seal_token(&mut self, pool: Argument, record: Argument) {
        let arguments = vec![pool, record, self.clock()];
        self.call(abi::GATEWAY, function::CREATE_WORKER_SEAL_TOKEN, arguments);
    }

    /// Record and seal token from one transaction: both or neither.
    fn stake(
        &mut self,
        pool: Shared,
        node_id: &String,
        node_key: &Vec<u8>,
        beneficiary: Address,
        amount: u64,
    ) {
        let payment = self.payment(amount);
        let pool = self.shared(pool, true);
        let mut arguments = vec![
            pool,
            self.builder.pure(node_id),
            self.builder.pure(node_key),
            self.builder.pure(&beneficiary),
        ];
        arguments.extend(payment);
        arguments.push(self.clock());
        let record = self.call(abi::STAKING, function::STAKE_FOR_NODE, arguments);
        self.seal_token(pool, record);
        self.call(abi::STAKING, function::SHARE_STAKE, vec![record]);
    }

    fn renew_seal_token(&mut self, pool: Shared, record: Shared, old: Option<&ObjectReference>) {
        let (pool, record) = (self.shared(pool, false), self.shared(record, true));
        match old {
            Some(old) => {
                let arguments = vec![pool, record, self.owned(old), self.clock()];
                self.call(abi::GATEWAY, function::RENEW_WORKER_SEAL_TOKEN, arguments);
            }
            None => self.seal_token(pool, record),
        }
    }

    fn request_unstake(&mut self, pool: Shared, record: Shared, token: Option<&ObjectReference>) {
        let mut arguments = vec![self.shared(pool, false), self.shared(record, true)];
        let function = match token {
            Some(token) => {
                arguments.push(self.owned(token));
                function::REQUEST_UNSTAKE
            }
            None => function::REQUEST_UNSTAKE_WITHOUT_TOKEN,
        };
        arguments.push(self.clock());
        self.call(abi::GATEWAY, function, arguments);
    }

    /// A vector of values of one of the package's types.
    fn vector<T: MoveType>(&mut self, elements: Vec<Argument>) -> Argument {
        let tag = TypeTag::Struct(Box::new(T::tag(self.package)));
        self.builder.make_move_vec(Some(tag), elements)
    }

    fn call(
        &mut self,
        module: &'static str,
        function: &'static str,
        arguments: Vec<Argument>,
    ) -> Argument {
        let function = Function::new(
            self.package,
            Identifier::from_static(module),
            Identifier::from_static(function),
        );
        self.builder.move_call(function, arguments)
    }
}

#[cfg(test)]
mod tests {
    use sui_sdk_types::{Argument as Wire, Command, Input, TransactionKind};

    use super::*;

    fn gas() -> Gas {
        let coin =
            |byte| ObjectReference::new(Address::new([byte; 32]), 5, Digest::new([byte; 32]));
        Gas {
            coins: vec![coin(0xc0), coin(0xc1)],
            price: 1000,
            budget: 10_000_000,
            last_epoch: 8,
        }
    }

    #[test]
    fn a_stake_is_one_transaction_of_four_commands() {
        let pool = Shared {
            id: Address::new([0xb2; 32]),
            since: 3,
        };
        let plan = Plan::Stake {
            pool,
            node_id: "edge".into(),
            node_key: vec![0; 33],
            beneficiary: Address::new([2; 32]),
            amount: 1_000_000_000,
        };
        let tx = plan
            .build(Address::new([0xa1; 32]), Address::new([1; 32]), &gas())
            .unwrap();
        assert_eq!(tx.expiration, TransactionExpiration::Epoch(8));
        assert_eq!(tx.gas_payment.objects.len(), 2);
        let TransactionKind::ProgrammableTransaction(program) = tx.kind else {
            panic!()
        };
        let names: Vec<String> = program
            .commands
            .iter()
            .map(|command| match command {
                Command::SplitCoins(split) => {
                    assert_eq!(split.coin, Wire::Gas);
                    "SplitCoins".to_owned()
                }
                Command::MoveCall(call) => format!("{}::{}", call.module, call.function),
                other => format!("{other:?}"),
            })
            .collect();
        assert_eq!(
            names,
            [
                "SplitCoins",
                "staking::stake_for_node",
                "k8s_gateway::create_worker_seal_token",
                "staking::share_stake"
            ]
        );
        let shared: Vec<_> = program
            .inputs
            .iter()
            .filter_map(|input| match input {
                Input::Shared(shared) => Some((shared.object_id(), shared.mutability())),
                _ => None,
            })
            .collect();
        assert_eq!(shared.len(), 2, "pool and clock, each once: {shared:?}");
        for (id, mutability) in shared {
            let expected = if id == abi::CLOCK {
                sui_sdk_types::Mutability::Immutable
            } else {
                sui_sdk_types::Mutability::Mutable
            };
            assert_eq!(mutability, expected, "{id}");
        }
    }
}
