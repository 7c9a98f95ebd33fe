/// Lists of the capabilities that count for a shared object, and from when on. A capability is an
/// object that can be given away, stolen or lost; taken off the list, it is worth nothing wherever
/// it is.
module k3s_daas::authority;

use sui::{clock::Clock, dynamic_field, event};

#[error(code = 0)]
const ERevoked: vector<u8> = b"The capability is not, or no longer, on the object's list";
#[error(code = 1)]
const ENotYetEffective: vector<u8> = b"The authority does not count before its notice is over";

/// Under which an object keeps (as a dynamic field) from when on a capability counts.
public struct ListKey(ID) has copy, drop, store;

public struct CapabilityIssued has copy, drop {
    object: ID,
    capability: ID,
    effective_from_ms: u64,
}
public struct CapabilityRevoked has copy, drop { object: ID, capability: ID }

/// Whether the capability is on the object's list.
public(package) fun is_listed(object: &UID, capability: ID): bool {
    dynamic_field::exists_with_type<_, u64>(object, ListKey(capability))
}

public(package) fun list(object: &mut UID, capability: ID, effective_from_ms: u64) {
    dynamic_field::add(object, ListKey(capability), effective_from_ms);
    event::emit(CapabilityIssued { object: object.to_inner(), capability, effective_from_ms });
}

public(package) fun revoke(object: &mut UID, capability: ID) {
    assert!(is_listed(object, capability), ERevoked);
    let _: u64 = dynamic_field::remove(object, ListKey(capability));
    event::emit(CapabilityRevoked { object: object.to_inner(), capability });
}

/// From when on a capability counts.
public(package) fun effective_from_ms(object: &UID, capability: ID): u64 {
    assert!(is_listed(object, capability), ERevoked);
    *dynamic_field::borrow(object, ListKey(capability))
}

public(package) fun assert_effective(effective_from_ms: u64, clock: &Clock) {
    assert!(clock.timestamp_ms() >= effective_from_ms, ENotYetEffective);
}

public(package) fun assert_listed(object: &UID, capability: ID) {
    assert!(is_listed(object, capability), ERevoked);
}
