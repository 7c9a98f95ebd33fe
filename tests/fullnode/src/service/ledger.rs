//! Reads of the ledger.

use futures::stream;
use sui_rpc::merge::Merge;
use sui_rpc::proto::google::rpc;
use sui_rpc::proto::sui::rpc::v2::{self as proto, ledger_service_server::LedgerService};
use sui_sdk_types::{Address, Digest, Object};
use tonic::codegen::BoxStream;
use tonic::{Code, Request, Response, Status};

use super::filter::Filter;
use super::{CHAIN_NAME, invalid, mask, parse};
use crate::ledger::{Direction, Node, Position, Query, QueryError, timestamp};

/// Limits of the real service.
const MOST_OBJECTS: usize = 1000;
const DEFAULT_EVENTS: u32 = 50;
const MOST_EVENTS: u32 = 1000;

const OBJECT_DEFAULT: &str = "object_id,version,digest";

#[tonic::async_trait]
impl LedgerService for Node {
    async fn get_service_info(
        &self,
        _: Request<proto::GetServiceInfoRequest>,
    ) -> Result<Response<proto::GetServiceInfoResponse>, Status> {
        let mut info = proto::GetServiceInfoResponse::default();
        {
            let ledger = self.ledger();
            let (height, timestamp_ms) = ledger.tip();
            info.chain_id = Some(ledger.terms.chain_id.to_string());
            info.chain = Some(CHAIN_NAME.to_owned());
            info.epoch = Some(ledger.epoch());
            info.checkpoint_height = Some(height);
            info.timestamp = Some(timestamp(timestamp_ms));
            info.lowest_available_checkpoint = Some(0);
            info.lowest_available_checkpoint_objects = Some(0);
            info.server = Some(concat!("fullnode-double/", env!("CARGO_PKG_VERSION")).to_owned());
        }
        Ok(self.answer(info))
    }

    async fn get_epoch(
        &self,
        request: Request<proto::GetEpochRequest>,
    ) -> Result<Response<proto::GetEpochResponse>, Status> {
        let request = request.into_inner();
        let mask = mask::of::<proto::Epoch>(
            request.read_mask,
            "epoch,first_checkpoint,last_checkpoint,start,end,reference_gas_price",
        )?;
        let mut epoch = proto::Epoch::default();
        {
            let ledger = self.ledger();
            let current = ledger.epoch();
            if request.epoch.is_some_and(|wanted| wanted != current) {
                return Err(Status::not_found(
                    "fullnode double: only the current epoch is known",
                ));
            }
            epoch.epoch = Some(current);
            epoch.reference_gas_price = Some(ledger.terms.gas_price);
        }
        Ok(
            self.answer(proto::GetEpochResponse::new(proto::Epoch::merge_from(
                &epoch, &mask,
            ))),
        )
    }

    async fn get_object(
        &self,
        request: Request<proto::GetObjectRequest>,
    ) -> Result<Response<proto::GetObjectResponse>, Status> {
        let request = request.into_inner();
        let mask = mask::of::<proto::Object>(request.read_mask.clone(), OBJECT_DEFAULT)?;
        let object = self.find(&request)?;
        Ok(self.answer(proto::GetObjectResponse::new(render(&object, &mask))))
    }

    async fn batch_get_objects(
        &self,
        request: Request<proto::BatchGetObjectsRequest>,
    ) -> Result<Response<proto::BatchGetObjectsResponse>, Status> {
        let request = request.into_inner();
        let mask = mask::of::<proto::Object>(request.read_mask, OBJECT_DEFAULT)?;
        if request.requests.len() > MOST_OBJECTS {
            return Err(invalid(
                "requests",
                format!("number of batch requests exceeds the limit of {MOST_OBJECTS}"),
            ));
        }
        let results = request
            .requests
            .iter()
            .map(|request| match self.find(request) {
                Ok(object) => proto::GetObjectResult::new_object(render(&object, &mask)),
                Err(status) => proto::GetObjectResult::new_error(rpc::Status {
                    code: status.code().into(),
                    message: status.message().to_owned(),
                    ..Default::default()
                }),
            })
            .collect();
        Ok(self.answer(proto::BatchGetObjectsResponse::new(results)))
    }

    async fn get_transaction(
        &self,
        request: Request<proto::GetTransactionRequest>,
    ) -> Result<Response<proto::GetTransactionResponse>, Status> {
        let request = request.into_inner();
        let digest: Digest = parse("digest", request.digest.as_deref())?;
        let mask = mask::of::<proto::ExecutedTransaction>(request.read_mask, "digest")?;
        let found = self
            .ledger()
            .transaction(&digest)
            .filter(|executed| executed.checkpoint.is_some())
            .map(|executed| proto::ExecutedTransaction::merge_from(executed, &mask));
        match found {
            Some(executed) => Ok(self.answer(proto::GetTransactionResponse::new(executed))),
            None => Err(Status::not_found(format!("Transaction {digest} not found"))),
        }
    }

    async fn list_events(
        &self,
        request: Request<proto::ListEventsRequest>,
    ) -> Result<Response<BoxStream<proto::ListEventsResponse>>, Status> {
        let request = request.into_inner();
        let mask = mask::of::<proto::Event>(
            request.read_mask,
            "checkpoint,transaction_digest,transaction_index,event_index,event_type",
        )?;
        let filter = Filter::parse(request.filter.as_ref())?;
        let options = request.options.unwrap_or_default();
        let query = Query {
            start: request.start_checkpoint,
            end: request.end_checkpoint,
            after: cursor("options.after", options.after.as_deref())?,
            before: cursor("options.before", options.before.as_deref())?,
            limit: usize::try_from(
                options
                    .limit
                    .unwrap_or(DEFAULT_EVENTS)
                    .clamp(1, MOST_EVENTS),
            )
            .unwrap_or(1),
            direction: match options.ordering() {
                proto::Ordering::Descending => Direction::Descending,
                _ => Direction::Ascending,
            },
        };
        let scan = self
            .ledger()
            .scan(&query, |event| {
                filter.as_ref().is_none_or(|filter| filter.matches(event))
            })
            .map_err(|error| match error {
                QueryError::Empty { .. } => invalid("end_checkpoint", error),
            })?;

        let limited = scan.end == proto::QueryEndReason::ItemLimit;
        let items = scan.events.len();
        let mut frames = Vec::with_capacity(items + 1);
        for (index, at) in scan.events.into_iter().enumerate() {
            let mut frame = proto::ListEventsResponse::default();
            let last = limited && index + 1 == items;
            // only the scan's end knows what it covered; an item says where it stands
            let covered = if last { scan.covered } else { None };
            frame.event = Some(proto::Event::merge_from(&at.event, &mask));
            frame.watermark = Some(watermark(at.position, covered));
            frame.end = last.then(|| query_end(scan.end));
            frames.push(Ok(frame));
        }
        if !limited {
            let mut frame = proto::ListEventsResponse::default();
            frame.watermark = Some(watermark(scan.cursor, scan.covered));
            frame.end = Some(query_end(scan.end));
            frames.push(Ok(frame));
        }
        let frames: BoxStream<_> = Box::pin(stream::iter(frames));
        Ok(self.answer(frames))
    }
}

impl Node {
    fn find(&self, request: &proto::GetObjectRequest) -> Result<Object, Status> {
        let id: Address = parse("object_id", request.object_id.as_deref())?;
        let not_found = |what: String| Status::new(Code::NotFound, what);
        let mut ledger = self.ledger();
        ledger.count_read(id);
        let object = ledger
            .visible(&id)
            .ok_or_else(|| not_found(format!("Object {id} not found")))?;
        match request.version {
            Some(version) if version != object.version() => Err(not_found(format!(
                "Object {id} with version {version} not found"
            ))),
            _ => Ok(object),
        }
    }
}

/// An object in the shape that is asked for.
pub(super) fn render(object: &Object, mask: &sui_rpc::field::FieldMaskTree) -> proto::Object {
    let mut rendered = proto::Object::merge_from(object.clone(), mask);
    if mask.contains("balance")
        && let Some(data) = object.as_struct()
        && data.object_type().is_coin().is_some()
    {
        rendered.balance = bcs::from_bytes::<chain::abi::Coin>(data.contents())
            .ok()
            .map(|coin| coin.balance);
    }
    rendered
}

/// Where a stream stands.
pub(super) fn watermark(position: Position, covered: Option<u64>) -> proto::Watermark {
    let mut watermark = proto::Watermark::default();
    watermark.cursor = Some(position.to_cursor().into());
    watermark.checkpoint = covered;
    watermark
}

fn query_end(reason: proto::QueryEndReason) -> proto::QueryEnd {
    let mut end = proto::QueryEnd::default();
    end.set_reason(reason);
    end
}

fn cursor(field: &str, bytes: Option<&[u8]>) -> Result<Option<Position>, Status> {
    match bytes {
        None => Ok(None),
        Some(bytes) => Position::from_cursor(bytes)
            .map(Some)
            .ok_or_else(|| invalid(field, "not a cursor of this service")),
    }
}
