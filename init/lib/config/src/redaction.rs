//! What looks like a key is not shown, whichever field it was put into.

/// What an exported Sui key begins with, in lower or upper case (SIP-15, BIP-173).
const KEY_PREFIX: &str = "suiprivkey";
/// From so many characters without a break on, a text can be a key: 128 bits in hexadecimal.
/// Sui's keystore has 44 in base64, other wallets 64 in hexadecimal.
const KEY_LENGTH: usize = 32;

/// The text with its length in place of everything that can be a key.
pub(crate) fn without_keys(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let end = rest
            .find(|character| !is_of_a_key(character))
            .unwrap_or(rest.len());
        if end == 0 {
            shown.push(first);
            rest = rest.get(first.len_utf8()..).unwrap_or_default();
            continue;
        }
        let (run, after) = rest.split_at(end);
        show(run, &mut shown);
        rest = after;
    }
    shown
}

/// Letters, digits, and what base64 (RFC 4648, with both alphabets) has besides them.
fn is_of_a_key(character: char) -> bool {
    character.is_ascii_alphanumeric() || "+/=-_".contains(character)
}

fn show(run: &str, shown: &mut String) {
    if run.len() >= KEY_LENGTH {
        shown.push_str(&format!("({} characters that are not shown)", run.len()));
        return;
    }
    match run.to_ascii_lowercase().find(KEY_PREFIX) {
        Some(at) => {
            let (before, _) = run.split_at(at);
            shown.push_str(before);
            shown.push_str(KEY_PREFIX);
            shown.push('…');
        }
        None => shown.push_str(run),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_a_key_is_replaced() {
        for (text, expected) in [
            ("", ""),
            ("\"Edge 1\", expected", "\"Edge 1\", expected"),
            ("xsuiprivkey1qqr", "xsuiprivkey…"),
            ("SUIPRIVKEY1QQR ü", "suiprivkey… ü"),
            ("suiprivkey", "suiprivkey…"),
            (
                "key=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=!",
                "(48 characters that are not shown)!",
            ),
            (
                "0xa1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1 7",
                "(34 characters that are not shown) 7",
            ),
            (
                "https://fullnode.testnet.example.org:443",
                "https://fullnode.testnet.example.org:443",
            ),
        ] {
            assert_eq!(without_keys(text), expected);
        }
    }
}
