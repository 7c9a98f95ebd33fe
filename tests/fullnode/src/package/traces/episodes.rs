//! Several steps in a row, some of which must abort after the others.

use chain::abi::{EnclaveConfig, StakeRecord, status};

use super::choices::{Random, Step, Used, approve, fresh};
use super::stage::{Place, Stage, at};
use super::{DAY_MS, HOUR_MS, MASTERS, NODES, SUI};

/// How many there are.
const EPISODES: u64 = 21;
/// From which on they belong to the end of a sequence.
const FIRST_LATE: u64 = 17;

impl Stage<'_> {
    /// The next episode of a shuffled deck. Late in a sequence also those after which little works any
    /// more.
    pub(super) fn episode(
        &mut self,
        random: &mut Random,
        used: &mut Used,
        late: bool,
    ) -> Vec<Step> {
        let fits = |kind: &u64| late || *kind < FIRST_LATE;
        if !used.deck.iter().any(fits) {
            for kind in 0..EPISODES {
                let place = random.below(used.deck.len() as u64 + 1);
                used.deck.insert(at(place), kind);
            }
        }
        let place = used.deck.iter().position(fits).unwrap_or_default();
        let node = self.active(random);
        match used.deck.remove(place) {
            variant @ 0..=2 => of_tokens(node, variant),
            variant @ 3..=5 => self.of_verdicts(node, variant - 3, random, used),
            6 => self.daily_cap(node, random, used),
            7 => (0..8)
                .map(|fault| self.spoilt(node, fault, random, used))
                .collect(),
            8 => of_maintenance(node),
            9 => of_slashers(node, used),
            10 => of_releases(used, 0),
            11 => of_releases(used, DAY_MS),
            12 => of_an_unbonding(node, random.below(2)),
            13 => refused_forms(node, used),
            14 => bounds(node),
            15 => rises(node),
            16 => of_a_listing(random.below(MASTERS)),
            variant @ FIRST_LATE.. => self.of_masters(variant - FIRST_LATE, random, used),
        }
    }

    /// A node whose stake is active, if there is one.
    fn active(&mut self, random: &mut Random) -> u64 {
        let mut nodes: Vec<u64> = (0..NODES).collect();
        nodes.retain(|node| {
            let record = self.slot(Place::Record(*node));
            let record = record.map(|record| record.read::<StakeRecord>().unwrap());
            record.is_some_and(|record| record.status == status::ACTIVE)
        });
        match nodes.is_empty() {
            true => random.below(NODES),
            false => random.of(&nodes),
        }
    }

    /// The same evidence twice, a nonce twice, or a reason that is not in force.
    fn of_verdicts(
        &mut self,
        node: u64,
        variant: u64,
        random: &mut Random,
        used: &mut Used,
    ) -> Vec<Step> {
        let first = self.good_verdict(node, random, used);
        let mut second = self.good_verdict(node, random, used);
        if let ("verdict", "verdict") = (first.0, second.0) {
            second.1[7] = first.1[7];
            match variant {
                0 => second.1[2] = first.1[2],
                1 => second.1[4] = first.1[4],
                _ => second.1[1] = 3,
            }
        }
        let rule = ("set_offence", vec![3, 100, 100, 0]);
        vec![rule, ("wait", vec![DAY_MS]), first, second]
    }

    /// More verdicts than a day may take.
    fn daily_cap(&mut self, node: u64, random: &mut Random, used: &mut Used) -> Vec<Step> {
        let mut steps = vec![("restake", vec![node, 0, 5 * SUI]), ("wait", vec![DAY_MS])];
        for _ in 0..4 {
            let (name, mut n) = self.good_verdict(node, random, used);
            if name == "verdict" {
                (n[1], n[3]) = (1, 1);
            }
            steps.push((name, n));
        }
        steps
    }

    /// Keys that are retired, with their version or alone, and capabilities that are revoked.
    fn of_masters(&mut self, variant: u64, random: &mut Random, used: &mut Used) -> Vec<Step> {
        let known = |one: &u64| self.enclaves[at(*one)].is_some();
        let unknown = (0..MASTERS).find(|one| !known(one));
        let master = (0..MASTERS).rfind(known).unwrap_or_default();
        let config: EnclaveConfig = self.read(Place::Config);
        let next = config.config_version + 1;
        let mut verdict = self.good_verdict(0, random, used);
        if verdict.0 == "verdict" {
            verdict.1[7] = master;
        }
        match (variant, unknown) {
            (0, Some(unknown)) => vec![
                ("list_master", vec![master, 1]),
                ("update_pcrs", vec![0xb3, 48]),
                ("set_minimum_config_version", vec![next, master]),
                ("register", vec![unknown, 0]),
                ("wait", vec![DAY_MS - 1]),
                ("set_minimum_config_version", vec![next, unknown]),
                ("wait", vec![1]),
                ("set_minimum_config_version", vec![next, unknown]),
                ("set_minimum_config_version", vec![next, unknown]),
                ("remove_retired_master", vec![master]),
                verdict,
            ],
            (1, _) => vec![
                ("revoke_registrar", Vec::new()),
                ("revoke_registrar", Vec::new()),
                ("register", vec![unknown.unwrap_or_default(), 0]),
            ],
            (2, _) => vec![
                ("revoke_release_cap", Vec::new()),
                ("revoke_release_cap", Vec::new()),
                ("remove", vec![1]),
            ],
            _ => vec![
                ("list_master", vec![master, 1]),
                ("retire", vec![master]),
                ("retire", vec![master]),
                verdict,
                ("remove_retired_master", vec![master]),
                ("list_master", vec![master, 1]),
            ],
        }
    }
}

/// What is made of parts, in each form that is refused.
fn refused_forms(node: u64, used: &mut Used) -> Vec<Step> {
    let patch = used.patches + 1;
    let known = approve(patch, used, 0);
    let mut steps = vec![known.clone()];
    // the version, and a value of PCR 11, that is approved by now
    steps.push(approve(patch, used, 0));
    steps.push(("approve", vec![patch + 1, known.1[1], 0]));
    used.patches += 1;
    let forms = (1..=16).filter(|form| *form != 13);
    steps.extend(forms.map(|form| approve(patch + 1, used, form)));
    steps.extend((1..=3).map(|form| ("register", vec![2, form])));
    steps.extend((1..=4).map(|form| ("stake", vec![node, SUI, 1, form])));
    steps.push(("stake", vec![node, SUI, 4, 0]));
    steps.extend([("update_pcrs", vec![0, 48]), ("update_pcrs", vec![1, 47])]);
    steps
}

/// Values within and out of their bounds, and what only some may.
fn bounds(node: u64) -> Vec<Step> {
    vec![
        ("open", Vec::new()),
        ("set_minimum_stake", vec![SUI / 10 - 1]),
        ("set_unbonding", vec![HOUR_MS - 1]),
        ("set_unbonding", vec![DAY_MS]),
        ("set_seal_token_lifetime", vec![365 * DAY_MS + 1]),
        ("set_seal_token_lifetime", vec![HOUR_MS]),
        ("set_reporter_share", vec![5_001]),
        ("set_reporter_share", vec![5_000]),
        ("set_offence", vec![3, 0, 100, 1]),
        ("set_offence", vec![3, 200, 100, 1]),
        ("begin_maintenance", vec![node, 0, 0]),
        ("begin_maintenance", vec![node, 0, 3 * DAY_MS + 1]),
        ("set_beneficiary", vec![node, 3, 2]),
        ("set_beneficiary", vec![node, 1, 4]),
        ("set_beneficiary", vec![node, 1, 2]),
        ("slash", vec![node, 10_001, 0]),
        ("slash", vec![node, 1, 1]),
        ("top_up", vec![node, 0]),
        ("ask", vec![node, 1]),
        ("top_up", vec![node, 1]),
        ("begin_maintenance", vec![node, 0, 1]),
        ("cancel", vec![node, 0]),
        ("cancel", vec![node, 1]),
    ]
}

/// A minimum that rises, past its notice and its grace, and falls.
fn rises(node: u64) -> Vec<Step> {
    let mut steps = vec![
        ("set_minimum_stake", vec![6 * SUI]),
        ("set_minimum_stake", vec![7 * SUI]),
    ];
    for wait in [15 * DAY_MS - 1, 1, 7 * DAY_MS - 1, 1] {
        steps.push(("wait", vec![wait]));
        steps.push(("token", vec![node, 0]));
        steps.push(("stake", vec![(node + 1) % NODES, 5 * SUI, 1, 0]));
        steps.push(("restake", vec![node, 0, 5 * SUI]));
    }
    steps.push(("set_minimum_stake", vec![SUI]));
    steps
}

/// Tokens of another record, and those that do not count any more.
fn of_tokens(node: u64, variant: u64) -> Vec<Step> {
    let other = (node + 1) % NODES;
    match variant {
        0 => vec![
            ("token", vec![node, 0]),
            ("token", vec![other, 0]),
            ("renew", vec![node, other]),
            ("ask_with_token", vec![node, other]),
            ("renew", vec![node, node]),
            ("burn", vec![node]),
        ],
        1 => vec![
            ("token", vec![node, 0]),
            ("ask", vec![node, 0]),
            ("token", vec![node, 0]),
            ("renew", vec![node, node]),
            ("cancel", vec![node, 0]),
            ("ask_with_token", vec![node, node]),
        ],
        _ => vec![
            ("token", vec![node, 0]),
            ("ask_with_token", vec![node, node]),
            ("withdraw", vec![node, 0]),
            ("ask_with_token", vec![node, node]),
        ],
    }
}

/// A stake that is asked back by both owners, paid, asked for once more, and staked anew.
fn of_an_unbonding(node: u64, who: u64) -> Vec<Step> {
    vec![
        ("ask", vec![node, 0]),
        ("ask", vec![node, 1]),
        ("cancel", vec![node, 0]),
        ("withdraw", vec![node, who]),
        ("wait", vec![7 * DAY_MS - 1]),
        ("withdraw", vec![node, who]),
        ("wait", vec![7 * DAY_MS + 1]),
        ("withdraw", vec![node, who]),
        ("withdraw", vec![node, 1 - who]),
        ("restake", vec![node, 0, 5_000_000_000]),
    ]
}

fn of_maintenance(node: u64) -> Vec<Step> {
    vec![
        ("begin_maintenance", vec![node, 0, DAY_MS]),
        ("wait", vec![HOUR_MS]),
        ("begin_maintenance", vec![node, 0, DAY_MS]),
        ("end_maintenance", vec![node, 1]),
        ("end_maintenance", vec![node, 0]),
        ("begin_maintenance", vec![node, 0, 3 * DAY_MS]),
    ]
}

fn of_a_listing(master: u64) -> Vec<Step> {
    vec![
        ("register", vec![master, 0]),
        ("list_master", vec![master, 1]),
        ("list_master", vec![master, 1]),
        ("remove_retired_master", vec![master]),
        ("remove_master", vec![master]),
        ("remove_master", vec![master]),
    ]
}

/// A capability that does not count yet, one that does, and one that was revoked.
fn of_slashers(node: u64, used: &mut Used) -> Vec<Step> {
    vec![
        ("restake", vec![node, 0, 5 * SUI]),
        ("new_slasher", Vec::new()),
        ("slash", vec![node, 100, fresh(used)]),
        ("wait", vec![15 * DAY_MS]),
        ("slash", vec![node, 100, fresh(used)]),
        ("withdraw_treasury", vec![1]),
        ("withdraw_treasury", vec![0]),
        ("revoke_slasher", Vec::new()),
        ("slash", vec![node, 100, fresh(used)]),
        ("revoke_slasher", Vec::new()),
        ("new_slasher", Vec::new()),
    ]
}

/// Releases that go, and those that stay.
fn of_releases(used: &mut Used, ahead: u64) -> Vec<Step> {
    let former = used.patches + 1;
    used.patches += 2;
    vec![
        approve(former, used, 0),
        approve(former + 1, used, 13),
        ("revoke", vec![former, DAY_MS]),
        ("revoke", vec![former, DAY_MS]),
        ("set_minimum", vec![former + 1, ahead]),
        ("remove", vec![former]),
        ("lower_minimum", vec![former + 1]),
        ("lower_minimum", vec![former]),
        ("set_minimum", vec![former + 1, ahead]),
        ("wait", vec![ahead]),
        ("remove", vec![former]),
        ("remove", vec![former + 1]),
    ]
}
