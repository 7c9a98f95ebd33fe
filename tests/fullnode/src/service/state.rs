//! Reads of what accounts own.

use chain::abi::Coin;
use serde::{Deserialize, Serialize};
use sui_rpc::proto::sui::rpc::v2::{self as proto, state_service_server::StateService};
use sui_sdk_types::{Address, Object, Owner, StructTag, TypeTag};
use tonic::{Request, Response, Status};

use super::filter::type_matches;
use super::ledger::render;
use super::{invalid, mask, parse};
use crate::ledger::Node;

/// Limits of the real service.
const DEFAULT_PAGE: u32 = 50;
const MOST_PAGE: u32 = 1000;

/// What a page token holds: where the page ended, and what it was a page of.
#[derive(PartialEq, Serialize, Deserialize)]
struct PageToken {
    last: Place,
    owner: Address,
    object_type: Option<String>,
}

/// Where an object stands among those of an account: coins with the largest first, as in Sui's
/// owner index, everything else by id.
type Place = (u64, Address);

fn place(object: &Object) -> Place {
    let coin = object
        .as_struct()
        .filter(|data| data.object_type().is_coin().is_some())
        .and_then(|data| bcs::from_bytes::<Coin>(data.contents()).ok());
    let inverted = coin.map_or(u64::MAX, |coin| u64::MAX - coin.balance);
    (inverted, object.object_id())
}

#[tonic::async_trait]
impl StateService for Node {
    async fn list_owned_objects(
        &self,
        request: Request<proto::ListOwnedObjectsRequest>,
    ) -> Result<Response<proto::ListOwnedObjectsResponse>, Status> {
        let request = request.into_inner();
        let owner: Address = parse("owner", request.owner.as_deref())?;
        let wanted: Option<StructTag> = match request.object_type.as_deref() {
            None => None,
            some => Some(parse("object_type", some)?),
        };
        let mask = mask::of::<proto::Object>(request.read_mask, "object_id,version,object_type")?;
        let size = request
            .page_size
            .unwrap_or(DEFAULT_PAGE)
            .clamp(1, MOST_PAGE);
        let size = usize::try_from(size).unwrap_or(1);
        let after = match &request.page_token {
            None => None,
            Some(token) => {
                let token: PageToken = bcs::from_bytes(token)
                    .map_err(|_error| invalid("page_token", "invalid page_token"))?;
                if token.owner != owner || token.object_type != request.object_type {
                    return Err(invalid("page_token", "it belongs to another request"));
                }
                Some(token.last)
            }
        };
        let mut page: Vec<Object> = self
            .ledger()
            .visible_after(None)
            .filter(|object| *object.owner() == Owner::Address(owner))
            .filter(|object| {
                wanted.as_ref().is_none_or(|wanted| {
                    object
                        .as_struct()
                        .is_some_and(|data| type_matches(wanted, data.object_type()))
                })
            })
            .filter(|object| after.is_none_or(|after| place(object) > after))
            .cloned()
            .collect();
        page.sort_by_key(place);
        let more = page.len() > size;
        page.truncate(size);
        let mut response = proto::ListOwnedObjectsResponse::default();
        if let Some(last) = page.last().filter(|_| more) {
            let token = PageToken {
                last: place(last),
                owner,
                object_type: request.object_type,
            };
            let token =
                bcs::to_bytes(&token).map_err(|error| Status::internal(error.to_string()))?;
            response.next_page_token = Some(token.into());
        }
        response.objects = page.iter().map(|object| render(object, &mask)).collect();
        Ok(self.answer(response))
    }

    async fn get_balance(
        &self,
        request: Request<proto::GetBalanceRequest>,
    ) -> Result<Response<proto::GetBalanceResponse>, Status> {
        let request = request.into_inner();
        let owner: Address = parse("owner", request.owner.as_deref())?;
        let coin: TypeTag = parse("coin_type", request.coin_type.as_deref())?;
        let coin_type = StructTag::coin(coin.clone());
        let total = self
            .ledger()
            .visible_after(None)
            .filter(|object| *object.owner() == Owner::Address(owner))
            .filter_map(Object::as_struct)
            .filter(|data| *data.object_type() == coin_type)
            .filter_map(|data| bcs::from_bytes::<Coin>(data.contents()).ok())
            .fold(0u64, |sum, coin| sum.saturating_add(coin.balance));
        let mut balance = proto::Balance::default();
        balance.coin_type = Some(coin.to_string());
        balance.balance = Some(total);
        balance.coin_balance = Some(total);
        balance.address_balance = Some(0);
        let mut response = proto::GetBalanceResponse::default();
        response.balance = Some(balance);
        Ok(self.answer(response))
    }
}
