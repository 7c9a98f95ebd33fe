//! Debian's order of version numbers (deb-version(7)).

use std::cmp::Ordering;

/// Compares two versions the way dpkg does: epoch, upstream version, Debian revision.
#[must_use]
pub fn compare(left: &str, right: &str) -> Ordering {
    let (left_epoch, left_rest) = split_epoch(left);
    let (right_epoch, right_rest) = split_epoch(right);
    let (left_upstream, left_revision) = left_rest.rsplit_once('-').unwrap_or((left_rest, ""));
    let (right_upstream, right_revision) = right_rest.rsplit_once('-').unwrap_or((right_rest, ""));
    left_epoch
        .cmp(&right_epoch)
        .then_with(|| compare_part(left_upstream.as_bytes(), right_upstream.as_bytes()))
        .then_with(|| compare_part(left_revision.as_bytes(), right_revision.as_bytes()))
}

fn split_epoch(version: &str) -> (u64, &str) {
    match version.split_once(':') {
        Some((epoch, rest)) => (epoch.parse().unwrap_or(0), rest),
        None => (0, version),
    }
}

/// A character's weight in the part without digits: the tilde sorts before the end, the end before
/// letters, letters before everything else.
fn weight(byte: Option<&u8>) -> i32 {
    match byte {
        Some(b'~') => -1,
        None => 0,
        Some(byte) if byte.is_ascii_digit() => 0,
        Some(byte) if byte.is_ascii_alphabetic() => i32::from(*byte),
        Some(byte) => i32::from(*byte) + 256,
    }
}

fn compare_part(mut left: &[u8], mut right: &[u8]) -> Ordering {
    while !left.is_empty() || !right.is_empty() {
        while left.first().is_some_and(|byte| !byte.is_ascii_digit())
            || right.first().is_some_and(|byte| !byte.is_ascii_digit())
        {
            match weight(left.first()).cmp(&weight(right.first())) {
                Ordering::Equal => (),
                other => return other,
            }
            left = left.get(1..).unwrap_or_default();
            right = right.get(1..).unwrap_or_default();
        }
        let (left_number, left_rest) = split_number(left);
        let (right_number, right_rest) = split_number(right);
        // without leading zeros, the longer number is the larger one
        match left_number
            .len()
            .cmp(&right_number.len())
            .then_with(|| left_number.cmp(right_number))
        {
            Ordering::Equal => (),
            other => return other,
        }
        (left, right) = (left_rest, right_rest);
    }
    Ordering::Equal
}

fn split_number(part: &[u8]) -> (&[u8], &[u8]) {
    let zeros = part.iter().take_while(|byte| **byte == b'0').count();
    let part = &part[zeros..];
    let digits = part.iter().take_while(|byte| byte.is_ascii_digit()).count();
    part.split_at(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_dpkgs() {
        // each is smaller than the next
        let ascending = [
            "0~rc1-1",
            "0",
            "1.0~beta1~svc1-1",
            "1.0~beta1",
            "1.0",
            "1.0-1",
            "1.0-1+b1",
            "1.0-1.1",
            "1.0-2",
            "1.0-10",
            "1.0a",
            "1.0+a",
            "1.0.1",
            "1.2",
            "1.10",
            "6.12.107-1",
            "6.12.117-1",
            "257.13-1~deb13u1",
            "257.13-1",
            "1:0.1",
            "2:0",
        ];
        for (index, smaller) in ascending.iter().enumerate() {
            assert_eq!(compare(smaller, smaller), Ordering::Equal, "{smaller}");
            for larger in &ascending[index + 1..] {
                assert_eq!(
                    compare(smaller, larger),
                    Ordering::Less,
                    "{smaller} < {larger}"
                );
                assert_eq!(
                    compare(larger, smaller),
                    Ordering::Greater,
                    "{larger} > {smaller}"
                );
            }
        }
        assert_eq!(compare("1.01", "1.1"), Ordering::Equal);
    }
}
