//! What a pool's administrator, its registrar and its releaser send: the keys of masters, and the
//! releases that count.

use chain_types::ObjectId;
use sui_sdk_types::ObjectReference;

use super::{Chain, id};
use crate::abi::{self, MoveType};
use crate::error::ChainError;
use crate::key::{NodeKey, PublicKey};
use crate::release::{Release, ReleaseVersion};
use crate::rpc::{Fullnode, present};
use crate::stake::Executed;
use crate::transactions::{Administration, Plan, ReleaseChange};

impl Chain {
    /// Registers the key of a master whose evidence the registrar has verified, and tells where
    /// its enclave is: the configuration is the capability's. A key is registered once, for ever, and
    /// may bring evidence a day later.
    /// `evidence` is the SHA-256 of what was verified.
    ///
    /// # Errors
    /// [`ChainError::Aborted`] where the contract refuses, [`ChainError::NotFound`] and
    /// [`ChainError::WrongObject`] where the capability is none or is another pool's, or what the
    /// conversation fails with. After a retryable error, look whether it was executed.
    pub async fn register_master_key(
        &self,
        registrar: &NodeKey,
        cap: ObjectId,
        public_key: PublicKey,
        tls_key_sha256: [u8; 32],
        evidence: [u8; 32],
    ) -> Result<ObjectId, ChainError> {
        self.transact(registrar, |fullnode| async move {
            let (cap, decoded): (_, abi::RegistrarCap) = self.capability(fullnode, cap).await?;
            Ok(Plan::Administer(Administration::RegisterKey {
                config: self.shared_config(fullnode, decoded.config).await?,
                pool: self.pool_on(fullnode).await?.shared,
                cap,
                public_key: public_key.to_flagged_bytes(),
                tls_key_sha256: tls_key_sha256.to_vec(),
                evidence: evidence.to_vec(),
            }))
        })
        .await?;
        self.on_any(|fullnode| async move {
            let (_, decoded): (_, abi::RegistrarCap) = self.capability(fullnode, cap).await?;
            Ok(id(abi::enclave_id(
                self.inner.package,
                decoded.config,
                &public_key.to_flagged_bytes(),
            )))
        })
        .await
    }

    /// Lists a master, whose enclave is current, in the pool's directory.
    ///
    /// # Errors
    /// As for [`Self::register_master_key`].
    pub async fn list_master(
        &self,
        administrator: &NodeKey,
        cap: ObjectId,
        directory: ObjectId,
        enclave: ObjectId,
        url: &str,
    ) -> Result<Executed, ChainError> {
        self.transact(administrator, |fullnode| async move {
            let (cap, _): (_, abi::AdminCap) = self.capability(fullnode, cap).await?;
            let (enclave, config) = self.shared_enclave(fullnode, enclave).await?;
            Ok(Plan::Administer(Administration::ListMaster {
                directory: self.shared_directory(fullnode, directory).await?,
                pool: self.pool_on(fullnode).await?.shared,
                cap,
                config,
                enclave,
                url: url.to_owned(),
            }))
        })
        .await
    }

    /// Removes a master from the pool's directory.
    ///
    /// # Errors
    /// As for [`Self::register_master_key`].
    pub async fn remove_master(
        &self,
        administrator: &NodeKey,
        cap: ObjectId,
        directory: ObjectId,
        enclave: ObjectId,
    ) -> Result<Executed, ChainError> {
        self.transact(administrator, |fullnode| async move {
            let (cap, _): (_, abi::AdminCap) = self.capability(fullnode, cap).await?;
            Ok(Plan::Administer(Administration::RemoveMaster {
                directory: self.shared_directory(fullnode, directory).await?,
                pool: self.pool_on(fullnode).await?.shared,
                cap,
                enclave: enclave.into(),
            }))
        })
        .await
    }

    /// Retires a master's key, for good.
    ///
    /// # Errors
    /// As for [`Self::register_master_key`].
    pub async fn retire_master_key(
        &self,
        administrator: &NodeKey,
        cap: ObjectId,
        enclave: ObjectId,
    ) -> Result<Executed, ChainError> {
        self.transact(administrator, |fullnode| async move {
            let (cap, _): (_, abi::AdminCap) = self.capability(fullnode, cap).await?;
            let (enclave, config) = self.shared_enclave(fullnode, enclave).await?;
            Ok(Plan::Administer(Administration::RetireKey {
                config,
                pool: self.pool_on(fullnode).await?.shared,
                cap,
                enclave,
            }))
        })
        .await
    }

    /// Approves a release in the capability's registry. A version is approved once;
    /// [`Release::revoked`] and [`Release::gone_by_ms`] are not looked at.
    ///
    /// # Errors
    /// As for [`Self::register_master_key`].
    pub async fn approve_release(
        &self,
        releaser: &NodeKey,
        cap: ObjectId,
        release: &Release,
    ) -> Result<Executed, ChainError> {
        self.change_releases(releaser, cap, ReleaseChange::Approve(release.clone()))
            .await
    }

    /// Revokes a release, for good. It counts until a time, in milliseconds since the Unix epoch; one
    /// that is past: not any more.
    ///
    /// # Errors
    /// As for [`Self::register_master_key`].
    pub async fn revoke_release(
        &self,
        releaser: &NodeKey,
        cap: ObjectId,
        version: ReleaseVersion,
        gone_by_ms: u64,
    ) -> Result<Executed, ChainError> {
        let change = ReleaseChange::Revoke {
            version,
            gone_by_ms,
        };
        self.change_releases(releaser, cap, change).await
    }

    /// Raises the least version, to a release that counts and stays. Earlier ones count until a time,
    /// in milliseconds since the Unix epoch, which is at least a day ahead.
    ///
    /// # Errors
    /// As for [`Self::register_master_key`].
    pub async fn set_minimum_release(
        &self,
        releaser: &NodeKey,
        cap: ObjectId,
        minimum: ReleaseVersion,
        gone_by_ms: u64,
    ) -> Result<Executed, ChainError> {
        let change = ReleaseChange::SetMinimum {
            minimum,
            gone_by_ms,
        };
        self.change_releases(releaser, cap, change).await
    }

    /// Removes a release whose time is over, be it revoked or below the minimum, to make room.
    ///
    /// # Errors
    /// As for [`Self::register_master_key`].
    pub async fn remove_release(
        &self,
        releaser: &NodeKey,
        cap: ObjectId,
        version: ReleaseVersion,
    ) -> Result<Executed, ChainError> {
        self.change_releases(releaser, cap, ReleaseChange::Remove(version))
            .await
    }

    async fn change_releases(
        &self,
        releaser: &NodeKey,
        cap: ObjectId,
        change: ReleaseChange,
    ) -> Result<Executed, ChainError> {
        let change = &change;
        self.transact(releaser, |fullnode| async move {
            let (cap, decoded): (_, abi::ReleaseCap) = self.capability(fullnode, cap).await?;
            let (object, _) = self.registry_on(fullnode, decoded.registry).await?;
            Ok(Plan::Administer(Administration::Releases {
                registry: super::read::shared(&object, abi::ReleaseRegistry::NAME)?,
                cap,
                change: change.clone(),
            }))
        })
        .await
    }

    /// A capability, and how transactions name it.
    async fn capability<T>(
        &self,
        fullnode: &Fullnode,
        cap: ObjectId,
    ) -> Result<(ObjectReference, T), ChainError>
    where
        T: MoveType + serde::de::DeserializeOwned,
    {
        let object = present(fullnode.object(cap.into()).await?, T::NAME, cap)?;
        let decoded = object.decode(self.inner.package)?;
        Ok((object.reference(), decoded))
    }
}
