//! Events: slashes as they happen.

use futures::stream::{BoxStream, StreamExt};
use sui_rpc::client::{
    EventStreamFrame, EventStreamRequest, LedgerStreamConfig, LedgerStreamEvent,
};
use sui_rpc::field::{FieldMask, FieldMaskUtil};
use sui_rpc::proto::sui::rpc::v2::{self as proto, filter::event};
use sui_sdk_types::{Address, StructTag};
use tokio::sync::mpsc;

use super::Fullnode;
use crate::abi::{self, MoveType};
use crate::error::ChainError;

/// Most troubles that wait to be told; more of them tell nothing new.
const TROUBLES: usize = 8;

/// News of an [`EventFeed`].
pub(crate) enum FeedItem {
    /// The feed is where the chain is, or a step further.
    Progress,
    /// A stake was slashed.
    Slashed(abi::Slashed),
    /// The feed broke off; it is taken up again where it stopped, with growing pauses.
    Broken {
        /// Why.
        error: ChainError,
        /// How often in a row.
        times: u32,
    },
    /// The feed is up again, and has told what happened meanwhile.
    Restored,
}

/// The slashes of the package, from now on. Gaps are filled from the fullnode's index.
pub(crate) struct EventFeed {
    frames: BoxStream<'static, Result<EventStreamFrame, tonic::Status>>,
    troubles: mpsc::Receiver<Trouble>,
    package: Address,
}

enum Trouble {
    Retry { status: tonic::Status, times: u32 },
    Recovered,
}

impl Fullnode {
    /// Opens the feed; the first item comes when the fullnode has taken it up.
    pub(crate) fn slashes(&self, package: Address) -> EventFeed {
        let (tell, troubles) = mpsc::channel(TROUBLES);
        let config = LedgerStreamConfig::default().with_observer(move |event| {
            let trouble = match event {
                LedgerStreamEvent::RetryScheduled {
                    status,
                    consecutive_failures,
                    ..
                } => Trouble::Retry {
                    status,
                    times: consecutive_failures,
                },
                LedgerStreamEvent::RetryRecovered { .. } => Trouble::Recovered,
                _ => return,
            };
            // full: the watcher is behind, and knows already that there is trouble
            let _full = tell.try_send(trouble);
        });
        let request = EventStreamRequest::new()
            .with_filter(proto::EventFilter::matching(event::event_type(
                abi::Slashed::tag(package),
            )))
            .with_read_mask(FieldMask::from_paths([
                "checkpoint",
                "transaction_index",
                "event_index",
                "event_type",
                "contents",
            ]));
        let frames = self
            .client
            .stream_events_with_config(request, config)
            .boxed();
        EventFeed {
            frames,
            troubles,
            package,
        }
    }

    /// The feed's next news; `Err` where it is over and must be opened anew.
    pub(crate) async fn next(&self, feed: &mut EventFeed) -> Result<FeedItem, ChainError> {
        const CALL: &str = "SubscribeEvents";
        let frame = tokio::select! {
            biased;
            Some(trouble) = feed.troubles.recv() => return Ok(match trouble {
                Trouble::Recovered => FeedItem::Restored,
                Trouble::Retry { status, times } => {
                    FeedItem::Broken { error: self.failure(CALL, &status), times }
                }
            }),
            frame = feed.frames.next() => frame,
        };
        match frame {
            None => Err(self.invalid(CALL, "the stream ended")),
            Some(Err(status)) => Err(self.failure(CALL, &status)),
            Some(Ok(EventStreamFrame { event: None, .. })) => Ok(FeedItem::Progress),
            Some(Ok(EventStreamFrame {
                event: Some(event), ..
            })) => decode(&event, &abi::Slashed::tag(feed.package))
                .map(FeedItem::Slashed)
                .map_err(|detail| self.invalid(CALL, detail)),
        }
    }
}

fn decode<T: serde::de::DeserializeOwned>(
    event: &proto::Event,
    expected: &StructTag,
) -> Result<T, String> {
    if event.event_type().parse().as_ref() != Ok(expected) {
        return Err(super::bounded(&format!(
            "an event of type {}, expected {expected}",
            event.event_type()
        )));
    }
    bcs::from_bytes(event.contents().value())
        .map_err(|error| format!("an event {expected} that does not fit its layout: {error}"))
}
