//! Which step comes next.

use super::stage::{Stage, at};
use super::{DAY_MS, HOUR_MS, MASTERS, NODES, SUI};

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators").
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }

    pub(super) fn of(&mut self, choices: &[u64]) -> u64 {
        choices[usize::try_from(self.below(choices.len() as u64)).unwrap()]
    }
}

impl Stage<'_> {
    /// A step that can be tried now: everything that it names is there.
    pub(super) fn choose(&self, random: &mut Random) -> (&'static str, Vec<u64>) {
        let node = random.below(NODES);
        let who = random.of(&[0, 0, 0, 1, 1, 2, 3]);
        let master = random.below(MASTERS);
        let amount = random.of(&[1, SUI - 1, SUI, 2 * SUI, 5 * SUI + 7]);
        if self.records[at(node)].is_none() || random.below(20) == 0 {
            return match random.below(4) {
                0 => ("wait", vec![random.of(&[1, HOUR_MS, DAY_MS])]),
                _ => ("stake", vec![node, amount, random.of(&[0, 1, 1, 4])]),
            };
        }
        let (record, token) = (node, self.tokens[at(node)].is_some());
        let known = self.enclaves[at(master)].is_some();
        let first = self.enclaves[0].is_some();
        match random.below(30) {
            0 | 1 => {
                let ms = random.of(&[1, HOUR_MS, DAY_MS, 7 * DAY_MS, 8 * DAY_MS, 15 * DAY_MS]);
                ("wait", vec![ms])
            }
            2 | 3 => ("token", vec![record, who]),
            4 if token => ("renew", vec![record]),
            5 if token => ("ask_with_token", vec![record]),
            6 => ("top_up", vec![record, random.of(&[0, 1, SUI])]),
            7 => {
                let share = random.of(&[0, 1, 3_333, 10_000, 10_001]);
                ("slash", vec![record, share, random.of(&[0, 0, 1, 2, 3])])
            }
            8..=11 if first => {
                let nonce = random.below(6);
                let reason = random.of(&[1, 2, 2, 9]);
                let proof = random.of(&[0, 4, 5, 6, 7, 8]);
                let age = random.of(&[0, 0, 0, 600_000, 600_001]);
                let rewarded = random.below(2);
                ("verdict", vec![record, reason, proof, rewarded, nonce, age])
            }
            12 | 13 => ("ask", vec![record, who]),
            14 => ("cancel", vec![record, who]),
            15 | 16 => ("withdraw", vec![record, who]),
            17 => ("restake", vec![record, amount]),
            18 => ("set_beneficiary", vec![record, who, random.below(5)]),
            19 => {
                let most = 3 * DAY_MS;
                let length = random.of(&[0, 1, HOUR_MS, DAY_MS, most, most + 1]);
                ("begin_maintenance", vec![record, who, length])
            }
            20 => ("end_maintenance", vec![record, who]),
            21 => self.choose_rule(random),
            22 => ("withdraw_treasury", vec![random.of(&[0, 1, SUI, 1 << 50])]),
            23 => ("register", vec![master]),
            24 if known => match random.below(6) {
                0 => ("retire", vec![master]),
                1 => (
                    "set_minimum_config_version",
                    vec![1 + random.below(3), master],
                ),
                2 | 3 => ("list_master", vec![master, random.of(&[1, 1, 0])]),
                4 => ("remove_master", vec![master]),
                _ => ("remove_retired_master", vec![master]),
            },
            25 => ("update_pcrs", vec![random.of(&[0, 0xb0, 0xb1])]),
            26 => ("approve", vec![random.below(5), 10 + random.below(12)]),
            27 => {
                let ahead = random.of(&[0, DAY_MS, 90 * DAY_MS, 90 * DAY_MS + 1]);
                let call = ["revoke", "set_minimum"][at(random.below(2))];
                (call, vec![random.below(5), ahead])
            }
            28 => ("remove", vec![random.below(5)]),
            _ => ("open", Vec::new()),
        }
    }

    fn choose_rule(&self, random: &mut Random) -> (&'static str, Vec<u64>) {
        match random.below(5) {
            0 | 1 => {
                let value = random.of(&[SUI / 10 - 1, SUI / 10, SUI, 2 * SUI, 3 * SUI]);
                ("set_minimum_stake", vec![value])
            }
            2 => (
                "set_unbonding",
                vec![random.of(&[HOUR_MS - 1, HOUR_MS, 14 * DAY_MS, 14 * DAY_MS + 1])],
            ),
            3 => ("set_reporter_share", vec![random.of(&[0, 5_000, 5_001])]),
            _ => {
                let reason = 1 + random.below(3);
                let share = random.of(&[0, 100, 5_000, 10_000]);
                let cap = random.of(&[100, 5_000, 10_000, 10_001]);
                ("set_offence", vec![reason, share, cap, random.below(2)])
            }
        }
    }
}
