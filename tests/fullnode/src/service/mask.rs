//! Read masks.

use prost_types::FieldMask;
use sui_rpc::field::{FieldMaskTree, FieldMaskUtil, MessageFields};
use tonic::Status;

use super::invalid;

/// The mask of a request, or the call's default; refused where it names no field of the message.
pub(super) fn of<M: MessageFields>(
    mask: Option<FieldMask>,
    default: &str,
) -> Result<FieldMaskTree, Status> {
    let mask = match mask {
        Some(mask) if !mask.paths.is_empty() => mask,
        _ => FieldMask::from_str(default),
    };
    mask.validate::<M>()
        .map_err(|path| invalid("read_mask", format!("invalid read_mask path: {path}")))?;
    Ok(FieldMaskTree::from(mask))
}
