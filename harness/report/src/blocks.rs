//! A plot of values in one line of text, for terminals.

use windtunnel_ledger::stats;

/// The narrowest range that fills the height, as a share of its midpoint, so that noise looks as
/// small as it is.
const NARROW: f64 = 0.1;
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// One block per value, from left to right; if there are more than `most`, one block per group of
/// consecutive values, at their median. Non-finite values leave a gap.
#[must_use]
pub fn blocks(values: &[f64], most: usize) -> String {
    let width = values.len().div_ceil(most.max(1)).max(1);
    let steps: Vec<f64> = values.chunks(width).filter_map(stats::median).collect();
    let finite = || steps.iter().copied().filter(|value| value.is_finite());
    let (low, high) =
        (finite().fold(f64::INFINITY, f64::min), finite().fold(f64::NEG_INFINITY, f64::max));
    let middle = f64::midpoint(low, high);
    let half = ((high - low) / 2.0).max(NARROW / 2.0 * middle.abs()).max(f64::MIN_POSITIVE);
    let block = |value: f64| {
        let height = ((value - middle) / half + 1.0) / 2.0;
        let place = (height * BLOCKS.len() as f64) as usize;
        if value.is_finite() { BLOCKS[place.min(BLOCKS.len() - 1)] } else { ' ' }
    };
    steps.into_iter().map(block).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_course_rises_with_its_values_and_noise_stays_flat() {
        assert_eq!(blocks(&[1.0, 2.0, 3.0], 24), "▁▅█");
        assert_eq!(blocks(&[100.0, 100.4, 99.8], 24), "▄▅▄");
        assert_eq!(blocks(&[7.0], 24), "▅");
        assert_eq!(blocks(&[0.0, 0.0], 24), "▅▅");
        assert_eq!(blocks(&[1.0, f64::NAN, 2.0], 24), "▁ █");
    }

    #[test]
    fn more_values_than_there_is_room_for_share_a_block() {
        let values: Vec<f64> = (0..100).map(f64::from).collect();
        assert_eq!(blocks(&values, 4), "▁▃▆█");
        assert_eq!(blocks(&[], 0), "");
    }
}
