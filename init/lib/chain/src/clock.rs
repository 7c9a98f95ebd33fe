//! This machine's time, as the chain counts it.

use std::time::{SystemTime, UNIX_EPOCH};

/// This machine's time, in milliseconds since the Unix epoch; 0 before it. A fullnode whose clock is far
/// from it is not believed.
#[must_use]
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}
