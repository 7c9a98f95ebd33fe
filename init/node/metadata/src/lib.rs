//! Asks the metadata service of a cloud for the user data of this machine, in which the node's
//! configuration may stand.
//!
//! It understands nothing of what it gets: `provision configure` does, which takes it from
//! [`wire::paths::USER_DATA`]. It speaks to one address of the machine's own link, without TLS, as these
//! services want it; only on a machine whose firmware names a cloud ([`cloud::Cloud`]), and only where no
//! other place has a configuration: `init` sees to that.

pub mod ask;
pub mod http;
pub mod place;
pub mod retry;
