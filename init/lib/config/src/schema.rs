//! A document's way into types.

use std::net::SocketAddr;
use std::ops::Range;

use node_settings::{ChainConfig, IdentityConfig, MasterConfig};
use toml::Spanned;

use crate::certificates::certificates;
use crate::configuration::{NodeConfig, PublicConfig, SealMethod};
use crate::document::{Chain, Document, Identity, error, read};
use crate::error::{ConfigError, Problem, line_of};
use crate::values::{self, DEFAULT_STATUS_LISTEN, Expectation};

/// Collects problems while the document is turned into types.
pub(crate) struct Checker<'a> {
    text: &'a str,
    pub(crate) problems: Vec<Problem>,
}

impl Checker<'_> {
    pub(crate) fn add(
        &mut self,
        span: Option<Range<usize>>,
        field: &str,
        found: String,
        why: Expectation,
    ) {
        self.problems.push(Problem {
            line: span.map(|span| line_of(self.text, span.start)),
            field: field.to_owned(),
            found,
            expected: why.expected.to_owned(),
            hint: why.hint.to_owned(),
        });
    }

    /// Checks a text field; what is found is repeated, so it must not be a secret.
    pub(crate) fn check<T>(
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

    pub(crate) fn check_all<T>(
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

    fn chain(&mut self, chain: &Chain) -> Option<ChainConfig> {
        let chain_id = self.check("chain.chain_id", &chain.chain_id, values::chain_id);
        let list = chain.fullnodes.get_ref();
        if list.is_empty() || list.len() > values::MAXIMUM_LIST {
            let why = Expectation::new("1 to 8 URLs", "two providers are better than one");
            let found = format!("{} URLs", list.len());
            self.add(Some(chain.fullnodes.span()), "chain.fullnodes", found, why);
        }
        let fullnodes = self.check_all("chain.fullnodes", list, values::server_url);
        let root_certificate = match &chain.root_certificate {
            Some(value) => Some(self.certificate("chain.root_certificate", value)?),
            None => None,
        };
        let package = self.check("chain.package", &chain.package, values::object_id);
        let pool = self.check("chain.pool", &chain.pool, values::object_id);
        if let Some(value) = &chain.payout {
            let why = Expectation::new(
                "chain.beneficiary, its new name",
                "rename it: the stake itself is paid to that address alone, too",
            );
            let found = values::quoted(value.get_ref());
            self.add(Some(value.span()), "chain.payout", found, why);
        }
        let beneficiary = match &chain.beneficiary {
            Some(value) => Some(self.check("chain.beneficiary", value, values::address)?),
            None => None,
        };
        let amount = *chain.stake_mist.get_ref();
        let stake = match values::stake(amount) {
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
            stake: stake?,
            restake: chain.restake,
            beneficiary,
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
        if let (Some(leave), None) = (leave, &chain.beneficiary) {
            let why = Expectation::new(
                "chain.beneficiary beside it, where the key is the TPM's",
                "say which Sui address the coins are for: no other key can send them on",
            );
            self.add(Some(leave.span()), "chain.leave", "true".to_owned(), why);
        }
    }

    fn public(&mut self, document: &Document) -> Option<PublicConfig> {
        let seal = self.seal(document);
        let node_id = self.check("node.id", &document.node.id, values::node_id);
        let network = self.network(&document.network);
        let servers = &document.time.servers;
        let time_servers = self.check_all("time.servers", servers, values::time_server);
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
        let url = self.check("master.url", &document.master.url, values::server_url);
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

impl NodeConfig {
    /// Reads the whole document. `source` is what errors call the file.
    ///
    /// # Errors
    /// [`ConfigError`] with every problem that was found.
    pub fn parse(source: &str, text: &str) -> Result<Self, ConfigError> {
        let document = read(source, text)?;
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
                    "make a key with `sui keytool generate ed25519` and export it, or let the TPM make \
                     one: sui_key = \"tpm\"",
                );
                checker.add(None, "identity", "missing".to_owned(), why);
                None
            }
        };
        let problems = checker.problems;
        match (public, identity, problems.is_empty()) {
            (Some(public), Some(identity), true) => Ok(Self { public, identity }),
            _ => Err(error(source, problems)),
        }
    }
}
