//! Asks again while that can help: a cloud starts a machine before all that belongs to it is ready.

use std::time::Duration;

use cloud::Cloud;
use tracing::info;
use wire::backoff::Backoff;
use wire::error::chain;
use zeroize::Zeroizing;

use crate::ask::{self, AskError};
use crate::http::Client;

/// The waits between attempts.
const WAITS: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
/// How many there are.
const ATTEMPTS: u32 = 7;

/// Asks until there is user data, or until nothing more can come of it. `sleep` waits between attempts.
///
/// # Errors
/// [`AskError`], that of the last attempt.
pub fn user_data(
    client: &Client,
    cloud: Cloud,
    mut sleep: impl FnMut(Duration),
) -> Result<Zeroizing<Vec<u8>>, AskError> {
    let mut waits = WAITS;
    for _ in 1..ATTEMPTS {
        match ask::user_data(client, cloud) {
            Err(error) if error.may_pass() => {
                let wait = waits.fail();
                info!(again_in = wait.as_secs(), "{}", chain(&error));
                sleep(wait);
            }
            ended => return ended,
        }
    }
    ask::user_data(client, cloud)
}
