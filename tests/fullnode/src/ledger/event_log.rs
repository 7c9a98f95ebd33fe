//! Events in the order of the ledger, and scans over them.

use sui_rpc::proto::sui::rpc::v2 as proto;

use super::Ledger;

/// A place in the ledger: checkpoint, transaction in it, event in that. An opaque cursor for
/// clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    pub(crate) checkpoint: u64,
    transaction: u64,
    event: u32,
}

/// An event and its place.
#[derive(Debug, Clone)]
pub(crate) struct EventAt {
    pub(crate) position: Position,
    pub(crate) event: proto::Event,
}

/// Order of a scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Ascending,
    Descending,
}

/// A scan: bounds as the protocol gives them, checkpoints from `start` up to but without `end`,
/// positions strictly between `after` and `before`.
#[derive(Debug, Clone)]
pub(crate) struct Query {
    pub(crate) start: Option<u64>,
    pub(crate) end: Option<u64>,
    pub(crate) after: Option<Position>,
    pub(crate) before: Option<Position>,
    pub(crate) limit: usize,
    pub(crate) direction: Direction,
}

/// Why a scan cannot be done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum QueryError {
    #[error("start_checkpoint {start} is not below end_checkpoint {end}")]
    Empty { start: u64, end: u64 },
}

/// What a scan came to.
#[derive(Debug)]
pub(crate) struct Scan {
    pub(crate) events: Vec<EventAt>,
    pub(crate) end: proto::QueryEndReason,
    /// Where it ended.
    pub(crate) cursor: Position,
    /// The last checkpoint that it covered whole, if any.
    pub(crate) covered: Option<u64>,
}

impl Position {
    /// The end of a checkpoint, behind all of its events.
    pub(crate) const fn end_of(checkpoint: u64) -> Self {
        Self {
            checkpoint,
            transaction: u64::MAX,
            event: u32::MAX,
        }
    }

    /// Just before a checkpoint.
    const fn before(checkpoint: u64) -> Self {
        match checkpoint.checked_sub(1) {
            Some(previous) => Self::end_of(previous),
            None => Self {
                checkpoint: 0,
                transaction: 0,
                event: 0,
            },
        }
    }

    /// The cursor that clients get.
    pub(crate) fn to_cursor(self) -> Vec<u8> {
        let mut cursor = Vec::with_capacity(20);
        cursor.extend(self.checkpoint.to_be_bytes());
        cursor.extend(self.transaction.to_be_bytes());
        cursor.extend(self.event.to_be_bytes());
        cursor
    }

    /// The cursor that clients send back.
    pub(crate) fn from_cursor(cursor: &[u8]) -> Option<Self> {
        let (checkpoint, rest) = cursor.split_first_chunk()?;
        let (transaction, rest) = rest.split_first_chunk()?;
        Some(Self {
            checkpoint: u64::from_be_bytes(*checkpoint),
            transaction: u64::from_be_bytes(*transaction),
            event: u32::from_be_bytes(rest.try_into().ok()?),
        })
    }
}

/// Gives a transaction's events their places.
pub(super) fn place(
    executed: &proto::ExecutedTransaction,
    checkpoint: u64,
    transaction: u64,
) -> Vec<EventAt> {
    let events = executed
        .events
        .as_ref()
        .map_or(&[][..], |events| &events.events);
    (0u32..)
        .zip(events)
        .map(|(index, event)| {
            let mut event = event.clone();
            event.checkpoint = Some(checkpoint);
            event.transaction_digest = executed.digest.clone();
            event.transaction_index = Some(transaction);
            event.event_index = Some(index);
            EventAt {
                position: Position {
                    checkpoint,
                    transaction,
                    event: index,
                },
                event,
            }
        })
        .collect()
}

impl Ledger {
    /// Scans the events that checkpoints hold.
    pub(crate) fn scan(
        &self,
        query: &Query,
        matches: impl Fn(&proto::Event) -> bool,
    ) -> Result<Scan, QueryError> {
        if let (Some(start), Some(end)) = (query.start, query.end)
            && start >= end
        {
            return Err(QueryError::Empty { start, end });
        }
        let first = query.start.unwrap_or(0);
        // exclusive, in positions: what lies behind the tip is not there yet
        let (upper, upper_reason) = self.upper(query);
        let lower = query
            .after
            .unwrap_or(Position::before(first))
            .max(Position::before(first));
        let inside = |at: &&EventAt| {
            at.position.checkpoint >= first
                && query.after.is_none_or(|after| at.position > after)
                && at.position < upper
                && matches(&at.event)
        };
        let mut events: Vec<EventAt> = match query.direction {
            Direction::Ascending => self
                .events
                .iter()
                .filter(inside)
                .take(query.limit + 1)
                .cloned()
                .collect(),
            Direction::Descending => self
                .events
                .iter()
                .rev()
                .filter(inside)
                .take(query.limit + 1)
                .cloned()
                .collect(),
        };
        // one item more than the limit: the scan ends at the limit, not at its bound
        let limited = events.len() > query.limit;
        events.truncate(query.limit);
        let last = events.last().map(|at| at.position);
        let scan = match (limited, last, query.direction) {
            (true, Some(last), direction) => Scan {
                events,
                end: proto::QueryEndReason::ItemLimit,
                cursor: last,
                covered: covered(direction, last, first, upper),
            },
            (_, _, Direction::Ascending) => Scan {
                events,
                end: upper_reason,
                cursor: upper.max(lower),
                covered: match upper_reason {
                    proto::QueryEndReason::CursorBound => upper
                        .checkpoint
                        .checked_sub(1)
                        .filter(|covered| *covered >= first),
                    _ => Some(upper.checkpoint),
                },
            },
            (_, _, Direction::Descending) => Scan {
                events,
                end: match query.after {
                    Some(after) if after >= Position::before(first) => {
                        proto::QueryEndReason::CursorBound
                    }
                    _ => proto::QueryEndReason::CheckpointBound,
                },
                cursor: lower,
                covered: Some(match query.after {
                    Some(after) if after >= Position::before(first) => after.checkpoint + 1,
                    _ => first,
                }),
            },
        };
        Ok(scan)
    }

    /// The exclusive upper bound of a scan, and what it is called when the scan reaches it.
    fn upper(&self, query: &Query) -> (Position, proto::QueryEndReason) {
        let tip = Position::end_of(self.height);
        let bound = query.end.map_or(tip, Position::before);
        let (upper, reason) = match query.end {
            Some(_) if bound <= tip => (bound, proto::QueryEndReason::CheckpointBound),
            _ => (tip, proto::QueryEndReason::LedgerTip),
        };
        match query.before {
            Some(before) if before <= upper => (before, proto::QueryEndReason::CursorBound),
            _ => (upper, reason),
        }
    }
}

/// The last checkpoint that a scan has covered whole when it stands at an item.
pub(crate) fn covered(
    direction: Direction,
    at: Position,
    first: u64,
    upper: Position,
) -> Option<u64> {
    match direction {
        Direction::Ascending => at
            .checkpoint
            .checked_sub(1)
            .filter(|covered| *covered >= first),
        Direction::Descending => {
            Some(at.checkpoint + 1).filter(|covered| *covered <= upper.checkpoint)
        }
    }
}
