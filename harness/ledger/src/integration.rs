//! The result of picking commits onto a fork, one at a time.

use crate::case::CaseId;
use crate::gate::{Report, Row};
use crate::judge::Finding;
use crate::unit::share;
use crate::verdict::Verdict;

/// Commits that were picked, up to the one that stopped it.
#[derive(Clone, Debug, PartialEq)]
pub struct Integration {
    /// Start time, RFC 3339 in UTC.
    pub at: String,
    /// The fork's repository.
    pub repository: String,
    /// The fork's commit that it started from.
    pub start: String,
    /// The fork's commit that it reached: the last pick that was kept.
    pub end: String,
    /// The branch that was set to `end`; none if nothing was kept.
    pub branch: Option<String>,
    /// The commits that were requested, in order.
    pub picks: Vec<Pick>,
}

/// One requested commit.
#[derive(Clone, Debug, PartialEq)]
pub struct Pick {
    /// Its upstream hash.
    pub hash: String,
    /// The first line of its message.
    pub subject: String,
    /// The checks that were run, in order, with the output of the last one if it failed.
    pub checks: Vec<Checked>,
    /// Its measurement, if it was measured.
    pub measured: Option<Measured>,
    /// The result.
    pub end: End,
}

/// A check that was run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Its name.
    pub name: String,
    /// The end of its output if it failed.
    pub failure: Option<String>,
}

/// A commit, measured against the one before it.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// The page of the run, relative to the folder of the integration's own page.
    pub page: String,
    /// The gate's report.
    pub report: Report,
}

/// The result for a requested commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Kept, as this commit of the fork.
    Kept(String),
    /// The fork already has all of it.
    Empty,
    /// It conflicts in these files, which ended the integration.
    Conflict(Vec<String>),
    /// A check failed, which ended the integration.
    CheckFailed,
    /// It could not be built, which ended the integration. With the end of the build's output.
    NotBuilt(String),
    /// The gate did not pass it, which ended the integration.
    NotPassed(Verdict),
    /// An earlier commit had ended the integration.
    NotTried,
}

impl End {
    /// Whether the next commit may be tried.
    #[must_use]
    pub const fn goes_on(&self) -> bool {
        matches!(self, End::Kept(_) | End::Empty)
    }
}

impl Measured {
    /// The most significant row: of those with the worst verdict, the one with the largest effect.
    /// Rows that only warn come last.
    #[must_use]
    pub fn headline(&self) -> Option<(&CaseId, &Row)> {
        let rows = self.rows().filter(|(_, row)| row.finding.is_some());
        let rank = |row: &Row| (row.counted(), row.verdict);
        let size = |row: &Row| row.finding.map_or(0.0, |finding| finding.effect.abs());
        rows.min_by(|(_, a), (_, b)| rank(a).cmp(&rank(b)).then(size(b).total_cmp(&size(a))))
    }

    /// Every row with its case.
    pub fn rows(&self) -> impl Iterator<Item = (&CaseId, &Row)> {
        self.report.cases.iter().flat_map(|case| case.rows.iter().map(|row| (&case.case, row)))
    }
}

/// A pick as text for tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    /// Whether it applied.
    pub applied: String,
    /// Which checks passed.
    pub checks: String,
    /// The verdict of the gate.
    pub verdict: String,
    /// The most significant effect.
    pub effect: String,
    /// The result.
    pub end: String,
}

impl Pick {
    /// The pick as text for tables.
    #[must_use]
    pub fn words(&self) -> Words {
        let none = || "–".to_owned();
        let applied = match &self.end {
            End::Conflict(files) => format!("conflict in {}", files.join(", ")),
            End::Empty => "empty".to_owned(),
            End::NotTried => none(),
            End::Kept(_) | End::CheckFailed | End::NotBuilt(_) | End::NotPassed(_) => {
                "clean".to_owned()
            }
        };
        let failed = self.checks.iter().find(|check| check.failure.is_some());
        let names: Vec<&str> = self.checks.iter().map(|check| check.name.as_str()).collect();
        let checks = match failed {
            Some(check) => format!("{} failed", check.name),
            None if names.is_empty() => none(),
            None => format!("{} held", names.join(", ")),
        };
        let measured = self.measured.as_ref();
        let verdict = measured.map_or_else(none, |measured| measured.report.verdict.to_string());
        let effect = measured.and_then(Measured::effect).unwrap_or_else(none);
        let end = match &self.end {
            End::Kept(commit) => format!("kept as {}", short(commit)),
            End::Empty => "passed over: the fork has all of it".to_owned(),
            End::NotTried => "not tried".to_owned(),
            End::Conflict(_) => "stopped: it conflicts".to_owned(),
            End::CheckFailed => {
                format!("stopped: {} failed", failed.map_or("a check", |check| &check.name))
            }
            End::NotBuilt(_) => "stopped: it does not build".to_owned(),
            End::NotPassed(verdict) => format!("stopped: {verdict}"),
        };
        Words { applied, checks, verdict, effect, end }
    }

    /// The end of the output of the check or build that stopped it.
    #[must_use]
    pub fn tail(&self) -> Option<&str> {
        match &self.end {
            End::NotBuilt(tail) => Some(tail),
            _ => self.checks.iter().find_map(|check| check.failure.as_deref()),
        }
    }
}

impl Measured {
    /// The most significant effect, `decode 9.1% worse (8.2% to 9.9%)`; how large an effect can be
    /// if everything passed; or why there is none.
    #[must_use]
    pub fn effect(&self) -> Option<String> {
        let reason = || {
            let mut cases = self.report.cases.iter();
            let case = cases.find(|case| case.verdict == self.report.verdict)?;
            case.reasons.first().cloned()
        };
        if let Some(reason) = reason() {
            return Some(reason);
        }
        if self.report.verdict == Verdict::Pass {
            return self.most();
        }
        let (_, row) = self.headline()?;
        row.finding.map(|finding| format!("{} {}", row.series.label(), effect_in_words(&finding)))
    }

    /// How much worse any series that passed can be.
    fn most(&self) -> Option<String> {
        let passed = self.rows().filter(|(_, row)| row.verdict == Verdict::Pass);
        let highs = passed.filter_map(|(_, row)| Some((row.series.label(), row.finding?.high)));
        let (label, high) = highs.max_by(|a, b| a.1.total_cmp(&b.1))?;
        Some(format!("at most {:.1}% worse, {label}", high.max(0.0) * 100.0))
    }
}

/// `9.1% worse (8.2% to 9.9%)`, `2.0% better (1.5% to 2.5%)`, `0.0% (-0.3% to 0.4%)`: the interval
/// has the direction of the word; without a word, positive is worse.
#[must_use]
pub fn effect_in_words(finding: &Finding) -> String {
    let Finding { effect, low, high, .. } = *finding;
    let size = share(effect.abs());
    let (word, low, high) = match effect {
        _ if size == "0.0%" => ("", low, high),
        effect if effect < 0.0 => (" better", -high, -low),
        _ => (" worse", low, high),
    };
    format!("{size}{word} ({} to {})", share(low), share(high))
}

impl Integration {
    /// How many of the requested commits were kept, and why it stopped, as a sentence.
    #[must_use]
    pub fn headline(&self) -> String {
        let kept = self.picks.iter().filter(|pick| matches!(pick.end, End::Kept(_))).count();
        let of = match self.picks.len() {
            1 => "1 commit".to_owned(),
            n => format!("{n} commits"),
        };
        let stopped = self.picks.iter().find(|pick| !pick.end.goes_on());
        match stopped.filter(|pick| pick.end != End::NotTried) {
            Some(pick) => {
                format!("{kept} of {of} kept; {} {}", short(&pick.hash), pick.words().end)
            }
            None => format!("{kept} of {of} kept"),
        }
    }
}

/// The abbreviated hash of a commit.
#[must_use]
pub fn short(hash: &str) -> &str {
    hash.get(..9).unwrap_or(hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::tests::case;
    use crate::gate::CaseReport;
    use crate::metric::Metric;
    use crate::policy::Weight;
    use crate::series::Series;

    fn pick(hash: char, end: End) -> Pick {
        let hash = hash.to_string().repeat(40);
        Pick { hash, subject: "Subject".to_owned(), checks: Vec::new(), measured: None, end }
    }

    fn integration(picks: Vec<Pick>) -> Integration {
        let text = |text: &str| text.to_owned();
        let (at, repository, start, end) = (text("now"), text("fork"), text("1"), text("2"));
        Integration { at, repository, start, end, branch: None, picks }
    }

    #[test]
    fn a_headline_counts_what_was_kept_and_names_what_stopped_it() {
        let kept = || pick('a', End::Kept("f".repeat(40)));
        let headline = |picks| integration(picks).headline();
        assert_eq!(headline(vec![kept()]), "1 of 1 commit kept");
        assert_eq!(headline(vec![kept(), pick('b', End::Empty)]), "1 of 2 commits kept");
        assert_eq!(
            headline(vec![kept(), pick('b', End::Conflict(vec![])), pick('c', End::NotTried)]),
            "1 of 3 commits kept; bbbbbbbbb stopped: it conflicts"
        );
        assert_eq!(headline(vec![pick('b', End::NotTried)]), "0 of 1 commit kept");
    }

    #[test]
    fn a_pick_is_told_in_words() {
        let words = pick('a', End::Conflict(vec!["x".to_owned(), "y".to_owned()])).words();
        assert_eq!((words.applied.as_str(), words.checks.as_str()), ("conflict in x, y", "–"));
        let mut failed = pick('a', End::CheckFailed);
        let check = |name: &str, failure: Option<&str>| Checked {
            name: name.to_owned(),
            failure: failure.map(str::to_owned),
        };
        failed.checks = vec![check("format", None), check("lint", Some("a tail"))];
        let words = failed.words();
        assert_eq!(
            (words.checks.as_str(), words.end.as_str()),
            ("lint failed", "stopped: lint failed")
        );
        assert_eq!(failed.tail(), Some("a tail"));
        assert_eq!(pick('a', End::NotBuilt("no".to_owned())).tail(), Some("no"));
        assert_eq!(pick('a', End::NotPassed(Verdict::Broken)).words().end, "stopped: broken");
    }

    #[test]
    fn an_effect_is_told_with_its_direction_and_its_interval() {
        let finding =
            |effect, low, high| Finding { effect, low, high, margin: 0.03, mde: 0.01, rounds: 6 };
        let words = |effect, low, high| effect_in_words(&finding(effect, low, high));
        assert_eq!(words(0.0912, 0.082, 0.0991), "9.1% worse (8.2% to 9.9%)");
        assert_eq!(words(-0.02, -0.025, -0.0001), "2.0% better (0.0% to 2.5%)");
        assert_eq!(words(-0.0003, -0.003, 0.004), "0.0% (-0.3% to 0.4%)");
        // From zero.
        let none = f64::INFINITY;
        assert_eq!(words(none, none, none), "∞ worse (∞ to ∞)");
    }

    /// The measurement of a commit whose gate verdict is `verdict`.
    fn measured(verdict: Verdict, cases: Vec<CaseReport>) -> Measured {
        let report = Report {
            verdict,
            weight: Weight::Blocks,
            policy: serde_json::from_str("\"a policy\"").unwrap(),
            judged: 0,
            family: 0,
            cases,
            unjudged: Vec::new(),
            control: Vec::new(),
        };
        Measured { page: String::new(), report }
    }

    #[test]
    fn what_nothing_was_compared_of_has_no_effect() {
        assert_eq!(measured(Verdict::Invalid, Vec::new()).effect(), None);
    }

    #[test]
    fn an_effect_is_told_of_what_decides_and_not_of_what_only_warns() {
        let row = |metric, weight, verdict, effect: f64| {
            let (low, high) = (effect - 0.01, effect + 0.01);
            let finding = Finding { effect, low, high, margin: 0.03, mde: 0.01, rounds: 6 };
            Row {
                series: Series::median(metric),
                verdict,
                weight,
                base: None,
                head: None,
                rule: None,
                finding: Some(finding),
                lacks: None,
                modes: Vec::new(),
                reason: None,
            }
        };
        let load = || row(Metric::LoadTime, Weight::Warns, Verdict::Regressed, 0.5);
        let effect = |verdict, rows: Vec<Row>| {
            let case = CaseReport {
                case: case("a").id,
                verdict,
                reasons: Vec::new(),
                unfinished: None,
                tail: None,
                differences: Vec::new(),
                rows,
            };
            measured(verdict, vec![case]).effect().unwrap()
        };
        let decode = |verdict, effect| row(Metric::DecodeRate, Weight::Blocks, verdict, effect);
        let regressed = effect(Verdict::Regressed, vec![load(), decode(Verdict::Regressed, 0.08)]);
        assert_eq!(regressed, "decode 8.0% worse (7.0% to 9.0%)");
        let improved = effect(Verdict::Improved, vec![load(), decode(Verdict::Improved, -0.08)]);
        assert_eq!(improved, "decode 8.0% better (7.0% to 9.0%)");
        let passed = effect(Verdict::Pass, vec![load(), decode(Verdict::Pass, 0.001)]);
        assert_eq!(passed, "at most 1.1% worse, decode");
    }
}
