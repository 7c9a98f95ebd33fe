//! The document as it is written, and its way into types.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;

use serde::Deserialize;
use toml::{Spanned, Table};
use wire::Secret;

use crate::certificates::certificates;
use crate::document::{error, read};
use crate::error::line_of;
use crate::values::{self, Expectation, Interface, Ipv4Cidr, TimeServer};
use crate::{
    ChainConfig, ConfigError, DEFAULT_STATUS_LISTEN, IdentityConfig, MasterConfig, NetworkConfig,
    NetworkMethod, NodeConfig, Problem, PublicConfig, SealMethod,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Document {
    #[serde(rename = "version")]
    _version: i64,
    seal: Option<Spanned<String>>,
    recovery_key: Option<Spanned<bool>>,
    node: Node,
    #[serde(default)]
    network: Network,
    #[serde(default)]
    time: Time,
    chain: Chain,
    identity: Option<Spanned<Identity>>,
    master: Master,
    #[serde(default)]
    status: Status,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Node {
    id: Spanned<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Network {
    method: Option<Spanned<String>>,
    interface: Option<Spanned<String>>,
    address: Option<Spanned<String>>,
    gateway: Option<Spanned<String>>,
    #[serde(default)]
    dns: Vec<Spanned<String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Time {
    #[serde(default)]
    servers: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Chain {
    chain_id: Spanned<String>,
    fullnodes: Spanned<Vec<Spanned<String>>>,
    root_certificate: Option<Spanned<String>>,
    package: Spanned<String>,
    pool: Spanned<String>,
    stake_mist: Spanned<i64>,
    #[serde(default)]
    restake: bool,
    payout: Option<Spanned<String>>,
    leave: Option<Spanned<bool>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Identity {
    sui_key: Spanned<Secret>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Master {
    url: Spanned<String>,
    root_certificate: Spanned<String>,
    directory: Option<Spanned<String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Status {
    listen: Option<Spanned<String>>,
}

/// Collects problems while the document is turned into types.
struct Checker<'a> {
    text: &'a str,
    problems: Vec<Problem>,
}

impl Checker<'_> {
    fn add(&mut self, span: Option<Range<usize>>, field: &str, found: String, why: Expectation) {
        self.problems.push(Problem {
            line: span.map(|span| line_of(self.text, span.start)),
            field: field.to_owned(),
            found,
            expected: why.expected.to_owned(),
            hint: why.hint.to_owned(),
        });
    }

    /// Checks a text field; what is found is repeated, so it must not be a secret.
    fn check<T>(
        &mut self,
        field: &str,
        value: &Spanned<String>,
        read: impl FnOnce(&str) -> Result<T, Expectation>,
    ) -> Option<T> {
        match read(value.get_ref()) {
            Ok(value) => Some(value),
            Err(why) => {
                self.add(
                    Some(value.span()),
                    field,
                    values::quoted(value.get_ref()),
                    why,
                );
                None
            }
        }
    }

    fn check_all<T>(
        &mut self,
        field: &str,
        list: &[Spanned<String>],
        read: impl Fn(&str) -> Result<T, Expectation>,
    ) -> Vec<T> {
        list.iter()
            .enumerate()
            .filter_map(|(index, value)| self.check(&format!("{field}[{index}]"), value, &read))
            .collect()
    }

    fn network(&mut self, network: &Network) -> Option<NetworkConfig> {
        let interface = match &network.interface {
            Some(value) => Some(self.check("network.interface", value, Interface::parse)?),
            None => None,
        };
        let dns = self.check_all("network.dns", &network.dns, values::ipv4);
        let method = match network.method.as_ref() {
            None => "dhcp",
            Some(method) => self.check("network.method", method, values::method)?,
        };
        let method = if method == "dhcp" {
            for (field, value) in [
                ("network.address", &network.address),
                ("network.gateway", &network.gateway),
            ] {
                if let Some(value) = value {
                    let why = Expectation::new(
                        "no such field with DHCP",
                        "set network.method = \"static\", or remove it",
                    );
                    let found = values::quoted(value.get_ref());
                    self.add(Some(value.span()), field, found, why);
                }
            }
            NetworkMethod::Dhcp
        } else {
            self.static_method(network)?
        };
        Some(NetworkConfig {
            interface,
            method,
            dns,
        })
    }

    fn static_method(&mut self, network: &Network) -> Option<NetworkMethod> {
        let Some(address) = &network.address else {
            let why = Expectation::new(
                "an address such as \"192.0.2.10/24\"",
                "a static network needs network.address",
            );
            let span = network.method.as_ref().map(Spanned::span);
            self.add(span, "network.address", "missing".to_owned(), why);
            return None;
        };
        let address = self.check("network.address", address, Ipv4Cidr::parse)?;
        let gateway: Option<Ipv4Addr> = match &network.gateway {
            Some(value) => Some(self.check("network.gateway", value, |text| {
                let gateway = values::ipv4(text)?;
                if address.contains(gateway) && gateway != address.address {
                    Ok(gateway)
                } else {
                    Err(Expectation::new(
                        "another address of the network that network.address names",
                        "check the prefix length behind the slash",
                    ))
                }
            })?),
            None => None,
        };
        Some(NetworkMethod::Static { address, gateway })
    }

    fn chain(&mut self, chain: &Chain) -> Option<ChainConfig> {
        let chain_id = self.check("chain.chain_id", &chain.chain_id, values::chain_id);
        let list = chain.fullnodes.get_ref();
        if list.is_empty() || list.len() > values::MAXIMUM_LIST {
            let why = Expectation::new("1 to 8 URLs", "two providers are better than one");
            let found = format!("{} URLs", list.len());
            self.add(Some(chain.fullnodes.span()), "chain.fullnodes", found, why);
        }
        let fullnodes = self.check_all("chain.fullnodes", list, values::https_url);
        let root_certificate = match &chain.root_certificate {
            Some(value) => Some(self.certificate("chain.root_certificate", value)?),
            None => None,
        };
        let package = self.check("chain.package", &chain.package, values::object_id);
        let pool = self.check("chain.pool", &chain.pool, values::object_id);
        let payout = match &chain.payout {
            Some(value) => Some(self.check("chain.payout", value, values::address)?),
            None => None,
        };
        let amount = *chain.stake_mist.get_ref();
        let stake_mist = match values::stake(amount) {
            Ok(stake) => Some(stake),
            Err(why) => {
                let span = Some(chain.stake_mist.span());
                self.add(span, "chain.stake_mist", amount.to_string(), why);
                None
            }
        };
        Some(ChainConfig {
            chain_id: chain_id?,
            fullnodes,
            root_certificate,
            package: package?,
            pool: pool?,
            stake_mist: stake_mist?,
            restake: chain.restake,
            payout,
            leave: chain.leave.as_ref().is_some_and(|leave| *leave.get_ref()),
        })
    }

    /// A certificate is long: what is found is not repeated.
    fn certificate(&mut self, field: &str, value: &Spanned<String>) -> Option<String> {
        match certificates(value.get_ref()) {
            Ok(certificates) => Some(certificates),
            Err(why) => {
                self.add(
                    Some(value.span()),
                    field,
                    "not a PEM certificate".to_owned(),
                    why,
                );
                None
            }
        }
    }

    fn seal(&mut self, document: &Document) -> Option<SealMethod> {
        let method = match &document.seal {
            None => SealMethod::Tpm,
            Some(value) => self.check("seal", value, values::seal)?,
        };
        if let (SealMethod::None, Some(wanted)) = (method, &document.recovery_key)
            && *wanted.get_ref()
        {
            let why = Expectation::new(
                "no recovery key where nothing is sealed",
                "remove recovery_key, or seal = \"none\"",
            );
            let span = Some(wanted.span());
            self.add(span, "recovery_key", "true".to_owned(), why);
            return None;
        }
        Some(method)
    }

    fn identity(
        &mut self,
        identity: &Identity,
        seal: Option<SealMethod>,
    ) -> Option<IdentityConfig> {
        if identity.sui_key.get_ref().expose() == IdentityConfig::TPM {
            if seal == Some(SealMethod::None) {
                let why = Expectation::new(
                    "a key of its own where nothing is sealed",
                    "a key in the TPM needs a sealed configuration: remove seal = \"none\"",
                );
                let span = Some(identity.sui_key.span());
                self.add(span, "identity.sui_key", "\"tpm\"".to_owned(), why);
                return None;
            }
            return Some(IdentityConfig {
                sui_key: identity.sui_key.get_ref().clone(),
            });
        }
        match values::sui_key(identity.sui_key.get_ref().expose()) {
            Ok(()) => Some(IdentityConfig {
                sui_key: identity.sui_key.get_ref().clone(),
            }),
            Err(why) => {
                let span = Some(identity.sui_key.span());
                self.add(span, "identity.sui_key", "not a usable key".to_owned(), why);
                None
            }
        }
    }

    /// Coins that a TPM's key took back would be out of reach for good.
    fn leave(&mut self, chain: &Chain) {
        let leave = chain.leave.as_ref().filter(|leave| *leave.get_ref());
        if let (Some(leave), None) = (leave, &chain.payout) {
            let why = Expectation::new(
                "chain.payout beside it, where the key is the TPM's",
                "say which Sui address the coins are for: nobody else can send them on",
            );
            self.add(Some(leave.span()), "chain.leave", "true".to_owned(), why);
        }
    }

    fn public(&mut self, document: &Document) -> Option<PublicConfig> {
        let seal = self.seal(document);
        let node_id = self.check("node.id", &document.node.id, values::node_id);
        let network = self.network(&document.network);
        let servers = &document.time.servers;
        let time_servers = self.check_all("time.servers", servers, TimeServer::parse);
        if let Some(first) = servers.get(values::MAXIMUM_LIST) {
            let why = Expectation::new("8 servers at most", "remove some");
            self.add(
                Some(first.span()),
                "time.servers",
                format!("{} servers", servers.len()),
                why,
            );
        }
        let chain = self.chain(&document.chain);
        let url = self.check("master.url", &document.master.url, values::https_url);
        let certificate = &document.master.root_certificate;
        let root_certificate = self.certificate("master.root_certificate", certificate);
        let directory = document
            .master
            .directory
            .as_ref()
            .map(|value| self.check("master.directory", value, values::object_id));
        let status_listen: Option<SocketAddr> = match &document.status.listen {
            Some(value) => self.check("status.listen", value, values::listen),
            None => values::listen(DEFAULT_STATUS_LISTEN).ok(),
        };
        Some(PublicConfig {
            seal: seal?,
            recovery_key: document
                .recovery_key
                .as_ref()
                .is_some_and(|wanted| *wanted.get_ref()),
            node_id: node_id?,
            network: network?,
            time_servers,
            chain: chain?,
            master: MasterConfig {
                url: url?,
                root_certificate: root_certificate?,
                directory: match directory {
                    None => None,
                    Some(directory) => Some(directory?),
                },
            },
            status_listen: status_listen?,
        })
    }
}

pub(crate) fn parse_node(source: &str, text: &str) -> Result<NodeConfig, ConfigError> {
    let (document, table) = read(source, text)?;
    let mut checker = Checker {
        text,
        problems: Vec::new(),
    };
    let public = checker.public(&document);
    let identity = match &document.identity {
        Some(identity) => {
            let seal = public.as_ref().map(|public| public.seal);
            let checked = checker.identity(identity.get_ref(), seal);
            if checked.as_ref().is_some_and(IdentityConfig::is_in_tpm) {
                checker.leave(&document.chain);
            }
            checked
        }
        None => {
            let why = Expectation::new(
                "a table [identity] with sui_key",
                "make a key with `sui keytool generate ed25519` and export it, or let the TPM make one: \
                 sui_key = \"tpm\"",
            );
            checker.add(None, "identity", "missing".to_owned(), why);
            None
        }
    };
    let problems = checker.problems;
    match (
        public,
        identity,
        problems.is_empty(),
        without_secrets(table),
    ) {
        (Some(public), Some(identity), true, Ok(public_toml)) => Ok(NodeConfig {
            public,
            identity,
            public_toml,
        }),
        (.., Err(problem)) => Err(error(source, vec![problem])),
        _ => Err(error(source, problems)),
    }
}

pub(crate) fn parse_public(source: &str, text: &str) -> Result<PublicConfig, ConfigError> {
    let (document, _) = read(source, text)?;
    let mut checker = Checker {
        text,
        problems: Vec::new(),
    };
    let public = checker.public(&document);
    if let Some(identity) = &document.identity {
        let why = Expectation::new("no secrets here", "give the public part of the document");
        checker.add(Some(identity.span()), "identity", "present".to_owned(), why);
    }
    match public {
        Some(public) if checker.problems.is_empty() => Ok(public),
        _ => Err(error(source, checker.problems)),
    }
}

fn without_secrets(mut table: Table) -> Result<String, Problem> {
    drop(table.remove("identity"));
    toml::to_string(&table).map_err(|_| Problem {
        line: None,
        field: String::new(),
        found: "can't be written again without its secrets".to_owned(),
        expected: "plain TOML values".to_owned(),
        hint: String::new(),
    })
}
