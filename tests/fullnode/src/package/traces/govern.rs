//! Steps of the administrator, of masters, and of releases.

use chain::abi::{Image, LaunchMeasurement, MoveType, PhasePcr};
use sui_sdk_types::StructTag;

use super::stage::{Given, Place, Stage, admin, byte, junk_key, sender};
use crate::execution::{Arg, Form, Stop, Value};

/// A name that is too long for a target and for phases.
const LONG: &str = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";

fn bytes(byte: u8, length: usize) -> Given {
    Arg::Bytes(vec![byte; length]).into()
}

fn text(text: &str) -> Arg {
    Arg::Text(text.to_owned())
}

/// A vector of data.
fn vector(tag: StructTag, elements: &[Value]) -> Arg {
    let mut contents = vec![byte(elements.len() as u64)];
    contents.extend(elements.iter().flat_map(|element| element.contents.clone()));
    let form = Form::Vector;
    Arg::Object(Value {
        tag,
        form,
        contents,
    })
}

impl Stage<'_> {
    pub(super) fn govern(&mut self, name: &str, n: &[u64]) -> Result<(), Stop> {
        match name {
            "open" => self.administer("open_pool", Vec::new()),
            "set_minimum_stake" | "set_unbonding" | "set_reporter_share" => {
                let more = vec![Arg::U64(n[0]).into(), self.clock().into()];
                self.administer(name, more)
            }
            "set_seal_token_lifetime" => self.administer(name, vec![Arg::U64(n[0]).into()]),
            "set_offence" => {
                let reason = Arg::U16(u16::try_from(n[0]).unwrap());
                let (share, cap) = (Arg::U64(n[1]), Arg::U64(n[2]));
                let more = [reason, share, cap, Arg::Bool(n[3] == 1), self.clock()];
                self.administer(name, more.map(Given::from).into())
            }
            "withdraw_treasury" => {
                let given = vec![
                    Place::Pool.into(),
                    Place::Treasury.into(),
                    Place::Admin.into(),
                    Arg::U64(n[0]).into(),
                ];
                self.call(admin(), "administration::withdraw_treasury", given)?;
                Ok(())
            }
            "new_slasher" => {
                let given = vec![Place::Pool.into(), Place::Admin.into(), self.clock().into()];
                let mut made = self.call(admin(), "administration::new_slasher_cap", given)?;
                let shown = 0xd0 + self.slashers_made;
                self.slashers_made += 1;
                self.keep(Place::Slasher, made.remove(0), shown);
                Ok(())
            }
            "revoke_slasher" => {
                let slasher = Arg::Address(self.place(Place::Slasher).id()).into();
                self.administer("revoke_slasher_cap", vec![slasher])
            }
            "update_pcrs" | "retire" | "set_minimum_config_version" | "revoke_registrar" => {
                self.of_config(name, n)
            }
            "register" => self.register(n[0], n[1]),
            "list_master" | "remove_master" | "remove_retired_master" => self.of_directory(name, n),
            "approve" => self.approve(n[0], n[1], n[2]),
            "revoke_release_cap" => {
                let cap = Arg::Address(self.place(Place::ReleaseCap).id()).into();
                let given = vec![
                    Place::Registry.into(),
                    Place::Pool.into(),
                    Place::Admin.into(),
                    cap,
                ];
                self.call(admin(), "releases::revoke_release_cap", given)?;
                Ok(())
            }
            "lower_minimum" => {
                let given = vec![
                    Place::Registry.into(),
                    Place::Pool.into(),
                    Place::Admin.into(),
                    Arg::Object(self.version(n[0])?).into(),
                ];
                self.call(admin(), "releases::lower_minimum", given)?;
                Ok(())
            }
            "revoke" | "set_minimum" => {
                let deadline = Arg::U64(self.now_ms + n[1]).into();
                self.of_registry(name, n[0], vec![deadline])
            }
            "remove" => self.of_registry(name, n[0], Vec::new()),
            other => panic!("no step {other}"),
        }
    }

    fn administer(&mut self, name: &str, more: Vec<Given>) -> Result<(), Stop> {
        let mut given = vec![Place::Pool.into(), Place::Admin.into()];
        given.extend(more);
        self.call(admin(), &format!("administration::{name}"), given)?;
        Ok(())
    }

    fn of_config(&mut self, name: &str, n: &[u64]) -> Result<(), Stop> {
        let mut given = vec![
            Place::Config.into(),
            Place::Pool.into(),
            Place::Admin.into(),
        ];
        let function = match name {
            "update_pcrs" => {
                let pcr = || bytes(byte(n[0]), usize::try_from(n[1]).unwrap());
                given.extend([pcr(), pcr(), pcr(), self.clock().into()]);
                "update_pcrs"
            }
            "retire" => {
                given.push(Place::Enclave(n[0]).into());
                "retire"
            }
            "set_minimum_config_version" => {
                let successor = Place::Enclave(n[1]).into();
                given.extend([Arg::U64(n[0]).into(), successor, self.clock().into()]);
                "set_minimum_config_version"
            }
            _ => {
                given.push(Arg::Address(self.place(Place::Registrar).id()).into());
                "revoke_registrar_cap"
            }
        };
        self.call(admin(), &format!("enclave::{function}"), given)?;
        Ok(())
    }

    fn register(&mut self, master: u64, form: u64) -> Result<(), Stop> {
        let mut public_key = match master {
            0 => [&[0][..], self.secret.public_key().inner()].concat(),
            1 => [&[2][..], self.p256.public_key().inner()].concat(),
            _ => junk_key(0x80 + byte(master)),
        };
        if form == 1 {
            public_key.pop();
        }
        let digest = |byte, wrong| bytes(byte, if form == wrong { 31 } else { 32 });
        let given = vec![
            Place::Config.into(),
            Place::Pool.into(),
            Place::Registrar.into(),
            Arg::Bytes(public_key).into(),
            digest(0x72, 2),
            digest(0x73, 3),
            self.clock().into(),
        ];
        let mut made = self.call(admin(), "enclave::register_by_capability", given)?;
        self.keep(Place::Enclave(master), made.remove(0), 0x30 + byte(master));
        Ok(())
    }

    fn of_directory(&mut self, name: &str, n: &[u64]) -> Result<(), Stop> {
        let mut given = vec![Place::Directory.into()];
        let enclave = Place::Enclave(n[0]);
        let mut who = admin();
        match name {
            "list_master" => {
                let url = match n[1] {
                    1 => "https://m.example.org",
                    _ => "http://m.example.org/",
                };
                given.extend([Place::Pool, Place::Admin, Place::Config, enclave].map(Given::from));
                given.push(text(url).into());
            }
            "remove_master" => {
                let enclave = Arg::Address(self.place(enclave).id());
                given.extend([Place::Pool, Place::Admin].map(Given::from));
                given.push(enclave.into());
            }
            _ => {
                who = sender(0, 3);
                given.extend([Place::Config, enclave].map(Given::from));
            }
        }
        self.call(who, &format!("k8s_gateway::{name}"), given)?;
        Ok(())
    }

    fn of_registry(&mut self, name: &str, patch: u64, more: Vec<Given>) -> Result<(), Stop> {
        let version = self.version(patch)?;
        let mut given = vec![
            Place::Registry.into(),
            Place::ReleaseCap.into(),
            Arg::Object(version).into(),
        ];
        given.extend(more);
        given.push(self.clock().into());
        self.call(admin(), &format!("releases::{name}"), given)?;
        Ok(())
    }

    fn version(&mut self, patch: u64) -> Result<Value, Stop> {
        let numbers = [0, 1, u32::try_from(patch).unwrap()].map(|number| Arg::U32(number).into());
        self.part("release_version", numbers.into())
    }

    /// A part of a release, as its constructor makes it.
    fn part(&mut self, name: &str, given: Vec<Given>) -> Result<Value, Stop> {
        Ok(self
            .call(admin(), &format!("releases::{name}"), given)?
            .remove(0))
    }

    fn image(&mut self, target: &str, number: u64, form: u64) -> Result<Value, Stop> {
        let first = match form {
            2 => LONG,
            6 => "boot",
            _ => "",
        };
        let more: &[&str] = match form {
            7 => &[""],
            13 => &["boot"],
            15 => &["a", "b", "c", "d"],
            _ => &[],
        };
        let digest = |number| bytes(byte(number), 32);
        let mut pcr11 = vec![self.part("phase_pcr", vec![text(first).into(), digest(number)])?];
        for phases in more {
            let given = vec![text(phases).into(), digest(number + 100)];
            pcr11.push(self.part("phase_pcr", given)?);
        }
        let mut launch = Vec::new();
        for _ in 0..if form == 5 { 5 } else { 1 } {
            let tee = Arg::U8(if form == 4 { 3 } else { 1 });
            launch.push(self.part("launch_measurement", vec![tee.into(), bytes(7, 48)])?);
        }
        let target = if form == 1 { "" } else { target };
        let architecture = if form == 16 { LONG } else { "x86_64" };
        let given = vec![
            text(target).into(),
            text(architecture).into(),
            digest(if form == 3 { 0 } else { 1 }),
            vector(PhasePcr::tag(self.package), &pcr11).into(),
            vector(LaunchMeasurement::tag(self.package), &launch).into(),
        ];
        self.part("image", given)
    }

    /// In one of several forms, as the Move tests have them: 0 and 13 are as they should be.
    fn approve(&mut self, patch: u64, number: u64, form: u64) -> Result<(), Stop> {
        let mut images = vec![self.image("disk", number, form)?];
        if form == 9 {
            images.push(self.image("disk", number + 1, form)?);
        } else if number.is_multiple_of(2) {
            images.push(self.image("netboot", number + 1, form)?);
        }
        if form == 8 {
            images.clear();
        }
        let place = match form {
            11 => "http://r.example.org/".to_owned(),
            14 => format!("https://r.example.org/{}", "x".repeat(236)),
            _ => "https://r.example.org/".to_owned(),
        };
        let more = vec![
            vector(Image::tag(self.package), &images).into(),
            bytes(3, if form == 10 { 31 } else { 32 }),
            Arg::Texts(vec![place; if form == 12 { 5 } else { 1 }]).into(),
        ];
        self.of_registry("approve", patch, more)
    }
}
