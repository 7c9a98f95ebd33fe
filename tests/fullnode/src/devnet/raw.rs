//! A client without manners: sends what it is told to.

use chain::NodeKey;
use sui_crypto::SuiSigner;
use sui_crypto::ed25519::Ed25519PrivateKey;
use sui_rpc::Client;
use sui_rpc::field::{FieldMask, FieldMaskUtil};
use sui_rpc::proto::sui::rpc::v2::*;
use sui_sdk_types::{Address, Identifier, ObjectReference, StructTag, Transaction, UserSignature};
use sui_transaction_builder::{Argument, Function, ObjectInput, TransactionBuilder};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};

use super::Devnet;

/// Sends transactions that are put together command by command.
pub struct Raw {
    /// Its connection.
    pub client: Client,
    /// The package `k3s_daas`.
    pub package: Address,
    pool: Address,
    cap: Address,
}

impl Raw {
    /// Connects when it is first used.
    pub fn connect(devnet: &Devnet) -> Self {
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&devnet.root_pem));
        let endpoint = Endpoint::from_shared(devnet.url())
            .unwrap()
            .tls_config(tls)
            .unwrap();
        Self {
            client: Client::from_endpoint(&endpoint),
            package: devnet.config.package.into(),
            pool: devnet.config.pool.into(),
            cap: devnet.config.slasher_cap.into(),
        }
    }

    /// The coins of an account, largest first.
    pub async fn coins(&mut self, owner: Address) -> Vec<ObjectReference> {
        let request = ListOwnedObjectsRequest::default()
            .with_owner(owner.to_string())
            .with_object_type(StructTag::gas_coin().to_string())
            .with_read_mask(FieldMask::from_str("object_id,version,digest,balance"));
        let response = self
            .client
            .state_client()
            .list_owned_objects(request)
            .await
            .unwrap();
        let mut objects = response.into_inner().objects;
        objects.sort_by_key(|object| std::cmp::Reverse(object.balance()));
        objects.iter().map(reference).collect()
    }

    /// An object as a transaction names it.
    pub async fn reference(&mut self, id: Address) -> ObjectReference {
        let request = GetObjectRequest::new(&id);
        let response = self
            .client
            .ledger_client()
            .get_object(request)
            .await
            .unwrap();
        reference(response.into_inner().object())
    }

    /// Since which version an object is shared.
    pub async fn shared_since(&mut self, id: Address) -> u64 {
        let request =
            GetObjectRequest::new(&id).with_read_mask(FieldMask::from_str("object_id,owner"));
        let response = self.client.ledger_client().get_object(request).await;
        response.unwrap().into_inner().object().owner().version()
    }

    /// A transaction of these commands, paid with these coins.
    pub fn build(
        &self,
        sender: Address,
        coins: &[ObjectReference],
        commands: impl FnOnce(&Self, &mut TransactionBuilder),
    ) -> Transaction {
        let mut builder = TransactionBuilder::new();
        commands(self, &mut builder);
        builder.set_sender(sender);
        builder.add_gas_objects(coins.iter().map(owned));
        builder.set_gas_price(1000);
        builder.set_gas_budget(50_000_000);
        builder.try_build().unwrap()
    }

    /// A call of `module::function`.
    pub fn call(
        &self,
        tx: &mut TransactionBuilder,
        name: &str,
        arguments: Vec<Argument>,
    ) -> Argument {
        let (module, function) = name.split_once("::").unwrap();
        let function = Function::new(
            self.package,
            Identifier::new(module).unwrap(),
            Identifier::new(function).unwrap(),
        );
        tx.move_call(function, arguments)
    }

    /// The pool.
    pub fn pool(&self, tx: &mut TransactionBuilder, mutable: bool) -> Argument {
        tx.object(ObjectInput::shared(self.pool, 1, mutable))
    }

    /// The chain's clock.
    pub fn clock(&self, tx: &mut TransactionBuilder) -> Argument {
        tx.object(ObjectInput::shared(chain::abi::CLOCK, 1, false))
    }

    /// The slasher's capability.
    pub fn cap(&self) -> Address {
        self.cap
    }

    /// `stake_for_node` with a payment from the gas coin; the record is not placed yet.
    pub fn stake(
        &self,
        tx: &mut TransactionBuilder,
        node_id: &str,
        key: &[u8],
        amount: u64,
    ) -> Argument {
        let gas = tx.gas();
        let amount = tx.pure(&amount);
        let payment = tx.split_coins(gas, vec![amount]);
        // to the node itself; where the key is none, the call is refused before that matters
        let beneficiary = chain::PublicKey::from_flagged_bytes(key)
            .map_or(Address::new([1; 32]), |key| key.address().into());
        let arguments = vec![
            self.pool(tx, true),
            tx.pure(&node_id),
            tx.pure(&key.to_vec()),
            tx.pure(&beneficiary),
            payment[0],
            self.clock(tx),
        ];
        self.call(tx, "staking::stake_for_node", arguments)
    }

    /// Places a record.
    pub fn share(&self, tx: &mut TransactionBuilder, record: Argument) {
        self.call(tx, "staking::share_stake", vec![record]);
    }

    /// Signs and executes; gives the effects.
    ///
    /// # Errors
    /// Why it was not taken.
    pub async fn execute(
        &mut self,
        key: &NodeKey,
        transaction: &Transaction,
    ) -> Result<ExecutedTransaction, tonic::Status> {
        self.submit(transaction, vec![sign(key, transaction)]).await
    }

    /// Executes with these signatures.
    ///
    /// # Errors
    /// Why it was not taken.
    pub async fn submit(
        &mut self,
        transaction: &Transaction,
        signatures: Vec<UserSignature>,
    ) -> Result<ExecutedTransaction, tonic::Status> {
        let request = ExecuteTransactionRequest::new(transaction.clone().into())
            .with_signatures(signatures.into_iter().map(Into::into).collect())
            .with_read_mask(FieldMask::from_str("*"));
        let response = self
            .client
            .execution_client()
            .execute_transaction(request)
            .await?;
        Ok(response.into_inner().transaction().clone())
    }
}

/// Signs a transaction with an ed25519 key.
pub fn sign(key: &NodeKey, transaction: &Transaction) -> UserSignature {
    let text = key.to_suiprivkey().unwrap();
    Ed25519PrivateKey::from_suiprivkey(&text)
        .unwrap()
        .sign_transaction(transaction)
        .unwrap()
}

/// An owned object as a transaction takes it.
pub fn owned(reference: &ObjectReference) -> ObjectInput {
    ObjectInput::owned(
        *reference.object_id(),
        reference.version(),
        *reference.digest(),
    )
}

fn reference(object: &Object) -> ObjectReference {
    ObjectReference::new(
        object.object_id().parse().unwrap(),
        object.version(),
        object.digest().parse().unwrap(),
    )
}
