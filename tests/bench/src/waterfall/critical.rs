//! The critical path: which bars would have to be shorter for a point to be reached earlier.

use super::bars::Bar;

/// Times have three decimals, and what follows from an end is logged within a turn of PID 1's loop.
const TOLERANCE: f64 = 0.005;

/// The bars that lead to a time, first to last.
///
/// PID 1 starts a service in the turn of its loop in which the last of its requirements came up, so what ended
/// last before a bar began is what it waited for.
pub(super) fn path(bars: &[Bar], target: f64) -> Vec<usize> {
    let mut path: Vec<usize> = Vec::new();
    let mut until = target;
    loop {
        let before = bars.iter().enumerate().filter(|(index, bar)| {
            bar.finished && bar.end <= until + TOLERANCE && !path.contains(index)
        });
        // of two that end at once, the shorter one is a step of the other
        let last = before.max_by(|(_, left), (_, right)| {
            left.end
                .total_cmp(&right.end)
                .then(left.start.total_cmp(&right.start))
        });
        let Some((index, bar)) = last else {
            path.reverse();
            return path;
        };
        path.push(index);
        until = bar.start;
        if until <= TOLERANCE {
            path.reverse();
            return path;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::bars::tests::timeline;
    use super::*;

    #[test]
    fn path_leads_over_what_ended_last() {
        let timeline = timeline();
        let names: Vec<&str> = path(&timeline.bars, timeline.target.1)
            .into_iter()
            .map(|index| timeline.bars[index].name.as_str())
            .collect();
        assert_eq!(
            names,
            [
                "kernel",
                "root-device",
                "verity",
                "switch-root",
                "mounts",
                "state",
                "containerd"
            ]
        );
    }

    #[test]
    fn path_ends_where_bars_take_no_time() {
        let bar = |start, end| Bar {
            name: String::new(),
            start,
            end,
            finished: true,
        };
        assert_eq!(path(&[bar(1.0, 1.0), bar(1.0, 1.0)], 2.0), [0, 1]);
        assert!(path(&[], 2.0).is_empty());
    }
}
