//! Module `authority`, and those functions of `administration` that hand out and revoke the right
//! to slash.

use chain::abi::abort::Abort;
use chain::abi::{
    self, AdminCap, CapabilityIssued, CapabilityRevoked, Clock, Field, ListKey, MoveType, Pool,
    SlasherCap,
};
use sui_sdk_types::Address;

use super::{assert_admin, emit, object, require, wrong};
use crate::execution::{Arg, Scope, Stop, Value};

/// From when on a capability counts.
pub(super) fn effective_from_ms(
    scope: &Scope<'_, '_>,
    object: Address,
    capability: Address,
) -> Result<u64, Stop> {
    let entry = scope.child(abi::list_id(scope.package(), object, capability));
    let Some(entry) = entry else {
        return Err(Stop::Abort(&Abort::AUTHORITY_REVOKED));
    };
    let field: Field<ListKey, u64> = entry.read()?;
    Ok(field.value)
}

pub(super) fn assert_effective(effective_from_ms: u64, clock: &Clock) -> Result<(), Stop> {
    require(
        clock.timestamp_ms >= effective_from_ms,
        &Abort::AUTHORITY_NOT_YET_EFFECTIVE,
    )
}

pub(super) fn list(
    scope: &mut Scope<'_, '_>,
    object: Address,
    capability: Address,
    effective_from_ms: u64,
) -> Result<(), Stop> {
    let package = scope.package();
    let entry = Field {
        id: abi::list_id(package, object, capability),
        name: ListKey(capability),
        value: effective_from_ms,
    };
    scope.add_child(object, Value::new(abi::list_tag(package), false, &entry)?);
    emit(
        scope,
        &CapabilityIssued {
            object,
            capability,
            effective_from_ms,
        },
    )
}

pub(super) fn revoke(
    scope: &mut Scope<'_, '_>,
    object: Address,
    capability: Address,
) -> Result<(), Stop> {
    effective_from_ms(scope, object, capability)?;
    scope.remove_child(abi::list_id(scope.package(), object, capability));
    emit(scope, &CapabilityRevoked { object, capability })
}

/// `pool.effective_from_ms(clock)`: after the notice; at once only while the pool is not open.
pub(super) fn begins_ms(pool: &Pool, clock: &Clock) -> u64 {
    if pool.open {
        clock.timestamp_ms + abi::authority::NOTICE_MS
    } else {
        clock.timestamp_ms
    }
}

pub(super) fn new_slasher_cap(
    scope: &mut Scope<'_, '_>,
    arguments: &mut [Arg],
) -> Result<(), Stop> {
    let pool: Pool = object(arguments, 0)?.read()?;
    let cap: AdminCap = object(arguments, 1)?.read()?;
    let clock: Clock = object(arguments, 2)?.read()?;
    assert_admin(&pool, &cap)?;
    let slasher = SlasherCap {
        id: scope.new_id(),
        pool: pool.id,
    };
    list(scope, pool.id, slasher.id, begins_ms(&pool, &clock))?;
    let tag = SlasherCap::tag(scope.package());
    scope.made.returned.push(Value::new(tag, true, &slasher)?);
    Ok(())
}

pub(super) fn revoke_slasher_cap(
    scope: &mut Scope<'_, '_>,
    arguments: &mut [Arg],
) -> Result<(), Stop> {
    let pool: Pool = object(arguments, 0)?.read()?;
    let cap: AdminCap = object(arguments, 1)?.read()?;
    let [_, _, Arg::Address(slasher)] = arguments else {
        return Err(wrong(2));
    };
    assert_admin(&pool, &cap)?;
    revoke(scope, pool.id, *slasher)
}
