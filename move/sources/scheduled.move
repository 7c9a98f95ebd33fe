/// A value that changes at a time which is published beforehand.
module k3s_daas::scheduled;

/// A value, and what it becomes and when.
public struct Scheduled<T: copy + drop + store> has copy, drop, store {
    current: T,
    next: Option<T>,
    /// From when on `next` counts; 0 where there is none.
    from_ms: u64,
}

/// A value with no change ahead.
public(package) fun fixed<T: copy + drop + store>(value: T): Scheduled<T> {
    Scheduled { current: value, next: option::none(), from_ms: 0 }
}

/// The value that counts at a time.
public fun at<T: copy + drop + store>(scheduled: &Scheduled<T>, now_ms: u64): T {
    if (scheduled.is_due(now_ms)) *scheduled.next.borrow() else scheduled.current
}

/// Whether a change is ahead, or due and not settled.
public fun has_next<T: copy + drop + store>(scheduled: &Scheduled<T>): bool {
    scheduled.next.is_some()
}

/// Sets the value at once, and drops a change that is ahead.
public(package) fun set<T: copy + drop + store>(scheduled: &mut Scheduled<T>, value: T) {
    *scheduled = fixed(value);
}

/// Makes the next value the current one if its time has come.
public(package) fun settle<T: copy + drop + store>(scheduled: &mut Scheduled<T>, now_ms: u64) {
    let value = scheduled.at(now_ms);
    if (scheduled.is_due(now_ms)) scheduled.set(value);
}

/// Has the value change at `from_ms`, at once if that is not ahead, in place of a change that is
/// ahead. The value that counts now cancels such a change. Returns from when on the value counts.
public(package) fun schedule<T: copy + drop + store>(
    scheduled: &mut Scheduled<T>,
    value: T,
    from_ms: u64,
    now_ms: u64,
): u64 {
    scheduled.settle(now_ms);
    if (value == scheduled.current || from_ms <= now_ms) {
        scheduled.set(value);
        now_ms
    } else {
        scheduled.next = option::some(value);
        scheduled.from_ms = from_ms;
        from_ms
    }
}

fun is_due<T: copy + drop + store>(scheduled: &Scheduled<T>, now_ms: u64): bool {
    scheduled.next.is_some() && now_ms >= scheduled.from_ms
}
