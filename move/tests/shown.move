/// Bytes of values as another machine would have written them: ids that a test can't choose are shown
/// as others.
#[test_only]
module k3s_daas::shown;

use std::unit_test::assert_eq;
use sui::{bcs, event};

/// Which 32 bytes stand for which.
public struct Ids has copy, drop {
    actual: vector<vector<u8>>,
    shown: vector<vector<u8>>,
    /// For each byte, the indices of those that begin with it: most bytes of a value begin none.
    begin_with: vector<vector<u64>>,
}

public fun none(): Ids {
    Ids { actual: vector[], shown: vector[], begin_with: vector::tabulate!(256, |_| vector[]) }
}

/// Shows an id or an address as a byte, 32 times.
public fun with(mut ids: Ids, actual: address, byte: u8): Ids {
    ids.add(bcs::to_bytes(&actual), byte);
    ids
}

public fun of<T: key>(ids: Ids, object: &T, byte: u8): Ids {
    ids.with(object::id_address(object), byte)
}

/// The same for any 32 bytes.
public fun add(ids: &mut Ids, actual: vector<u8>, byte: u8) {
    ids.begin_with[actual[0] as u64].push_back(ids.actual.length());
    ids.actual.push_back(actual);
    ids.shown.push_back(vector::tabulate!(32, |_| byte));
}

public fun show(ids: &Ids, bytes: vector<u8>): vector<u8> {
    let (mut shown, length) = (vector[], bytes.length());
    let mut start = 0;
    while (start < length) {
        let byte = bytes[start];
        let known = &ids.begin_with[byte as u64];
        if (!known.is_empty()) {
            let found = known.find_index!(|index| starts_with(&bytes, start, &ids.actual[*index]));
            if (found.is_some()) {
                shown.append(ids.shown[known[found.destroy_some()]]);
                start = start + 32;
                continue
            };
        };
        shown.push_back(byte);
        start = start + 1;
    };
    shown
}

fun starts_with(bytes: &vector<u8>, start: u64, part: &vector<u8>): bool {
    if (start + part.length() > bytes.length()) return false;
    let mut index = 0;
    while (index < part.length() && bytes[start + index] == part[index]) index = index + 1;
    index == part.length()
}

public fun shows<T>(ids: &Ids, value: &T, expected: vector<u8>) {
    assert_eq!(ids.show(bcs::to_bytes(value)), expected);
}

/// The last event of its type in this transaction.
public fun emitted<T: copy + drop>(ids: &Ids, expected: vector<u8>) {
    let events = event::events_by_type<T>();
    ids.shows(&events[events.length() - 1], expected);
}
