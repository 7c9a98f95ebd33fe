//! Whose a configuration is: what may take the place of a sealed one.
//!
//! The partition that configurations are dropped on is anybody's who holds the disk. Another document
//! must not set the node's key to work for another chain or master. So it is taken only from somebody
//! who holds the node's key, or, where the key is the TPM's and nobody holds it, if it says the same of
//! all that the key is used for. The one thing it may say anew is that the node leaves: the coins then
//! go to the address that was there when the key was born.

use config::{NodeConfig, PublicConfig};
use node_settings::ChainConfig;

/// Whether a document may take the place of the one that is sealed.
pub(super) fn may_replace(sealed: &NodeConfig, new: &NodeConfig) -> bool {
    if sealed.identity.sui_key != new.identity.sui_key {
        return false;
    }
    !sealed.identity.is_in_tpm() || same_duties(&sealed.public, &new.public)
}

fn same_duties(one: &PublicConfig, other: &PublicConfig) -> bool {
    let but_for_leaving = ChainConfig {
        leave: one.chain.leave,
        ..other.chain.clone()
    };
    one.node_id == other.node_id
        && one.chain == but_for_leaving
        && one.master == other.master
        // the one would have a key shown that opens everything, the others name a witness for the time
        && one.recovery_key == other.recovery_key
        && one.time_servers == other.time_servers
}

#[cfg(test)]
mod tests {
    use super::*;
    use fixtures::documents::{KEY, document, parse};

    #[test]
    fn whoever_holds_the_key_says_what_it_does() {
        let before = parse(&document(KEY));
        let other_master = document(KEY).replace("10.0.2.2:8443", "192.0.2.1:8443");
        assert!(may_replace(&before, &parse(&other_master)));
        let in_tpm = parse(&document("tpm"));
        assert!(!may_replace(&before, &in_tpm));
        assert!(!may_replace(&in_tpm, &before));
    }

    #[test]
    fn nobody_turns_the_tpms_key_to_another_duty() {
        let before = parse(&document("tpm"));
        let network = document("tpm") + "[network]\ndns = [\"192.0.2.53\"]\n";
        assert!(may_replace(&before, &parse(&network)));
        for (from, to) in [
            ("10.0.2.2:8443", "192.0.2.1:8443"),
            ("10.0.2.2:9000", "192.0.2.1:9000"),
            ("edge-0001", "edge-0002"),
            ("a1a1", "a2a1"),
            ("= 1000000000", "= 2000000000"),
        ] {
            let changed = document("tpm").replacen(from, to, 1);
            assert_ne!(changed, document("tpm"), "{from}");
            assert!(!may_replace(&before, &parse(&changed)), "{to}");
        }
        let recovery = document("tpm").replacen('\n', "\nrecovery_key = true\n", 1);
        assert!(!may_replace(&before, &parse(&recovery)));
        let time = document("tpm") + "[time]\nservers = [\"192.0.2.123\"]\n";
        assert!(!may_replace(&before, &parse(&time)));
    }

    #[test]
    fn the_tpms_key_leaves_and_pays_out_to_the_address_that_it_was_born_with() {
        let with = |fields: &str| {
            let amount = "= 1000000000";
            parse(&document("tpm").replacen(amount, &format!("{amount}\n{fields}"), 1))
        };
        let payout = |byte: &str| format!("beneficiary = \"0x{}\"", byte.repeat(32));
        let before = with(&payout("c3"));
        let leaving = |byte: &str| with(&format!("{}\nleave = true", payout(byte)));
        assert!(may_replace(&before, &leaving("c3")));
        assert!(may_replace(&leaving("c3"), &before));
        // whoever holds the disk does not get the coins
        assert!(!may_replace(&before, &leaving("c4")));
        assert!(!may_replace(&before, &with(&payout("c4"))));
        assert!(!may_replace(&with(""), &leaving("c3")));
        assert!(!may_replace(&before, &with("")));
    }
}
