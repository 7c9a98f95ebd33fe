//! What the bench's own PID 1s share: marks on the console, by the guest's clock.

pub mod mark;
pub mod network;
pub mod root;
