//! Matching a device's modalias against the patterns of modules.alias.

/// Whether `pattern` matches all of `text`, as fnmatch(3) without flags does: `*` any string, `?`
/// any byte, `[…]` one of a set with ranges, `[!…]` or `[^…]` none of it, `\` the next byte as it
/// is. A pattern that is not closed matches nothing. Takes at most `pattern × text` steps.
pub(crate) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let mut rest = (pattern, text);
    // Where to go on when what follows the last `*` does not match: one byte further.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        let step = match rest.0.split_first() {
            None if rest.1.is_empty() => return true,
            None => None,
            Some((b'*', pattern)) => {
                retry = Some((pattern, rest.1));
                rest = (pattern, rest.1);
                continue;
            }
            Some(_) => one(rest.0, rest.1),
        };
        match (step, retry) {
            (Some(next), _) => rest = next,
            (None, Some((pattern, text))) => {
                let Some((_, shorter)) = text.split_first() else {
                    return false;
                };
                retry = Some((pattern, shorter));
                rest = (pattern, shorter);
            }
            (None, None) => return false,
        }
    }
}

/// Matches one element of the pattern against one byte, and gives what is left of both.
fn one<'a>(pattern: &'a [u8], text: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    let (byte, text) = text.split_first()?;
    let (element, pattern) = pattern.split_first()?;
    match element {
        b'?' => Some((pattern, text)),
        b'[' => Some((set(pattern, *byte)?, text)),
        b'\\' => {
            let (literal, pattern) = pattern.split_first()?;
            (literal == byte).then_some((pattern, text))
        }
        literal => (literal == byte).then_some((pattern, text)),
    }
}

/// Matches a byte against a set whose `[` is read already, and gives the pattern after its `]`.
fn set(pattern: &[u8], byte: u8) -> Option<&[u8]> {
    let (negated, mut rest) = match pattern.split_first()? {
        (b'!' | b'^', rest) => (true, rest),
        _ => (false, pattern),
    };
    let mut found = false;
    let mut first = true;
    loop {
        rest = match rest {
            // A `]` that comes first is one of the set.
            [b']', after @ ..] if !first => return (found != negated).then_some(after),
            [low, b'-', high, after @ ..] if *high != b']' => {
                found |= (*low..=*high).contains(&byte);
                after
            }
            [member, after @ ..] => {
                found |= *member == byte;
                after
            }
            [] => return None,
        };
        first = false;
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    fn check(pattern: &str, text: &str) -> bool {
        matches(pattern.as_bytes(), text.as_bytes())
    }

    #[test]
    fn patterns_of_real_modules() {
        assert!(check("virtio:d00000002v*", "virtio:d00000002v00001AF4"));
        assert!(!check("virtio:d00000002v*", "virtio:d00000001v00001AF4"));
        assert!(check(
            "pci:v*d*sv*sd*bc01sc06i01*",
            "pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i01"
        ));
        assert!(check("acpi*:QEMU0002:*", "acpi:QEMU0002:QEMU0002:"));
        assert!(check(
            "cpu:type:x86,ven*fam*mod*:feature:*0099*",
            "cpu:type:x86,ven0002fam000Fmod006B:feature:,0000,0099,00C0"
        ));
        assert!(check(
            "usb:v*p*d*dc*dsc*dp*ic08isc0[56]ip50in*",
            "usb:v1p2d3dc00dsc00dp00ic08isc06ip50in00"
        ));
        assert!(!check(
            "usb:v*ic08isc0[56]ip50in*",
            "usb:v1ic08isc07ip50in00"
        ));
    }

    #[test]
    fn elements() {
        assert!(check("", ""));
        assert!(!check("", "a"));
        assert!(check("*", ""));
        assert!(check("a*b*c", "a__b_b__c"));
        assert!(!check("a*b*c", "a__b_b__"));
        assert!(check("?", "x"));
        assert!(!check("?", ""));
        assert!(check("[a-c]x", "bx"));
        assert!(check("[!a-c]x", "dx"));
        assert!(!check("[^a-c]x", "ax"));
        assert!(check("[]a]", "]"));
        assert!(check("[a-]", "-"));
        assert!(check("\\*", "*"));
        assert!(!check("\\*", "a"));
    }

    #[test]
    fn a_pattern_that_is_not_closed_matches_nothing() {
        for pattern in ["[", "[a", "[!", "[a-", "a\\"] {
            assert!(!check(pattern, "a"), "{pattern}");
        }
    }

    #[test]
    fn many_stars_do_not_take_exponential_time() {
        let pattern = "a*".repeat(60) + "b";
        assert!(!check(&pattern, &"a".repeat(2000)));
    }
}
