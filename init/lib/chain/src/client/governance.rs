//! Reading what the pool's administrator keeps on the chain: the directory of masters, and the
//! registry of releases.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;

use chain_types::ObjectId;
use sui_sdk_types::Address as SuiAddress;

use super::read::{shared, version_known};
use super::registry::releases;
use super::{Chain, id};
use crate::abi::{self, MoveType};
use crate::error::ChainError;
use crate::key::PublicKey;
use crate::master::Master;
use crate::release::Releases;
use crate::rpc::{Fullnode, ObjectView, present};
use crate::transactions::Shared;

impl Chain {
    /// The current masters of the pool: those that its directory lists and whose enclave's key is
    /// not retired, when two fullnodes say the same, or one where only one is configured.
    ///
    /// A master that is listed and not current is left out; an empty list is a definite answer. So is
    /// one whose enclave can't be read or is not as the directory says, with a warning: one of them
    /// does not keep the others.
    ///
    /// # Errors
    /// [`ChainError::NotFound`] and [`ChainError::WrongObject`] where the object is no directory
    /// of the package and the pool, or where none of its masters is current and one can't be used; [`ChainError::Disagreement`] where fullnodes say different
    /// things; else what a fullnode failed with where too few answer.
    pub async fn corroborated_masters(
        &self,
        directory: ObjectId,
    ) -> Result<Vec<Master>, ChainError> {
        self.corroborated(
            directory,
            |_masters| "this list of masters",
            |fullnode| self.masters_on(fullnode, directory.into()),
            |one, other| one == other,
        )
        .await
    }

    /// The pool's registry of releases, when two fullnodes say the same, or one where only one is
    /// configured.
    ///
    /// # Errors
    /// As for [`Self::corroborated_masters`].
    pub async fn corroborated_releases(&self, registry: ObjectId) -> Result<Releases, ChainError> {
        self.corroborated(
            registry,
            |_releases| "this list of releases",
            |fullnode| async move {
                let (object, registry) = self.registry_on(fullnode, registry.into()).await?;
                releases(&object, registry)
            },
            |one, other| one == other,
        )
        .await
    }

    /// Asks every fullnode, and believes what two of them say, or one where only one is
    /// configured. `claim` is what errors call an answer.
    pub(super) async fn corroborated<'a, T, F>(
        &'a self,
        object: ObjectId,
        claim: impl Fn(&T) -> &'static str,
        read: impl Fn(&'a Fullnode) -> F,
        same: impl Fn(&T, &T) -> bool,
    ) -> Result<T, ChainError>
    where
        F: Future<Output = Result<T, ChainError>>,
    {
        let reads = self.inner.fullnodes.iter().map(|fullnode| {
            let answer = read(fullnode);
            async move {
                fullnode.verify().await?;
                answer.await
            }
        });
        let (mut answers, mut failure) = (Vec::new(), None);
        for answer in futures::future::join_all(reads).await {
            match answer {
                Ok(answer) => answers.push(answer),
                Err(error) => {
                    failure.get_or_insert(error);
                }
            }
        }
        let agreeing = |one: &T| answers.iter().filter(|other| same(one, other)).count();
        let best = answers
            .iter()
            .enumerate()
            .map(|(index, answer)| (agreeing(answer), index))
            .max();
        match (best, failure) {
            (Some((count, index)), _) if count >= self.needed() => Ok(answers.swap_remove(index)),
            (_, Some(failure)) if answers.len() < self.needed() => Err(failure),
            (best, _) => Err(ChainError::Disagreement {
                record: object,
                claim: best
                    .and_then(|(_, index)| answers.get(index))
                    .map_or("anything", claim),
                agreeing: best.map_or(0, |(count, _)| count),
                needed: self.needed(),
                contrary: "another fullnode shows it otherwise".to_owned(),
            }),
        }
    }

    /// The directory, its enclaves, their configurations: three round trips.
    async fn masters_on(
        &self,
        fullnode: &Fullnode,
        directory: SuiAddress,
    ) -> Result<Vec<Master>, ChainError> {
        let (object, directory) = self.directory_on(fullnode, directory).await?;
        let listed = directory.masters.len();
        if listed > abi::gateway::MOST_MASTERS {
            return Err(wrong(
                &object,
                abi::MasterDirectory::NAME,
                format!("{} masters at most", abi::gateway::MOST_MASTERS),
                format!("{listed} masters"),
            ));
        }
        if directory.masters.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<SuiAddress> = directory
            .masters
            .iter()
            .map(|master| master.enclave)
            .collect();
        let mut faults = Faults::default();
        let mut enclaves = Vec::with_capacity(listed);
        for (object, (id, listed)) in
            (fullnode.objects(&ids).await?.into_iter()).zip(ids.iter().zip(&directory.masters))
        {
            let enclave = self.decode_enclave(object, *id);
            if let Some((object, enclave)) = faults.keep(id, enclave) {
                enclaves.push((object, enclave, listed));
            }
        }
        let ids: BTreeSet<SuiAddress> =
            (enclaves.iter().map(|(_, enclave, _)| enclave.config)).collect();
        let ids: Vec<SuiAddress> = ids.into_iter().collect();
        let objects = match ids.as_slice() {
            [] => Vec::new(),
            ids => fullnode.objects(ids).await?,
        };
        let mut configs = BTreeMap::new();
        for (object, id) in objects.into_iter().zip(&ids) {
            let config = self.decode_config(object, *id);
            configs.extend(faults.keep(id, config).map(|config| (*id, config)));
        }
        let mut masters = Vec::with_capacity(listed);
        for (object, enclave, listed) in &enclaves {
            let Some(config) = configs.get(&enclave.config) else {
                continue;
            };
            match self.not_current(enclave, config) {
                None => {
                    masters.extend(faults.keep(&listed.enclave, master(object, listed, enclave)))
                }
                Some(why) => {
                    tracing::debug!(url = ?listed.url, enclave = %object.id, why, "not current");
                }
            }
        }
        match faults.0 {
            Some(fault) if masters.is_empty() => Err(fault),
            _ => Ok(masters),
        }
    }

    fn decode_enclave(
        &self,
        object: Option<ObjectView>,
        id: SuiAddress,
    ) -> Result<(ObjectView, abi::Enclave), ChainError> {
        let object = present(object, "enclave", id.into())?;
        let enclave: abi::Enclave = object.decode(self.inner.package)?;
        version_known(&object, abi::Enclave::NAME, enclave.version)?;
        Ok((object, enclave))
    }

    fn decode_config(
        &self,
        object: Option<ObjectView>,
        id: SuiAddress,
    ) -> Result<abi::EnclaveConfig, ChainError> {
        let object = present(object, "enclave configuration", id.into())?;
        let config: abi::EnclaveConfig = object.decode(self.inner.package)?;
        version_known(&object, abi::EnclaveConfig::NAME, config.version)?;
        Ok(config)
    }

    /// Why an enclave's key does not count; `None` where it does.
    fn not_current(
        &self,
        enclave: &abi::Enclave,
        config: &abi::EnclaveConfig,
    ) -> Option<&'static str> {
        if config.pool != self.inner.pool {
            Some("its configuration is another pool's")
        } else if enclave.retired {
            Some("it is retired")
        } else if enclave.config_version < config.minimum_config_version {
            Some("its configuration's version is retired")
        } else {
            None
        }
    }

    async fn directory_on(
        &self,
        fullnode: &Fullnode,
        directory: SuiAddress,
    ) -> Result<(ObjectView, abi::MasterDirectory), ChainError> {
        let object = present(
            fullnode.object(directory).await?,
            "master directory",
            id(directory),
        )?;
        let directory: abi::MasterDirectory = object.decode(self.inner.package)?;
        self.governs(
            &object,
            abi::MasterDirectory::NAME,
            directory.version,
            directory.pool,
        )?;
        Ok((object, directory))
    }

    pub(super) async fn registry_on(
        &self,
        fullnode: &Fullnode,
        registry: SuiAddress,
    ) -> Result<(ObjectView, abi::ReleaseRegistry), ChainError> {
        let object = present(
            fullnode.object(registry).await?,
            "release registry",
            id(registry),
        )?;
        let registry: abi::ReleaseRegistry = object.decode(self.inner.package)?;
        self.governs(
            &object,
            abi::ReleaseRegistry::NAME,
            registry.version,
            registry.pool,
        )?;
        Ok((object, registry))
    }

    /// How transactions name a directory of this pool.
    pub(super) async fn shared_directory(
        &self,
        fullnode: &Fullnode,
        directory: ObjectId,
    ) -> Result<Shared, ChainError> {
        let (object, _) = self.directory_on(fullnode, directory.into()).await?;
        shared(&object, abi::MasterDirectory::NAME)
    }

    /// An enclave and its configuration, as transactions name them; the configuration is this
    /// pool's.
    pub(super) async fn shared_enclave(
        &self,
        fullnode: &Fullnode,
        enclave: ObjectId,
    ) -> Result<(Shared, Shared), ChainError> {
        let object = present(fullnode.object(enclave.into()).await?, "enclave", enclave)?;
        let decoded: abi::Enclave = object.decode(self.inner.package)?;
        let config = self.shared_config(fullnode, decoded.config).await?;
        Ok((shared(&object, abi::Enclave::NAME)?, config))
    }

    pub(super) async fn shared_config(
        &self,
        fullnode: &Fullnode,
        config: SuiAddress,
    ) -> Result<Shared, ChainError> {
        const WHAT: &str = abi::EnclaveConfig::NAME;
        let object = present(
            fullnode.object(config).await?,
            "enclave configuration",
            id(config),
        )?;
        let config: abi::EnclaveConfig = object.decode(self.inner.package)?;
        self.governs(&object, WHAT, config.version, config.pool)?;
        shared(&object, WHAT)
    }

    /// Whether a shared object is of a version that is known, and of this pool.
    fn governs(
        &self,
        object: &ObjectView,
        what: &'static str,
        version: u64,
        pool: SuiAddress,
    ) -> Result<(), ChainError> {
        version_known(object, what, version)?;
        shared(object, what)?;
        if pool == self.inner.pool {
            return Ok(());
        }
        Err(wrong(
            object,
            what,
            format!("pool {}", self.inner.pool),
            format!("pool {pool}"),
        ))
    }
}

/// What is wrong with masters that a directory lists: each is told, the first is kept.
#[derive(Default)]
struct Faults(Option<ChainError>);

impl Faults {
    fn keep<T>(&mut self, object: &SuiAddress, read: Result<T, ChainError>) -> Option<T> {
        match read {
            Ok(read) => Some(read),
            Err(fault) => {
                tracing::warn!(%object, %fault, "a listed master can't be used, and is left out");
                self.0.get_or_insert(fault);
                None
            }
        }
    }
}

pub(super) fn wrong(
    object: &ObjectView,
    what: &'static str,
    expected: String,
    found: String,
) -> ChainError {
    ChainError::WrongObject {
        what,
        id: id(object.id),
        expected,
        found,
    }
}

/// A listed enclave as a master, if the directory says of it what it says itself.
fn master(
    object: &ObjectView,
    listed: &abi::MasterInfo,
    enclave: &abi::Enclave,
) -> Result<Master, ChainError> {
    const WHAT: &str = abi::Enclave::NAME;
    let url = &listed.url;
    let usable = url.starts_with("https://")
        && url.len() <= abi::gateway::LONGEST_URL
        && url.bytes().all(|byte| byte.is_ascii_graphic());
    if !usable {
        return Err(wrong(
            object,
            WHAT,
            format!(
                "an https URL of {} bytes at most",
                abi::gateway::LONGEST_URL
            ),
            format!("one of {} bytes that is none", url.len()),
        ));
    }
    if enclave.public_key != listed.public_key || enclave.tls_key_sha256 != listed.tls_key_sha256 {
        return Err(wrong(
            object,
            WHAT,
            "the keys that the directory lists".to_owned(),
            "other keys".to_owned(),
        ));
    }
    Ok(Master {
        url: url.clone(),
        enclave: id(object.id),
        public_key: PublicKey::from_flagged_bytes(&enclave.public_key).map_err(|error| {
            wrong(
                object,
                WHAT,
                "a flag byte and a public key".to_owned(),
                error.to_string(),
            )
        })?,
        tls_key_sha256: digest(object, WHAT, "TLS key's digest", &enclave.tls_key_sha256)?,
    })
}

pub(super) fn digest<const LENGTH: usize>(
    object: &ObjectView,
    what: &'static str,
    field: &'static str,
    bytes: &[u8],
) -> Result<[u8; LENGTH], ChainError> {
    bytes.try_into().map_err(|_error| {
        wrong(
            object,
            what,
            format!("a {field} of {LENGTH} bytes"),
            format!("one of {} bytes", bytes.len()),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Servers spawn what asks the chain.
    #[test]
    fn reads_can_be_spawned() {
        fn spawnable<F: Future + Send>(_ask: impl Fn(Chain, ObjectId) -> F) {}
        spawnable(async |chain: Chain, id| chain.corroborated_masters(id).await);
        spawnable(async |chain: Chain, id| chain.corroborated_releases(id).await);
        spawnable(async |chain: Chain, id| chain.corroborated_stake_of_token(id).await);
    }
}
