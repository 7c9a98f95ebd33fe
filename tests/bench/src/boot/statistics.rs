//! Medians and spreads of few figures.

use serde::Serialize;

/// What a handful of figures says.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// How many there are.
    pub count: usize,
    /// The middle one, or the mean of the two in the middle.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// The median of the distances from the median.
    pub mad: f64,
}

impl Summary {
    /// Of these figures; none where there is no figure.
    #[must_use]
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let median = median(&sorted)?;
        let mut distances: Vec<f64> = sorted.iter().map(|value| (value - median).abs()).collect();
        distances.sort_by(f64::total_cmp);
        Some(Self {
            count: sorted.len(),
            median,
            min: *sorted.first()?,
            max: *sorted.last()?,
            mad: self::median(&distances)?,
        })
    }
}

/// The median of sorted figures.
fn median(sorted: &[f64]) -> Option<f64> {
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = *sorted.get(middle.checked_sub(1)?)?;
    Some(f64::midpoint(lower, upper))
}

/// Which of these figures lies nearest to their median.
#[must_use]
pub fn nearest_to_median(values: &[f64]) -> Option<usize> {
    let summary = Summary::of(values)?;
    let distance = |value: &f64| (value - summary.median).abs();
    values
        .iter()
        .enumerate()
        .min_by(|(_, left), (_, right)| distance(left).total_cmp(&distance(right)))
        .map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summary_of_odd_and_even_counts() {
        let odd = Summary::of(&[3.0, 1.0, 10.0]).unwrap();
        assert_eq!(
            (odd.median, odd.min, odd.max, odd.mad),
            (3.0, 1.0, 10.0, 2.0)
        );
        let even = Summary::of(&[4.0, 1.0, 2.0, 8.0]).unwrap();
        assert_eq!((even.median, even.mad, even.count), (3.0, 1.5, 4));
        assert_eq!(Summary::of(&[]), None);
    }

    #[test]
    fn nearest_is_a_figure_that_was_measured() {
        assert_eq!(nearest_to_median(&[9.0, 1.0, 4.0]), Some(2));
        assert_eq!(nearest_to_median(&[1.0, 5.0, 5.5, 9.0]), Some(1));
        assert_eq!(nearest_to_median(&[]), None);
    }
}
