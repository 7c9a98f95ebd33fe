//! Log lines `LEVEL message key=value` on standard error, as `init` expects them of its services.

use tracing::level_filters::LevelFilter;

pub use wire::error::chain;

/// Starts logging, once per process. The first line names the double.
pub fn start(debug: bool) {
    let level = if debug {
        LevelFilter::DEBUG
    } else {
        LevelFilter::INFO
    };
    tracing_subscriber::fmt()
        .without_time()
        .with_ansi(false)
        .with_target(false)
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .init();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "{}", crate::BANNER);
}
