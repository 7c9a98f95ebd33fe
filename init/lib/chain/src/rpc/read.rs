//! Reads: objects, coins, prices.

use chain_types::{Mist, ObjectId};
use sui_rpc::field::{FieldMask, FieldMaskUtil};
use sui_rpc::proto::sui::rpc::v2 as proto;
use sui_sdk_types::{Address, Digest, ObjectReference, Owner as SuiOwner, StructTag};
use tonic::Code;

use super::Fullnode;
use crate::abi::{self, MoveType};
use crate::error::ChainError;

/// Fields of an object that are asked for.
const OBJECT_FIELDS: [&str; 6] = [
    "object_id",
    "version",
    "digest",
    "owner",
    "object_type",
    "contents",
];

/// Objects of one page, and how many pages are turned.
const PAGE: u32 = 100;
const MOST_PAGES: usize = 50;

/// An object, its contents still in BCS.
#[derive(Debug, Clone)]
pub(crate) struct ObjectView {
    pub(crate) id: Address,
    pub(crate) version: u64,
    pub(crate) digest: Digest,
    pub(crate) owner: Owner,
    pub(crate) object_type: StructTag,
    pub(crate) contents: Vec<u8>,
}

/// Who may use an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// This account alone.
    Address(Address),
    /// Everyone, by consensus; shared since this version.
    Shared(u64),
    /// Anything else, which nothing here uses.
    Other,
}

impl ObjectView {
    /// The reference that a transaction names an owned object by.
    pub(crate) fn reference(&self) -> ObjectReference {
        ObjectReference::new(self.id, self.version, self.digest)
    }

    /// Reads the contents as a type of the package, and nothing else.
    pub(crate) fn decode<T>(&self, package: Address) -> Result<T, ChainError>
    where
        T: MoveType + serde::de::DeserializeOwned,
    {
        let expected = T::tag(package);
        let wrong = |expected: String, found: String| ChainError::WrongObject {
            what: T::NAME,
            id: self.id.into(),
            expected,
            found,
        };
        if self.object_type != expected {
            return Err(wrong(expected.to_string(), self.object_type.to_string()));
        }
        bcs::from_bytes(&self.contents).map_err(|error| {
            wrong(
                format!("the layout of version {}", abi::VERSION),
                super::bounded(&format!(
                    "{} bytes that do not fit ({error})",
                    self.contents.len()
                )),
            )
        })
    }
}

impl Fullnode {
    /// The object as it is now; `None` where there is none, or none any more.
    pub(crate) async fn object(&self, id: Address) -> Result<Option<ObjectView>, ChainError> {
        const CALL: &str = "GetObject";
        let request =
            proto::GetObjectRequest::new(&id).with_read_mask(FieldMask::from_paths(OBJECT_FIELDS));
        let result = self
            .call(CALL, async |mut client| {
                match client.ledger_client().get_object(request).await {
                    Ok(response) => Ok(response.map(Some)),
                    Err(status) if status.code() == Code::NotFound => {
                        Ok(tonic::Response::new(None))
                    }
                    Err(status) => Err(status),
                }
            })
            .await?;
        let Some(response) = result else {
            return Ok(None);
        };
        let object = self.view(CALL, response.object())?;
        if object.id != id {
            return Err(self.invalid(CALL, format!("asked for {id}, got {}", object.id)));
        }
        Ok(Some(object))
    }

    /// Several objects as they are now, in the order of the ids.
    pub(crate) async fn objects(
        &self,
        ids: &[Address],
    ) -> Result<Vec<Option<ObjectView>>, ChainError> {
        const CALL: &str = "BatchGetObjects";
        let requests = ids.iter().map(proto::GetObjectRequest::new).collect();
        let request = proto::BatchGetObjectsRequest::default()
            .with_requests(requests)
            .with_read_mask(FieldMask::from_paths(OBJECT_FIELDS));
        let response = self
            .call(CALL, async |mut client| {
                client.ledger_client().batch_get_objects(request).await
            })
            .await?;
        if response.objects.len() != ids.len() {
            return Err(self.invalid(
                CALL,
                format!(
                    "asked for {} objects, got {}",
                    ids.len(),
                    response.objects.len()
                ),
            ));
        }
        let mut objects = Vec::with_capacity(ids.len());
        for (id, result) in ids.iter().zip(response.objects) {
            let object = match result.to_result() {
                Ok(object) => Some(self.view(CALL, &object)?),
                Err(status) if status.code == i32::from(Code::NotFound) => None,
                Err(status) => {
                    let status = tonic::Status::new(Code::from_i32(status.code), status.message);
                    return Err(self.failure(CALL, &status));
                }
            };
            if object.as_ref().is_some_and(|object| object.id != *id) {
                return Err(self.invalid(CALL, format!("asked for {id}, got another object")));
            }
            objects.push(object);
        }
        Ok(objects)
    }

    /// The objects of a type that an account owns, up to the bound of pages. Coins come with the
    /// largest first (Sui's owner index).
    pub(crate) async fn owned(
        &self,
        owner: Address,
        object_type: &StructTag,
    ) -> Result<Vec<ObjectView>, ChainError> {
        const CALL: &str = "ListOwnedObjects";
        let mut request = proto::ListOwnedObjectsRequest::default()
            .with_owner(owner.to_string())
            .with_object_type(object_type.to_string())
            .with_page_size(PAGE)
            .with_read_mask(FieldMask::from_paths(OBJECT_FIELDS));
        let mut objects = Vec::new();
        for _page in 0..MOST_PAGES {
            let page_request = request.clone();
            let page = self
                .call(CALL, async |mut client| {
                    client.state_client().list_owned_objects(page_request).await
                })
                .await?;
            for object in &page.objects {
                let object = self.view(CALL, object)?;
                if object.owner != Owner::Address(owner) || object.object_type != *object_type {
                    return Err(self.invalid(CALL, "an object of another owner or type"));
                }
                objects.push(object);
            }
            match page.next_page_token {
                None => return Ok(objects),
                Some(token) => request.page_token = Some(token),
            }
        }
        // anybody can send dust; what was read has to do
        tracing::warn!(
            fullnode = self.url(), %owner, %object_type, read = objects.len(),
            "the account owns more objects than are looked at"
        );
        Ok(objects)
    }

    /// All SUI that an account can spend.
    pub(crate) async fn balance(&self, owner: Address) -> Result<Mist, ChainError> {
        let request = proto::GetBalanceRequest::default()
            .with_owner(owner.to_string())
            .with_coin_type(StructTag::sui().to_string());
        let response = self
            .call("GetBalance", async |mut client| {
                client.state_client().get_balance(request).await
            })
            .await?;
        Ok(Mist(response.balance().balance()))
    }

    /// The current epoch, and the price of a unit of gas in it, in MIST.
    pub(crate) async fn epoch(&self) -> Result<(u64, u64), ChainError> {
        const CALL: &str = "GetEpoch";
        let request = proto::GetEpochRequest::latest()
            .with_read_mask(FieldMask::from_paths(["epoch", "reference_gas_price"]));
        let response = self
            .call(CALL, async |mut client| {
                client.ledger_client().get_epoch(request).await
            })
            .await?;
        let epoch = response.epoch();
        match (epoch.epoch_opt(), epoch.reference_gas_price_opt()) {
            (Some(number), Some(price)) if price > 0 => Ok((number, price)),
            _ => Err(self.invalid(CALL, "no epoch or no gas price")),
        }
    }

    pub(super) fn view(
        &self,
        call: &'static str,
        object: &proto::Object,
    ) -> Result<ObjectView, ChainError> {
        let invalid = |field: &'static str| self.invalid(call, format!("no usable {field}"));
        let owner = object.owner.as_ref().ok_or_else(|| invalid("owner"))?;
        let view = ObjectView {
            id: object
                .object_id()
                .parse()
                .map_err(|_error| invalid("object_id"))?,
            version: object.version_opt().ok_or_else(|| invalid("version"))?,
            digest: object
                .digest()
                .parse()
                .map_err(|_error| invalid("digest"))?,
            owner: match SuiOwner::try_from(owner) {
                Ok(SuiOwner::Address(address)) => Owner::Address(address),
                Ok(SuiOwner::Shared(version)) => Owner::Shared(version),
                Ok(_) => Owner::Other,
                Err(_error) => return Err(invalid("owner")),
            },
            object_type: object
                .object_type()
                .parse()
                .map_err(|_error| invalid("object_type"))?,
            contents: object.contents().value().to_vec(),
        };
        // the first field of every object is its id
        if view.contents.get(..Address::LENGTH) != Some(view.id.as_bytes()) {
            return Err(invalid("contents"));
        }
        Ok(view)
    }
}

impl TryFrom<&ObjectView> for abi::Coin {
    type Error = bcs::Error;

    fn try_from(object: &ObjectView) -> Result<Self, bcs::Error> {
        bcs::from_bytes(&object.contents)
    }
}

/// The object, or an error that names it.
pub(crate) fn present(
    object: Option<ObjectView>,
    what: &'static str,
    id: ObjectId,
) -> Result<ObjectView, ChainError> {
    object.ok_or(ChainError::NotFound { what, id })
}
