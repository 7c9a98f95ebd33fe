//! The steps of a trace, each one call of the package, as `trace_stage` of the Move tests has them
//! under the same names.

use chain::abi::{
    self, Enclave, EnclaveConfig, Epoch, IntentMessage, MasterDirectory, Pool, ReleaseRegistry,
    StakeRecord, Treasury, Vault, Verdict,
};
use serde::Serialize;
use serde_json::{Value as Json, json};
use sui_crypto::Signer;
use sui_sdk_types::hash::Hasher;
use sui_sdk_types::{Address, Ed25519Signature, Secp256r1Signature};

use super::choices::Step;
use super::stage::{
    Done, Given, Place, Stage, admin, at, byte, evidence, node_key, reporter, sender,
};
use crate::execution::{Arg, Stop};

/// Of longer contents, a trace has the BLAKE2b-256 alone.
const LONGEST: usize = 400;

/// Objects of three kinds, besides those that there are two of, have a version.
pub(super) const RECORD: u64 = 10;
pub(super) const ENCLAVE: u64 = 11;
pub(super) const EPOCH: u64 = 12;
/// And a vault, of which there are two.
pub(super) const VAULT: u64 = 9;

impl Stage<'_> {
    /// Carries a step out, and tells what it did.
    pub(super) fn trace(&mut self, step: &Step) -> Json {
        let (name, numbers) = step;
        self.done = Done::default();
        let result = self.step(name, numbers);
        let done = std::mem::take(&mut self.done);
        // as text: JavaScript's numbers end at 2^53
        let arguments: Vec<String> = numbers.iter().map(u64::to_string).collect();
        match result {
            Err(Stop::Abort(abort)) => json!({
                "call": name, "arguments": arguments,
                "abort": {"module": abort.module, "name": abort.name, "code": abort.code},
            }),
            Err(Stop::Broken(error)) => panic!("{name} {numbers:?}: {error}"),
            Ok(()) => {
                let told = self.told(&done);
                self.done = done;
                let mut json = json!({"call": name, "arguments": arguments});
                json.as_object_mut().unwrap().extend(told);
                json
            }
        }
    }

    /// Events, coins and objects, as the Move tests compare them.
    fn told(&mut self, done: &Done) -> serde_json::Map<String, Json> {
        let events: Vec<Json> = (done.events.iter())
            .map(|(tag, contents)| {
                let name = format!("{}::{}", tag.module(), tag.name());
                json!({"type": name, "bcs": hex(&self.show(contents))})
            })
            .collect();
        let paid: Vec<Json> = (done.paid.iter())
            .map(|(account, amount)| {
                json!({"account": account.to_string(), "amount": amount.to_string()})
            })
            .collect();
        let mut objects = Vec::new();
        for place in &done.written {
            // gone
            let Some(value) = self.slot(*place) else {
                continue;
            };
            let contents = value.contents.clone();
            let shown = self.show(&contents);
            let (object, index) = place.named();
            objects.push(match shown.len() {
                ..=LONGEST => json!({"object": object, "index": index, "bcs": hex(&shown)}),
                _ => {
                    let mut hasher = Hasher::new();
                    hasher.update(&shown);
                    let digest = hasher.finalize().into_inner();
                    json!({"object": object, "index": index, "blake2b": hex(&digest)})
                }
            });
        }
        let told = json!({
            "events": events, "paid": paid, "given": done.given, "shared": done.shared,
            "objects": objects,
        });
        told.as_object().unwrap().clone()
    }

    fn step(&mut self, name: &str, n: &[u64]) -> Result<(), Stop> {
        match name {
            "wait" => {
                self.now_ms += n[0];
                Ok(())
            }
            "look" => {
                let unseen = [Place::Admin, Place::Registrar, Place::ReleaseCap];
                let mut places = self.places();
                places.retain(|place| !unseen.contains(place));
                self.done.written = places;
                Ok(())
            }
            "swap" => {
                let kind = at(n[0]);
                self.at[kind] = 1 - self.at[kind];
                Ok(())
            }
            "set_version" => {
                self.set_version(n[0], n[1], n[2]);
                Ok(())
            }
            "stake" => self.stake(n[0], n[1], n[2], n[3]),
            "slash" => self.slash(n),
            "verdict" => self.verdict(n),
            "top_up" => {
                let coin = self.coin(n[1]).into();
                let given = vec![Place::Pool.into(), Place::Record(n[0]).into(), coin];
                self.call(sender(0, 3), "staking::top_up", given)?;
                Ok(())
            }
            "burn" => {
                let given = vec![Place::Token(n[0]).into()];
                self.call(sender(n[0], 0), "k8s_gateway::burn_seal_token", given)?;
                Ok(())
            }
            "token" | "renew" | "ask" | "ask_with_token" | "cancel" | "withdraw" | "restake"
            | "set_beneficiary" | "begin_maintenance" | "end_maintenance" => {
                self.of_record(name, n)
            }
            "new_vault" | "fund" | "set_budget" | "publish" | "object" | "object_by_admin"
            | "claim" | "close" => self.of_rewards(name, n),
            _ => self.govern(name, n),
        }
    }

    /// What the Move tests' `set_version` does.
    fn set_version(&mut self, kind: u64, index: u64, version: u64) {
        fn change<T: Serialize + serde::de::DeserializeOwned>(
            stage: &mut Stage<'_>,
            place: Place,
            change: impl Fn(&mut T),
        ) {
            let mut value: T = stage.read(place);
            change(&mut value);
            stage.place(place).write(&value).unwrap();
        }
        match kind {
            RECORD => change(self, Place::Record(index), |it: &mut StakeRecord| {
                it.version = version;
            }),
            EPOCH => change(self, Place::Epoch(index), |it: &mut Epoch| {
                it.version = version;
            }),
            ENCLAVE => {
                change(self, Place::Enclave(index), |it: &mut Enclave| {
                    it.version = version;
                });
                let kind = Place::Config.kind().unwrap();
                let unused = &mut self.sides[1 - self.at[kind]][kind];
                let mut config: EnclaveConfig = unused.read().unwrap();
                config.version = version;
                unused.write(&config).unwrap();
            }
            _ => match Place::OF_A_SIDE[at(kind)] {
                place @ Place::Pool => change(self, place, |it: &mut Pool| it.version = version),
                place @ Place::Treasury => {
                    change(self, place, |it: &mut Treasury| it.version = version);
                }
                place @ Place::Config => {
                    change(self, place, |it: &mut EnclaveConfig| it.version = version);
                }
                place @ Place::Registry => {
                    change(self, place, |it: &mut ReleaseRegistry| it.version = version);
                }
                place @ Place::Directory => {
                    change(self, place, |it: &mut MasterDirectory| it.version = version);
                }
                place @ Place::Vault => change(self, place, |it: &mut Vault| it.version = version),
                other => panic!("{other:?} has no version"),
            },
        }
    }

    fn stake(&mut self, node: u64, amount: u64, beneficiary: u64, form: u64) -> Result<(), Stop> {
        let who = if form == 2 { 3 } else { 0 };
        let name = match form {
            3 => String::new(),
            4 => "x".repeat(51),
            _ => format!("edge-000{}", node + 1),
        };
        let key = match form {
            1 => vec![1, 2],
            _ => node_key(node),
        };
        let given = vec![
            Place::Pool.into(),
            Arg::Text(name).into(),
            Arg::Bytes(key).into(),
            Arg::Address(sender(node, beneficiary)).into(),
            self.coin(amount).into(),
            self.clock().into(),
        ];
        let sender = sender(node, who);
        let record = self
            .call(sender, "staking::stake_for_node", given)?
            .remove(0);
        let given = vec![Arg::Object(record).into()];
        let record = self.call(sender, "staking::share_stake", given)?.remove(0);
        self.keep(Place::Record(node), record, 0x10 + byte(node));
        Ok(())
    }

    /// A call of a record with pool and clock around it.
    fn of_record(&mut self, name: &str, n: &[u64]) -> Result<(), Stop> {
        let node = n[0];
        let (function, who, more): (_, u64, Vec<Given>) = match name {
            "token" => ("k8s_gateway::create_worker_seal_token", n[1], Vec::new()),
            "renew" => {
                let token = Place::Token(n[1]).into();
                ("k8s_gateway::renew_worker_seal_token", 0, vec![token])
            }
            "ask" => (
                "k8s_gateway::request_unstake_without_token",
                n[1],
                Vec::new(),
            ),
            "ask_with_token" => {
                let token = Place::Token(n[1]).into();
                ("k8s_gateway::request_unstake", 0, vec![token])
            }
            "cancel" => ("k8s_gateway::cancel_unstake", n[1], Vec::new()),
            "withdraw" => ("staking::withdraw_stake", n[1], Vec::new()),
            "restake" => ("staking::restake", n[1], vec![self.coin(n[2]).into()]),
            "set_beneficiary" => {
                let to = Arg::Address(sender(node, n[2])).into();
                ("beneficiary::set_beneficiary", n[1], vec![to])
            }
            "begin_maintenance" => {
                let until = Arg::U64(self.now_ms + n[2]).into();
                ("maintenance::begin_maintenance", n[1], vec![until])
            }
            "end_maintenance" => ("maintenance::end_maintenance", n[1], Vec::new()),
            other => panic!("no step {other}"),
        };
        let mut given = vec![Place::Pool.into(), Place::Record(node).into()];
        given.extend(more);
        given.push(self.clock().into());
        for token in self.call(sender(node, who), function, given)? {
            self.tokens_made += 1;
            self.keep(Place::Token(node), token, 0x7f + self.tokens_made);
        }
        Ok(())
    }

    fn slash(&mut self, n: &[u64]) -> Result<(), Stop> {
        let given = vec![
            Place::Pool.into(),
            Place::Treasury.into(),
            Place::Slasher.into(),
            Place::Record(n[0]).into(),
            Arg::U64(n[1]).into(),
            Arg::U16(7).into(),
            Arg::Bytes(evidence(n[2])).into(),
            self.clock().into(),
        ];
        self.call(admin(), "staking::slash_stake", given)?;
        Ok(())
    }

    fn verdict(&mut self, n: &[u64]) -> Result<(), Stop> {
        let [
            node,
            reason,
            proof,
            rewarded,
            nonce,
            age,
            ahead,
            master,
            broken,
        ] = *n
        else {
            panic!("{n:?}");
        };
        let reason = u16::try_from(reason).unwrap();
        let reporter = match rewarded {
            0 => Address::ZERO,
            _ => reporter(),
        };
        let enclave: Enclave = self.read(Place::Enclave(master));
        let time = self.now_ms + ahead - age;
        let message = IntentMessage {
            domain: abi::enclave::DOMAIN.to_vec(),
            intent: abi::authority::SLASH_INTENT,
            enclave: enclave.id,
            config_version: enclave.config_version,
            nonce,
            timestamp_ms: time,
            data: Verdict {
                pool: self.place(Place::Pool).id(),
                record: self.place(Place::Record(node)).id(),
                reason,
                evidence: evidence(proof),
                reporter,
            },
        };
        let message = bcs::to_bytes(&message).unwrap();
        let mut signature = self.signature(master, &message);
        if broken == 1 {
            signature[40] ^= 1;
        }
        let given = vec![
            Place::Pool.into(),
            Place::Treasury.into(),
            Place::Config.into(),
            Place::Enclave(master).into(),
            Place::Record(node).into(),
            Arg::U16(reason).into(),
            Arg::Bytes(evidence(proof)).into(),
            Arg::Address(reporter).into(),
            Arg::U64(nonce).into(),
            Arg::U64(time).into(),
            Arg::Bytes(signature).into(),
            self.clock().into(),
        ];
        self.call(sender(0, 3), "slashing::slash_with_evidence", given)?;
        Ok(())
    }

    /// By the master's key, if there is one.
    pub(super) fn signature(&self, master: u64, message: &[u8]) -> Vec<u8> {
        if master == 1 {
            let signature: Secp256r1Signature = self.p256.sign(message);
            let signature = p256::ecdsa::Signature::from_slice(signature.inner()).unwrap();
            // of the two that ECDSA has, the one that Sui takes
            let signature = signature.normalize_s().unwrap_or(signature);
            return signature.to_bytes().to_vec();
        }
        let signature: Ed25519Signature = self.secret.sign(message);
        signature.inner().to_vec()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
