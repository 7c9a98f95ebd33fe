/// The version of shared objects that this code works on, and how an object gets there.
///
/// An upgrade of the package leaves the old code callable. Each shared object names the version
/// that it is of, and the code refuses those of another.
module k3s_daas::version;

use sui::event;

#[error(code = 0)]
const EAlreadyMigrated: vector<u8> = b"The shared object is of this version already";
#[error(code = 1)]
const EWrongVersion: vector<u8> = b"The shared object is of another version";

/// Of this code.
const VERSION: u64 = 1;

public struct Migrated has copy, drop { object: ID, from: u64, to: u64 }

/// The version of shared objects that this code works on.
public fun current(): u64 { VERSION }

/// Takes an object of an earlier version over to this one.
public(package) fun migrate(object: ID, version: &mut u64) {
    assert!(*version < VERSION, EAlreadyMigrated);
    event::emit(Migrated { object, from: *version, to: VERSION });
    *version = VERSION;
}

public(package) fun assert_current(version: u64) {
    assert!(version == VERSION, EWrongVersion);
}
