//! The arithmetic behind a verdict, in the symbols of `ci/judge.md`.

use std::fmt::Write as _;

use windtunnel_ledger::judge::explain::{Explanation, Step};
use windtunnel_ledger::judge::{ALPHA, BETA, Evidence, Question, Rule};
use windtunnel_ledger::unit::signed;

/// How a question was judged.
pub(crate) fn explanation(title: &str, question: &Question, told: &Explanation) -> String {
    let mut text = format!("{title}: {}\n", told.judgement.verdict);
    let list =
        |values: &[f64]| values.iter().map(|value| digits(*value)).collect::<Vec<_>>().join(" ");
    match &question.evidence {
        Evidence::Interleaved { base, head, .. } => {
            let _ = writeln!(text, "  base    {}\n  head    {}", list(base), list(head));
        }
        Evidence::Stored { sessions, head, session_sd } => {
            for session in sessions {
                let _ = writeln!(text, "  session {}", list(session));
            }
            let _ = writeln!(text, "  head    {}", list(head));
            let sd = session_sd.map_or_else(|| "unknown".to_owned(), |sd| format!("{sd:.5}"));
            let _ = writeln!(text, "  sd between sessions, from calibration: {sd}");
        }
        Evidence::Missing(lack) => {
            let _ = writeln!(text, "  nothing to judge by: it lacks {lack}");
        }
    }
    let how = match told.judgement.rule {
        Rule::Quantised => {
            Some("both sides repeat within 0.5 %: compared as they are, without statistics")
        }
        Rule::Order => Some(
            "a value is not above zero: an alarm needs all rounds of one side to be worse, a pass none to be worse by the margin",
        ),
        Rule::Interleaved | Rule::Stored => None,
    };
    if let Some(how) = how {
        let _ = writeln!(text, "  {how}");
        if let Some(finding) = told.judgement.finding {
            let _ = writeln!(
                text,
                "  the medians differ by {}; the margin is {}",
                signed(finding.effect),
                signed(finding.margin)
            );
        }
    }
    if !told.steps.is_empty() {
        text.push_str("  on the log scale, larger is worse:\n");
        if !told.differences.is_empty() {
            let d: Vec<String> = told.differences.iter().map(|d| format!("{d:+.5}")).collect();
            let _ = writeln!(text, "  d_i     {}", d.join(" "));
        }
    }
    for step in &told.steps {
        text.push_str(&of_step(step, told.family));
    }
    if let Some(lack) = told.judgement.lack {
        let _ = writeln!(text, "  it lacks {lack}");
    }
    text.push('\n');
    text
}

fn of_step(step: &Step, family: usize) -> String {
    let Step {
        rounds,
        clipping,
        effect,
        se,
        df,
        share,
        theta,
        bias,
        worse,
        better,
        upper,
        verdict,
    } = step;
    let mut text =
        format!("  look at {rounds} rounds, with {:.0} % of the allowed error\n", share * 100.0);
    if let Some(clipping) = clipping {
        let _ = writeln!(
            text,
            "    m = {:+.5}, s = {:.5}, {} clipped to m ± 3 s",
            clipping.median, clipping.scale, clipping.clipped
        );
    }
    let _ = writeln!(
        text,
        "    ê = {effect:+.5}, se = {se:.5}, df = {df:.0}; θ = {theta:.5}, δ₀ = {bias:.5}"
    );
    let holm = |(p, threshold): &(f64, f64)| {
        let sign = if p <= threshold { "≤" } else { ">" };
        format!("p = {p:.2e} {sign} {threshold:.2e}")
    };
    let _ = writeln!(
        text,
        "    worse: {}, better: {} (Holm, {ALPHA} over a family of {family}); an alarm also needs |ê| ≥ θ",
        holm(worse),
        holm(better)
    );
    let sign = if upper < theta { "<" } else { "≥" };
    let _ = writeln!(text, "    pass: ê + t({BETA} · share) · se = {upper:+.5} {sign} θ");
    let verdict = verdict.map_or_else(|| "undecided".to_owned(), |verdict| verdict.to_string());
    let _ = writeln!(text, "    → {verdict}");
    text
}

/// Six significant digits; fewer of numbers just below 1.
fn digits(value: f64) -> String {
    if value != 0.0 && value.abs() < 1e-3 {
        return format!("{value:.5e}");
    }
    let whole = value.abs().max(1.0).log10().floor() as usize;
    format!("{value:.*}", 5_usize.saturating_sub(whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_numbers_keep_their_digits() {
        let shown = [0.0, 2.13e-7, -4e-4, 0.25, 12.5, 1_234_567.0].map(digits);
        let expected = ["0.00000", "2.13000e-7", "-4.00000e-4", "0.25000", "12.5000", "1234567"];
        assert_eq!(shown, expected);
    }
}
