//! `windtunnel baseline promote` and `accept`: decisions made by people.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use windtunnel_ledger::Outcome;
use windtunnel_ledger::baseline::{
    Acceptance, Code, Decisions, Finding, Promotion, Session, choose, findings,
};
use windtunnel_ledger::case::matches;
use windtunnel_ledger::gate::{Report, Setting, Terms};
use windtunnel_ledger::policy::Policy;
use windtunnel_ledger::upstream::{Hash, Log};
use windtunnel_ledger::verdict::Verdict;

use super::stock::{Group, Stock, groups};
use super::{asked, current, records_of, shelf};
use crate::args::{AcceptArgs, DecideArgs};
use crate::git::git;
use crate::workspace::Workspace;
use crate::{calibrate, exit, gate, show, upstream};

/// Code that may be promoted, compared with the promotion before it.
struct Candidate {
    /// Its sessions.
    group: Group,
    /// Its comparison with the promotion before it; none if there is none.
    report: Option<Report>,
    policy: Policy,
    decisions: Decisions,
}

/// Makes the newest recorded code count, unless anything in it is worse than the current baseline
/// or could not be compared with it.
pub(crate) fn promote(workspace: &Workspace, log: &Path, args: &DecideArgs) -> Result<u8> {
    let Some(candidate) = candidate(workspace, log, args)? else { return Ok(exit::INVALID) };
    let Candidate { group, report, policy, decisions } = candidate;
    let policy = policy.hash();
    let is_it = |promotion: &&Promotion| {
        (&promotion.upstream, &promotion.machine, &promotion.code, &promotion.policy)
            == (&group.key.upstream, &group.key.machine, &group.code, &policy)
    };
    if decisions.current().into_iter().any(|promotion| is_it(&promotion)) {
        show::result(&format!("{} counts already\n", words(&group)))?;
        return Ok(exit::PASS);
    }
    if let Some(report) = &report {
        show::result(&show::verdicts_of(report, show::Ink::of_stdout()))?;
    }
    let found = found(&group, report.as_ref())?;
    let open = decisions.open(&found, &group.key.machine, &group.code);
    if !open.is_empty() {
        let mut text = format!("error: {} is not promoted:\n", words(&group));
        open.iter().for_each(|finding| text.push_str(&format!("  {finding}\n")));
        text.push_str("hint: if that is intended, accept it with `windtunnel baseline accept --reason TEXT`, then promote again");
        show::note(&text);
        let any = |verdict| open.iter().any(|finding| finding.verdict == verdict);
        return Ok(match () {
            () if any(Verdict::Broken) => exit::BROKEN,
            () if any(Verdict::Regressed) => exit::REGRESSED,
            () => exit::INVALID,
        });
    }
    let promotion = Promotion {
        upstream: group.key.upstream.clone(),
        machine: group.key.machine.clone(),
        code: group.code.clone(),
        policy,
        at: now(),
        by: who(workspace, args.by.as_deref())?,
    };
    current::decide(workspace, |decisions| decisions.promoted.push(promotion))?;
    show::result(&format!("{} counts from now on\n", words(&group)))?;
    Ok(exit::PASS)
}

/// Accepts the findings that keep code from being promoted.
pub(crate) fn accept(workspace: &Workspace, log: &Path, args: &AcceptArgs) -> Result<u8> {
    ensure!(!args.reason.trim().is_empty(), "an empty reason explains nothing: write one");
    let Some(candidate) = candidate(workspace, log, &args.decide)? else {
        return Ok(exit::INVALID);
    };
    let Candidate { group, report, decisions, .. } = candidate;
    let found = found(&group, report.as_ref())?;
    let open = decisions.open(&found, &group.key.machine, &group.code);
    let accepted: Vec<Finding> =
        open.into_iter().filter(|finding| matches(&finding.to_string(), &args.row)).collect();
    if accepted.is_empty() {
        let which = match &args.row[..] {
            "" => String::new(),
            row => format!(" that matches `{row}`"),
        };
        show::note(&format!(
            "there is nothing to accept: no open finding{which} keeps {} from being promoted",
            words(&group)
        ));
        return Ok(exit::INVALID);
    }
    let (at, by) = (now(), who(workspace, args.decide.by.as_deref())?);
    let acceptance = |finding: &Finding| Acceptance {
        upstream: group.key.upstream.clone(),
        machine: group.key.machine.clone(),
        code: group.code.clone(),
        finding: finding.clone(),
        reason: args.reason.clone(),
        at: at.clone(),
        by: by.clone(),
    };
    current::decide(workspace, |decisions| {
        decisions.accepted.extend(accepted.iter().map(acceptance));
    })?;
    for finding in &accepted {
        show::result(&format!("accepted: {finding}\n"))?;
    }
    Ok(exit::PASS)
}

/// The newest code recorded at a commit on a machine; none if nothing was recorded.
fn candidate(workspace: &Workspace, log: &Path, args: &DecideArgs) -> Result<Option<Candidate>> {
    let log = upstream::read(workspace, log)?;
    let (at, machine) = asked(&log, &args.about);
    let policy = gate::read_policy(workspace, args.policy.as_deref())?;
    let decisions = current::read(workspace)?;
    let sessions = Stock::read(&shelf::own(workspace), |key| key.machine == machine)?.whole()?;
    let mut groups = groups(sessions);
    let newest = (0..groups.len())
        .filter(|place| groups[*place].key.upstream.same(&at))
        .max_by_key(|place| groups[*place].newest().to_owned());
    let Some(newest) = newest else {
        show::note(&format!(
            "error: nothing was recorded at {at} on `{machine}`\nhint: record it with `windtunnel baseline record`; `windtunnel baseline list` shows what there is"
        ));
        return Ok(None);
    };
    let group = groups.remove(newest);
    let before = before(&log, &at, &machine, &group.code, &decisions, &groups);
    let report = match before {
        Some(before) => Some(judged(workspace, before, &group, policy.clone())?),
        None => None,
    };
    Ok(Some(Candidate { group, report, policy, decisions }))
}

/// What counted before this code: the nearest promotion of other code.
fn before<'a>(
    log: &Log,
    at: &Hash,
    machine: &str,
    code: &Code,
    decisions: &Decisions,
    groups: &'a [Group],
) -> Option<&'a Group> {
    let of = |promotion: &Promotion| {
        groups.iter().find(|group| {
            group.key.upstream.same(&promotion.upstream) && group.code == promotion.code
        })
    };
    let others = decisions.promoted.iter().filter(|promotion| promotion.code != *code);
    let choice = choose(log, at, machine, others, |promotion| of(promotion).is_some()).ok()?;
    of(choice.promotion)
}

/// Compares the newest session of each scenario of `head` with all sessions of `base`.
fn judged(workspace: &Workspace, base: &Group, head: &Group, policy: Policy) -> Result<Report> {
    let floors = calibrate::floors(workspace, &head.key.machine)?;
    let terms = Terms { floors, setting: Setting::Stored, ..Terms::of(policy) };
    let (base, head) = (records_of(&base.sessions)?, records_of(&newest_of_each(head))?);
    Ok(windtunnel_ledger::gate::compare(&base, &head, &terms))
}

fn newest_of_each(group: &Group) -> Vec<Session> {
    let is_newest = |session: &&Session| {
        !group.sessions.iter().any(|other| {
            other.key.scenario == session.key.scenario && other.key.session > session.key.session
        })
    };
    group.sessions.iter().filter(is_newest).cloned().collect()
}

/// What keeps code from being promoted: the findings of its report, and cases that failed in its
/// newest sessions, which are broken whatever counted before.
fn found(group: &Group, report: Option<&Report>) -> Result<Vec<Finding>> {
    let mut found = report.map(findings).unwrap_or_default();
    for record in records_of(&newest_of_each(group))? {
        let finding = Finding { case: record.case.id, series: None, verdict: Verdict::Broken };
        if matches!(record.outcome, Outcome::Failed(_)) && !found.contains(&finding) {
            found.push(finding);
        }
    }
    Ok(found)
}

fn words(group: &Group) -> String {
    format!("{} at {} on `{}`", group.code, group.key.upstream, group.key.machine)
}

fn now() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Who decides: `by` if given, otherwise the user that git knows.
fn who(workspace: &Workspace, by: Option<&str>) -> Result<String> {
    let known = || git(workspace.root(), &["config", "user.name"]).ok();
    let name = by.map(str::to_owned).or_else(known).filter(|name| !name.trim().is_empty());
    name.context("a decision needs a name, and git knows none: give it with `--by NAME`")
}
