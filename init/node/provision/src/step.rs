//! One step of a reset, as the screen at its end shows it.

/// One thing of a reset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// It is done, or there was nothing to do.
    Done(String),
    /// It is not, and why.
    NotDone(String),
}
