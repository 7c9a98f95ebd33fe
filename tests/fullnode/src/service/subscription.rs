//! Streams of what happens.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::stream;
use sui_rpc::field::FieldMaskTree;
use sui_rpc::merge::Merge;
use sui_rpc::proto::sui::rpc::v2::{
    self as proto, subscription_service_server::SubscriptionService,
};
use tokio::sync::broadcast::{self, error::RecvError};
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status};

use super::filter::Filter;
use super::ledger::watermark;
use super::mask;
use crate::ledger::{News, Node, Position, timestamp};

#[tonic::async_trait]
impl SubscriptionService for Node {
    async fn subscribe_checkpoints(
        &self,
        request: Request<proto::SubscribeCheckpointsRequest>,
    ) -> Result<Response<BoxStream<proto::SubscribeCheckpointsResponse>>, Status> {
        let request = request.into_inner();
        if request.filter.is_some() {
            return Err(Status::unimplemented(
                "fullnode double: checkpoints are not filtered",
            ));
        }
        let mask = mask::of::<proto::Checkpoint>(request.read_mask, "sequence_number")?;
        let (_, news) = self.subscribe();
        let frames = stream::unfold((news, mask), async |(mut news, mask)| {
            let frame = match next(&mut news).await? {
                Ok(news) => Ok(checkpoint(&news, &mask)),
                Err(status) => Err(status),
            };
            Some((frame, (news, mask)))
        });
        let frames: BoxStream<_> = Box::pin(frames);
        Ok(self.answer(frames))
    }

    async fn subscribe_events(
        &self,
        request: Request<proto::SubscribeEventsRequest>,
    ) -> Result<Response<BoxStream<proto::SubscribeEventsResponse>>, Status> {
        let request = request.into_inner();
        let mask = mask::of::<proto::Event>(
            request.read_mask,
            "checkpoint,transaction_digest,transaction_index,event_index,event_type",
        )?;
        let filter = Filter::parse(request.filter.as_ref())?;
        let (tip, news) = self.subscribe();
        // the first frame only tells where the stream begins
        let first = frame(Position::end_of(tip), Some(tip), None);
        let follower = Follower {
            news,
            mask,
            filter,
            waiting: VecDeque::from([first]),
        };
        let frames: BoxStream<_> = Box::pin(stream::unfold(follower, Follower::step));
        Ok(self.answer(frames))
    }
}

struct Follower {
    news: broadcast::Receiver<Arc<News>>,
    mask: FieldMaskTree,
    filter: Option<Filter>,
    waiting: VecDeque<proto::SubscribeEventsResponse>,
}

impl Follower {
    async fn step(mut self) -> Option<(Result<proto::SubscribeEventsResponse, Status>, Self)> {
        if self.waiting.is_empty() {
            match next(&mut self.news).await? {
                Ok(news) => self.take(&news),
                Err(status) => return Some((Err(status), self)),
            }
        }
        let frame = self.waiting.pop_front()?;
        Some((Ok(frame), self))
    }

    /// A frame for each event that passes, and one for the checkpoint.
    fn take(&mut self, news: &News) {
        let covered = news.sequence.checked_sub(1);
        for at in &news.events {
            if self
                .filter
                .as_ref()
                .is_none_or(|filter| filter.matches(&at.event))
            {
                let event = proto::Event::merge_from(&at.event, &self.mask);
                self.waiting
                    .push_back(frame(at.position, covered, Some(event)));
            }
        }
        self.waiting.push_back(frame(
            Position::end_of(news.sequence),
            Some(news.sequence),
            None,
        ));
    }
}

/// The next checkpoint; a subscriber that is too far behind is cut off.
async fn next(news: &mut broadcast::Receiver<Arc<News>>) -> Option<Result<Arc<News>, Status>> {
    match news.recv().await {
        Ok(news) => Some(Ok(news)),
        Err(RecvError::Closed) => None,
        Err(RecvError::Lagged(_)) => Some(Err(Status::unavailable(
            "the subscriber is too slow and was cut off",
        ))),
    }
}

fn frame(
    position: Position,
    covered: Option<u64>,
    event: Option<proto::Event>,
) -> proto::SubscribeEventsResponse {
    let mut frame = proto::SubscribeEventsResponse::default();
    frame.watermark = Some(watermark(position, covered));
    frame.event = event;
    frame
}

fn checkpoint(news: &News, mask: &FieldMaskTree) -> proto::SubscribeCheckpointsResponse {
    let mut checkpoint = proto::Checkpoint::default();
    checkpoint.sequence_number = Some(news.sequence);
    let mut summary = proto::CheckpointSummary::default();
    summary.sequence_number = Some(news.sequence);
    summary.timestamp = Some(timestamp(news.timestamp_ms));
    checkpoint.summary = Some(summary);
    checkpoint.transactions.clone_from(&news.transactions);
    let mut response = proto::SubscribeCheckpointsResponse::default();
    response.cursor = Some(news.sequence);
    response.checkpoint = Some(proto::Checkpoint::merge_from(&checkpoint, mask));
    response
}
