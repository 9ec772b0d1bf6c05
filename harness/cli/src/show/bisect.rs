//! The result of a bisection: the commits that were measured, then the culprit.

use std::fmt::Write as _;

use comfy_table::Cell;
use windtunnel_ledger::integration::short;

use super::{count, push, table};
use crate::bisect::{Answer, Descent, Found, Look, Named, Searched, Sought, Whose};

/// The whole search.
pub(crate) fn bisected(searched: &Searched) -> String {
    let Searched { what, good, ends, looks, found } = searched;
    let mut text = format!(
        "{what}\ngood {}\nbad  {}: {}\n",
        short(good),
        short(&ends.commit),
        answer(&ends.answer, &ends.effect)
    );
    if !looks.is_empty() {
        let mut table = table(vec![
            Cell::new("commit"),
            Cell::new("beside the good one"),
            Cell::new("subject"),
        ]);
        for look in looks {
            table.add_row([
                Cell::new(short(&look.commit)),
                Cell::new(answer(&look.answer, &look.effect)),
                Cell::new(&look.subject),
            ]);
        }
        text.push('\n');
        push(&mut text, &table);
    }
    text.push('\n');
    match found {
        Found::Nothing => {
            text.push_str(match &ends.answer {
                Answer::Undecided(_) => {
                    "whether the bad commit is worse could not be decided: raise the budget of the policy, or choose commits that are further apart\n"
                }
                Answer::Unknown(_) => "whether the bad commit is worse is unknown, for the reason above: name commits that build and can be compared\n",
                Answer::Well | Answer::Worse(_) => {
                    "the bad commit is not worse than the good one: there is nothing to look for\n"
                }
            });
        }
        Found::Several(suspects) => {
            let _ = writeln!(
                text,
                "one of {}, all but the last of which could not be judged:",
                count(suspects.len(), "commit")
            );
            for Named { commit, subject } in suspects {
                let _ = writeln!(text, "  {} {subject}", short(commit));
            }
        }
        Found::Culprit { culprit, beside_parents, reverted, descents } => {
            let _ = writeln!(text, "culprit: {} {}", culprit.commit, culprit.subject);
            for look in beside_parents {
                let _ = writeln!(text, "  {}", confirmation("beside its parent", look));
            }
            let _ = match reverted {
                Some(Ok(look)) => {
                    writeln!(text, "  {}", confirmation("the bad commit without it", look))
                }
                Some(Err(reason)) => {
                    writeln!(text, "  the bad commit without it: not tried, {reason}")
                }
                None => Ok(()),
            };
            let any = |wanted: fn(&Answer) -> bool| {
                beside_parents.iter().any(|look| wanted(&look.answer))
            };
            let without = reverted.as_ref().and_then(|it| it.as_ref().ok()).map(|it| &it.answer);
            for (is_so, why) in [
                (
                    any(|answer| *answer == Answer::Well),
                    "the change may be spread over several commits, each below its margin",
                ),
                (any(Answer::is_open), "it could not be judged beside its parent"),
                (
                    matches!(without, Some(Answer::Worse(_))),
                    "without it the bad commit is still worse, so there is another one",
                ),
                (
                    without.is_some_and(Answer::is_open),
                    "the bad commit without it could not be judged",
                ),
            ] {
                if is_so {
                    let _ = writeln!(text, "not confirmed: {why}");
                }
            }
            descents.iter().for_each(|descent| text.push_str(&descended(descent)));
        }
    }
    text
}

/// The search inside a culprit that moves to other commits of another repository.
fn descended(descent: &Descent) -> String {
    let Descent { whose, from, to, searched } = descent;
    // A version is not a hash, and is not shortened.
    let short = |named: &str| match named.chars().all(|c| c.is_ascii_hexdigit()) {
        true => short(named).to_owned(),
        false => named.to_owned(),
    };
    let (from, to) = (short(from), short(to));
    let (did, option) = match whose {
        Whose::Candle => (format!("moves candle from {from} to {to}"), "--candle"),
        Whose::Upstream => (format!("takes over {from}..{to} of its upstream"), "--upstream"),
    };
    match searched {
        None => format!("it {did}: `{option} CLONE` follows it there\n"),
        Some(Err(reason)) => format!("it {did}, where it could not be followed: {reason}\n"),
        Some(Ok(searched)) => format!("\nit {did}; there:\n{}", bisected(searched)),
    }
}

fn confirmation(what: &str, look: &Look) -> String {
    format!("{what}: {}", answer(&look.answer, &look.effect))
}

/// The answer for a commit, and how much it differs.
pub(crate) fn answer(answer: &Answer, effect: &str) -> String {
    let word = match answer {
        Answer::Well => "well",
        Answer::Worse(Sought::Regressed(_)) => "regressed",
        Answer::Worse(Sought::Broken) => "broken",
        Answer::Undecided(reason) | Answer::Unknown(reason) => return format!("unknown: {reason}"),
    };
    if effect.is_empty() { word.to_owned() } else { format!("{word}, {effect}") }
}
