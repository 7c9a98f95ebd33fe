//! HTTPS to one server: its pinned root certificates and no others, where wanted its public key alone,
//! and answers of bounded length.
//!
//! - [`tls`]: configurations of rustls, which programs without [`reqwest`] use, too.
//! - [`http`]: a client of reqwest's over them.

pub mod http;
pub mod tls;
