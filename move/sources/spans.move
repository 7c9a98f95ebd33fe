/// Spans of time of which only so much may lie within any window.
module k3s_daas::spans;

/// From its first millisecond up to, and without, its last.
public struct Span has copy, drop, store { from_ms: u64, until_ms: u64 }

public fun from_ms(span: &Span): u64 { span.from_ms }

public fun until_ms(span: &Span): u64 { span.until_ms }

/// Whether the last of them is not over.
public(package) fun is_running(spans: &vector<Span>, now_ms: u64): bool {
    !spans.is_empty() && now_ms < spans[spans.length() - 1].until_ms
}

/// Adds a span behind the others.
public(package) fun add(spans: &mut vector<Span>, from_ms: u64, until_ms: u64) {
    spans.push_back(Span { from_ms, until_ms });
}

/// Ends the last of them now. One that is empty then is dropped: it would only use up room.
public(package) fun cut(spans: &mut vector<Span>, now_ms: u64) {
    let last = spans.length() - 1;
    if (spans[last].from_ms >= now_ms) {
        spans.pop_back();
    } else {
        *&mut spans[last].until_ms = now_ms;
    }
}

/// Drops those that ended at or before a time.
public(package) fun forget(spans: &mut vector<Span>, before_ms: u64) {
    while (!spans.is_empty() && spans[0].until_ms <= before_ms) {
        spans.remove(0);
    }
}

/// How much of them lies at or after a time, in milliseconds.
public(package) fun since(spans: &vector<Span>, start_ms: u64): u64 {
    let mut sum = 0;
    spans.do_ref!(|span| {
        let from_ms = span.from_ms.max(start_ms);
        if (span.until_ms > from_ms) sum = sum + span.until_ms - from_ms;
    });
    sum
}
