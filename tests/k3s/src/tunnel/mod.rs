//! The tunnel that an agent keeps open to its server, by which the server reaches the kubelet.
//!
//! It is rancher/remotedialer's protocol over a websocket: the server asks the agent to open
//! connections, and both exchange the bytes of all of them over the one websocket.

mod frame;
mod session;

pub use frame::{Frame, FrameError, Kind};
pub use session::{Open, Session, SessionError, Side};

/// Where the server dials the kubelet: by its port on the loopback address.
pub const KUBELET: &str = "127.0.0.1:10250";
