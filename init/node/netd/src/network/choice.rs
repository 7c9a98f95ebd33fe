//! Which of several links is used, where the configuration names none.

use std::time::Duration;

use crate::settings::Reach;

/// A link that could be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) index: u32,
    pub(crate) reach: Reach,
    /// How long it has been without a carrier; none: it has one.
    pub(crate) dark: Option<Duration>,
}

/// The link to use: the one that was, unless another leads further. One that lost its carrier is still the one for
/// `patience`: a cable that is put back is no reason to move. Links that lead nowhere beyond themselves are not used.
pub(crate) fn choose(
    chosen: Option<u32>,
    candidates: &[Candidate],
    patience: Duration,
) -> Option<u32> {
    let former = candidates
        .iter()
        .find(|candidate| Some(candidate.index) == chosen);
    let best = candidates
        .iter()
        .filter(|candidate| candidate.reach >= Reach::LinkLocalRouted)
        // the lowest number of those that lead equally far
        .max_by_key(|candidate| (candidate.reach, std::cmp::Reverse(candidate.index)));
    match (former, best) {
        (Some(former), _) if former.dark.is_some_and(|dark| dark < patience) => Some(former.index),
        (Some(former), Some(best)) if best.reach > former.reach => Some(best.index),
        (Some(former), _) => Some(former.index),
        (None, best) => best.map(|best| best.index),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);

    fn candidate(index: u32, reach: Reach) -> Candidate {
        Candidate {
            index,
            reach,
            dark: None,
        }
    }

    #[test]
    fn default_route_beats_an_address_and_the_first_stays() {
        let bmc = candidate(2, Reach::Network);
        let lan = candidate(3, Reach::Everywhere);
        let other = candidate(1, Reach::Everywhere);
        assert_eq!(choose(None, &[bmc], PATIENCE), Some(2));
        assert_eq!(
            choose(Some(2), &[bmc, candidate(3, Reach::Nothing)], PATIENCE),
            Some(2)
        );
        assert_eq!(
            choose(Some(2), &[bmc, lan], PATIENCE),
            Some(3),
            "it leads further"
        );
        assert_eq!(
            choose(Some(3), &[bmc, lan, other], PATIENCE),
            Some(3),
            "no reason to move"
        );
        assert_eq!(choose(None, &[bmc, lan, other], PATIENCE), Some(1));
    }

    #[test]
    fn link_local_is_no_way_out() {
        assert_eq!(
            choose(None, &[candidate(2, Reach::LinkLocal)], PATIENCE),
            None
        );
        assert_eq!(choose(None, &[], PATIENCE), None);
    }

    #[test]
    fn pulled_cable_has_some_time_before_another_link_is_taken() {
        let pulled = |seconds| Candidate {
            index: 2,
            reach: Reach::Nothing,
            dark: Some(Duration::from_secs(seconds)),
        };
        let lan = candidate(3, Reach::Everywhere);
        assert_eq!(choose(Some(2), &[pulled(4), lan], PATIENCE), Some(2));
        assert_eq!(choose(Some(2), &[pulled(5), lan], PATIENCE), Some(3));
        assert_eq!(
            choose(Some(2), &[pulled(60)], PATIENCE),
            Some(2),
            "nothing better"
        );
    }
}
