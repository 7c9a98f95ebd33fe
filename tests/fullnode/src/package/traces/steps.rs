//! The steps of a trace, each one call of the package.

use chain::abi::{
    self, Enclave, Image, IntentMessage, LaunchMeasurement, MoveType, PhasePcr, Verdict,
};
use sui_crypto::Signer;
use sui_sdk_types::{Address, Ed25519Signature};

use super::stage::{Done, Place, Stage, at, byte, evidence, node_key, sender, short};
use crate::execution::{Arg, Form, Stop, Value};

impl Stage<'_> {
    /// One step, as `trace_stage` of the Move tests has it under the same name.
    pub(super) fn step(&mut self, name: &str, n: &[u64]) -> Result<Done, Stop> {
        let arg = |index: usize| Arg::U64(n[index]);
        match name {
            "wait" => {
                self.now_ms += n[0];
                Ok(Done::default())
            }
            "open" => self.administer("open_pool", Vec::new()),
            "set_minimum_stake" | "set_unbonding" | "set_reporter_share" => {
                let clock = self.clock();
                self.administer(name, vec![arg(0), clock])
            }
            "set_seal_token_lifetime" => self.administer(name, vec![arg(0)]),
            "set_offence" => {
                let reason = Arg::U16(u16::try_from(n[0]).unwrap());
                let clock = self.clock();
                let more = vec![reason, arg(1), arg(2), Arg::Bool(n[3] == 1), clock];
                self.administer(name, more)
            }
            "withdraw_treasury" => {
                let arguments = vec![
                    self.here(Place::Pool),
                    self.here(Place::Treasury),
                    Arg::Object(self.admin.clone()),
                    arg(0),
                ];
                let places = [(1, Place::Treasury)];
                let name = "administration::withdraw_treasury";
                Ok(self.call(Address::ZERO, name, arguments, &places)?.0)
            }
            "stake" => self.stake(n[0], n[1], n[2]),
            "token" => self.of_record(
                "k8s_gateway::create_worker_seal_token",
                n[0],
                n[1],
                Vec::new(),
            ),
            "renew" | "ask_with_token" => {
                let token = self.tokens[at(n[0])].clone().unwrap();
                let call = match name {
                    "renew" => "k8s_gateway::renew_worker_seal_token",
                    _ => "k8s_gateway::request_unstake",
                };
                let done = self.of_record(call, n[0], 0, vec![Arg::Object(token)])?;
                if name == "ask_with_token" {
                    self.tokens[at(n[0])] = None;
                }
                Ok(done)
            }
            "ask" => self.of_record(
                "k8s_gateway::request_unstake_without_token",
                n[0],
                n[1],
                Vec::new(),
            ),
            "cancel" => self.of_record("k8s_gateway::cancel_unstake", n[0], n[1], Vec::new()),
            "withdraw" => self.of_record("staking::withdraw_stake", n[0], n[1], Vec::new()),
            "restake" => {
                let coin = self.coin(n[1]);
                self.of_record("staking::restake", n[0], 0, vec![coin])
            }
            "set_beneficiary" => {
                let to = Arg::Address(sender(n[0], n[2]));
                self.of_record("beneficiary::set_beneficiary", n[0], n[1], vec![to])
            }
            "begin_maintenance" => {
                let until = Arg::U64(self.now_ms + n[2]);
                self.of_record("maintenance::begin_maintenance", n[0], n[1], vec![until])
            }
            "end_maintenance" => {
                self.of_record("maintenance::end_maintenance", n[0], n[1], Vec::new())
            }
            "top_up" => {
                let coin = self.coin(n[1]);
                let record = Place::Record(n[0]);
                let arguments = vec![self.here(Place::Pool), self.here(record), coin];
                let sender = sender(0, 3);
                Ok(self
                    .call(sender, "staking::top_up", arguments, &[(1, record)])?
                    .0)
            }
            "slash" => {
                let record = Place::Record(n[0]);
                let arguments = vec![
                    self.here(Place::Pool),
                    self.here(Place::Treasury),
                    Arg::Object(self.slasher.clone()),
                    self.here(record),
                    arg(1),
                    Arg::U16(7),
                    Arg::Bytes(evidence(n[2])),
                    self.clock(),
                ];
                let places = [(1, Place::Treasury), (3, record)];
                let name = "staking::slash_stake";
                Ok(self.call(Address::ZERO, name, arguments, &places)?.0)
            }
            "verdict" => self.verdict(n),
            _ => self.govern(name, n),
        }
    }

    fn stake(&mut self, node: u64, amount: u64, beneficiary: u64) -> Result<Done, Stop> {
        let key = node_key(byte(node + 1));
        let arguments = vec![
            self.here(Place::Pool),
            Arg::Text(format!("edge-000{}", node + 1)),
            Arg::Bytes(key),
            Arg::Address(sender(node, beneficiary)),
            self.coin(amount),
            self.clock(),
        ];
        let places = [(0, Place::Pool)];
        let name = "staking::stake_for_node";
        let (mut done, returned, _) = self.call(sender(node, 0), name, arguments, &places)?;
        let record = returned.into_iter().next().unwrap();
        self.ids.push((record.id().into_inner(), 0x10 + byte(node)));
        self.records[at(node)] = Some(record);
        done.changed.push(Place::Record(node));
        Ok(done)
    }

    fn verdict(&mut self, n: &[u64]) -> Result<Done, Stop> {
        let [node, reason, proof, rewarded, nonce, age] = n else {
            panic!("{n:?}");
        };
        let record = Place::Record(*node);
        let reporter = match rewarded {
            0 => Address::ZERO,
            _ => short(0x5EE),
        };
        let enclave: Enclave = self.place(Place::Enclave(0)).read()?;
        let time = self.now_ms - age;
        let message = IntentMessage {
            domain: abi::enclave::DOMAIN.to_vec(),
            intent: abi::authority::SLASH_INTENT,
            enclave: enclave.id,
            config_version: enclave.config_version,
            nonce: *nonce,
            timestamp_ms: time,
            data: Verdict {
                pool: self.pool.id(),
                record: self.place(record).id(),
                reason: u16::try_from(*reason).unwrap(),
                evidence: evidence(*proof),
                reporter,
            },
        };
        let signature: Ed25519Signature = self.secret.sign(&bcs::to_bytes(&message).unwrap());
        let arguments = vec![
            self.here(Place::Pool),
            self.here(Place::Treasury),
            self.here(Place::Config),
            self.here(Place::Enclave(0)),
            self.here(record),
            Arg::U16(u16::try_from(*reason).unwrap()),
            Arg::Bytes(evidence(*proof)),
            Arg::Address(reporter),
            Arg::U64(*nonce),
            Arg::U64(time),
            Arg::Bytes(signature.inner().to_vec()),
            self.clock(),
        ];
        let places = [(1, Place::Treasury), (4, record)];
        let name = "slashing::slash_with_evidence";
        Ok(self.call(sender(0, 3), name, arguments, &places)?.0)
    }

    /// Steps of masters and releases.
    fn govern(&mut self, name: &str, n: &[u64]) -> Result<Done, Stop> {
        match name {
            "update_pcrs" => {
                let pcr = || Arg::Bytes(vec![byte(n[0]); abi::enclave::PCR_LENGTH]);
                let more = vec![pcr(), pcr(), pcr(), self.clock()];
                self.of_config("enclave::update_pcrs", more, &[])
            }
            "register" => self.register(n[0]),
            "retire" => {
                let enclave = Place::Enclave(n[0]);
                let more = vec![self.here(enclave)];
                self.of_config("enclave::retire", more, &[(3, enclave)])
            }
            "set_minimum_config_version" => {
                let successor = self.here(Place::Enclave(n[1]));
                let more = vec![Arg::U64(n[0]), successor, self.clock()];
                self.of_config("enclave::set_minimum_config_version", more, &[])
            }
            "list_master" => {
                let url = match n[1] {
                    1 => "https://m.example.org",
                    _ => "http://m.example.org/",
                };
                let arguments = vec![
                    self.here(Place::Directory),
                    self.here(Place::Pool),
                    Arg::Object(self.admin.clone()),
                    self.here(Place::Config),
                    self.here(Place::Enclave(n[0])),
                    Arg::Text(url.to_owned()),
                ];
                let places = [(0, Place::Directory)];
                let name = "k8s_gateway::list_master";
                Ok(self.call(Address::ZERO, name, arguments, &places)?.0)
            }
            "remove_master" => {
                let enclave = self.place(Place::Enclave(n[0])).id();
                let arguments = vec![
                    self.here(Place::Directory),
                    self.here(Place::Pool),
                    Arg::Object(self.admin.clone()),
                    Arg::Address(enclave),
                ];
                let places = [(0, Place::Directory)];
                let name = "k8s_gateway::remove_master";
                Ok(self.call(Address::ZERO, name, arguments, &places)?.0)
            }
            "remove_retired_master" => {
                let arguments = vec![
                    self.here(Place::Directory),
                    self.here(Place::Config),
                    self.here(Place::Enclave(n[0])),
                ];
                let places = [(0, Place::Directory)];
                let name = "k8s_gateway::remove_retired_master";
                Ok(self.call(sender(0, 3), name, arguments, &places)?.0)
            }
            "approve" => self.approve(n[0], n[1]),
            "revoke" => {
                let deadline = Arg::U64(self.now_ms + n[1]);
                self.of_registry("releases::revoke", n[0], vec![deadline])
            }
            "set_minimum" => {
                let deadline = Arg::U64(self.now_ms + n[1]);
                self.of_registry("releases::set_minimum", n[0], vec![deadline])
            }
            "remove" => self.of_registry("releases::remove", n[0], Vec::new()),
            other => panic!("no step {other}"),
        }
    }

    fn register(&mut self, master: u64) -> Result<Done, Stop> {
        let public_key = match master {
            0 => [&[0][..], self.secret.public_key().inner()].concat(),
            _ => node_key(0x80 + byte(master)),
        };
        let arguments = vec![
            self.here(Place::Config),
            self.here(Place::Pool),
            Arg::Object(self.registrar.clone()),
            Arg::Bytes(public_key),
            Arg::Bytes(vec![0x72; 32]),
            Arg::Bytes(vec![0x73; 32]),
            self.clock(),
        ];
        let places = [(0, Place::Config)];
        let name = "enclave::register_by_capability";
        let (mut done, _, placed) = self.call(Address::ZERO, name, arguments, &places)?;
        let enclave = placed.into_iter().next().unwrap();
        self.ids
            .push((enclave.id().into_inner(), 0x30 + byte(master)));
        self.enclaves[at(master)] = Some(enclave);
        done.changed.push(Place::Enclave(master));
        Ok(done)
    }

    fn approve(&mut self, patch: u64, number: u64) -> Result<Done, Stop> {
        let image = |target: &str, number: u64| Image {
            target: target.to_owned(),
            architecture: "x86_64".to_owned(),
            root_hash: vec![1; 32],
            pcr11: vec![PhasePcr {
                phases: String::new(),
                digest: vec![byte(number); 32],
            }],
            launch_measurements: vec![LaunchMeasurement {
                tee: 1,
                digest: vec![7; 48],
            }],
        };
        let mut images = vec![image("disk", number)];
        if number.is_multiple_of(2) {
            images.push(image("netboot", number + 1));
        }
        let images = Value {
            tag: Image::tag(self.package),
            form: Form::Vector,
            contents: bcs::to_bytes(&images).unwrap(),
        };
        let more = vec![
            Arg::Object(images),
            Arg::Bytes(vec![3; 32]),
            Arg::Texts(vec!["https://r.example.org/".to_owned()]),
        ];
        self.of_registry("releases::approve", patch, more)
    }
}
