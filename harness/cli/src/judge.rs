//! `windtunnel judge`: verdicts on samples of any benchmark, from plain files.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Serialize;
use windtunnel_ledger::compare::Side;
use windtunnel_ledger::judge::{Evidence, Judgement, judge};
use windtunnel_ledger::verdict::Verdict;

use crate::args::{JudgeArgs, JudgeFormat, Undecided};
use crate::{exit, show};

mod samples;

use samples::Sampled;

/// The series of one run: a family.
pub(crate) struct Family {
    /// The name of the run; empty if the files name none.
    pub(crate) run: String,
    /// How many series the run judges.
    pub(crate) size: usize,
    /// Its series, with their judgements.
    pub(crate) series: Vec<Judged>,
}

/// A series and its judgement.
pub(crate) struct Judged {
    /// Its id.
    pub(crate) id: String,
    /// The unit of its values.
    pub(crate) unit: String,
    /// The number of pairs of rounds; 0 for a stored baseline.
    pub(crate) pairs: usize,
    /// The judgement.
    pub(crate) judgement: Judgement,
}

/// Judges the files that the arguments name.
pub(crate) fn samples_of(args: &JudgeArgs) -> Result<u8> {
    let families = families(samples::read(&args.files)?);
    match args.format {
        JudgeFormat::Table => show::result(&show::verdicts(&families))?,
        JudgeFormat::Json => show::result(&json(&families)?)?,
    }
    let verdicts = families.iter().flat_map(|family| &family.series);
    let verdict = Verdict::on_all(verdicts.map(|judged| judged.judgement.verdict));
    Ok(match (verdict, args.inconclusive) {
        (Verdict::Broken, _) => exit::BROKEN,
        (Verdict::Regressed, _) => exit::REGRESSED,
        (Verdict::Invalid, _) => exit::INVALID,
        (Verdict::Inconclusive, Undecided::Blocks) => exit::INCONCLUSIVE,
        (Verdict::Inconclusive, Undecided::Warns) => exit::PASS,
        (Verdict::Improved | Verdict::Pass, _) => exit::PASS,
    })
}

/// Judges each run separately, in the order of their names.
fn families(sampled: Vec<Sampled>) -> Vec<Family> {
    let mut runs: BTreeMap<String, Vec<Sampled>> = BTreeMap::new();
    for series in sampled {
        runs.entry(series.run.clone()).or_default().push(series);
    }
    runs.into_iter().map(|(run, sampled)| family(run, sampled)).collect()
}

fn family(run: String, sampled: Vec<Sampled>) -> Family {
    let named = sampled.iter().map(|series| series.family).max().unwrap_or(0);
    let size = named.max(sampled.len());
    let (names, questions): (Vec<_>, Vec<_>) =
        sampled.into_iter().map(|series| ((series.id, series.unit), series.question)).unzip();
    let judgements = judge(&questions, size);
    let pairs = questions.iter().map(|question| match &question.evidence {
        Evidence::Interleaved { base, head, .. } => base.len().min(head.len()),
        Evidence::Stored { .. } | Evidence::Missing(_) => 0,
    });
    let series = names.into_iter().zip(pairs).zip(judgements);
    let series =
        series.map(|(((id, unit), pairs), judgement)| Judged { id, unit, pairs, judgement });
    let series = series.collect();
    Family { run, size, series }
}

/// The output for programs about one series. Effects are those of a
/// [`Finding`](windtunnel_ledger::judge::Finding), positive if the candidate is worse.
#[derive(Serialize)]
struct Answer {
    verdict: &'static str,
    rule: String,
    run: String,
    family: usize,
    #[serde(flatten)]
    finding: Option<Numbers>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lacks: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    modes: Vec<TwoModes>,
}

#[derive(Serialize)]
struct Numbers {
    effect: f64,
    low: f64,
    high: f64,
    margin: f64,
    mde: f64,
    rounds: usize,
}

#[derive(Serialize)]
struct TwoModes {
    side: &'static str,
    values: [f64; 2],
    shares: [f64; 2],
}

fn json(families: &[Family]) -> Result<String> {
    let answers = families.iter().flat_map(|family| {
        family.series.iter().map(|judged| (&judged.id, answer(family, &judged.judgement)))
    });
    let answers: BTreeMap<&String, Answer> = answers.collect();
    let text = serde_json::to_string_pretty(&answers).context("cannot write the verdicts")?;
    Ok(text + "\n")
}

fn answer(family: &Family, judgement: &Judgement) -> Answer {
    let verdict = match judgement.verdict {
        Verdict::Regressed => "regressed",
        Verdict::Improved => "improved",
        Verdict::Pass => "not_regressed",
        Verdict::Inconclusive => "inconclusive",
        Verdict::Broken => "broken",
        Verdict::Invalid => "invalid",
    };
    let finding = judgement.finding.map(|finding| Numbers {
        effect: finding.effect,
        low: finding.low,
        high: finding.high,
        margin: finding.margin,
        mde: finding.mde,
        rounds: finding.rounds,
    });
    let modes = judgement.modes.iter().map(|(side, modes)| TwoModes {
        side: side_name(*side),
        values: [modes.low.value, modes.high.value],
        shares: [modes.low.share, modes.high.share],
    });
    Answer {
        verdict,
        rule: judgement.rule.to_string(),
        run: family.run.clone(),
        family: family.size,
        finding,
        lacks: judgement.lack.map(|lack| lack.to_string()),
        modes: modes.collect(),
    }
}

/// The name of a side in the files.
pub(crate) fn side_name(side: Side) -> &'static str {
    match side {
        Side::Base => "baseline",
        Side::Head => "candidate",
    }
}
