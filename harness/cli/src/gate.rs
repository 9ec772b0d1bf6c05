//! `windtunnel gate`: a change against its base, measured in alternation and judged by the policy.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use windtunnel_ledger::case::CaseId;
use windtunnel_ledger::gate::{Arm, Report, Terms, report};
use windtunnel_ledger::judge::interleaved::planned_looks;
use windtunnel_ledger::policy::{Policy, Weight};
use windtunnel_ledger::record::Subject;
use windtunnel_ledger::store::{self, Contents};
use windtunnel_ledger::verdict::Verdict;
use windtunnel_ledger::whole;

use crate::args::{Base, GateArgs, Service};
use crate::candle::Candle;
use crate::lock::Queue;
use crate::plan::{self, Plan};
use crate::progress::Progress;
use crate::runs::write_report;
use crate::session::{self, Again, Resumable, RunSession, Setup};
use crate::subject::{self, Built, ON, Wanted};
use crate::workspace::Workspace;
use crate::{baseline, calibrate, estimate, exit, hub, run, scenario, show};

mod annotations;
mod document;
#[cfg(test)]
mod fixture;
mod junit;
pub(crate) mod stored;
pub(crate) mod summary;

/// The policy that applies if a workspace has none of its own.
const POLICY: &str = include_str!("../../../ci/gate.toml");

/// Measures what the arguments name, and judges it.
pub(crate) fn gate(workspace: &Workspace, args: &GateArgs, progress: Progress) -> Result<u8> {
    let queue = Queue { patience: args.waiting.patience(), progress };
    let session = match &args.resume {
        Some(run) => {
            // Taken first: otherwise a run that is being measured could be mistaken for an
            // interrupted one.
            let _turn = queue.take()?;
            let path = session::interrupted(workspace, run.as_deref(), Resumable::Gate)?;
            session::resume(workspace, &path, queue)?
        }
        None => match begin(workspace, args, queue)? {
            Some(session) => session,
            None => return Ok(exit::INVALID),
        },
    };
    let path = session.path.clone();
    let code = conclude(workspace, session, progress)?;
    if let Some(Service::Github) = args.annotate {
        let contents = store::read(&path)?;
        if let Some(terms) = &contents.run.gate {
            let report = report(&contents.run, terms, &contents.records);
            show::result(&annotations::github(&report))?;
        }
    }
    Ok(code)
}

/// Builds both sides and begins the run; none if there is nothing to measure.
fn begin(workspace: &Workspace, args: &GateArgs, queue: Queue) -> Result<Option<RunSession>> {
    session::check_out(args.out.as_deref(), Again::Resume)?;
    let policy = read_policy(workspace, args.policy.as_deref())?;
    let scenarios = scenario::load(workspace, &args.scenarios, &args.models)?;
    let mut plan = plan::expand(&scenarios, &args.filters, Some(policy.budget.pairs));
    let shards = args.shard.map_or(0, |shard| shard.cut(&mut plan));
    let unseen = if args.quick { keep_quickest(workspace, &mut plan) } else { Vec::new() };
    if plan.cases.is_empty() {
        show::note(&format!(
            "nothing to compare, which never passes (exit code 4): {}",
            plan.left_out()
        ));
        return Ok(None);
    }
    is_possible(workspace, args)?;
    // A stored base is not measured, and for a baseline this is not known yet.
    if queue.progress != Progress::Quiet
        && matches!(args.base, Base::Subject(_))
        && let Some(warning) = too_long(workspace, &plan, &policy)
    {
        show::note(&warning);
    }
    let _turn = queue.take()?;
    hub::fetch(&mut plan, queue.progress)?;
    let progress = queue.progress;
    let floors = calibrate::floors(workspace, &baseline::this_machine())?;
    let terms = Terms { floors, unseen, shards, ..Terms::of(policy) };
    let base = match &args.base {
        Base::Subject(wanted) => subject::build(workspace, wanted, &args.features, progress)?,
        Base::Baseline | Base::Stored => {
            let held = match stored::held(workspace, args)? {
                Ok(held) => held,
                Err(none) => {
                    baseline::nothing(&none);
                    return Ok(None);
                }
            };
            match stored::beside(workspace, args, &held, progress)? {
                Some(base) => base,
                None => {
                    let head = subject::build(workspace, &args.subject, &args.features, progress)?;
                    let begun = stored::begin(workspace, args, plan, head, terms, held, queue);
                    return begun.map(Some);
                }
            }
        }
    };
    let head = match &args.candle {
        Some(candle) => on_candle(workspace, args, &base, candle, progress)?,
        None => subject::build(workspace, &args.subject, &args.features, progress)?,
    };
    let setup = Setup {
        plan,
        built: arms(base, head),
        scenarios: &args.scenarios,
        out: args.out.as_deref(),
        gate: Some(terms),
        rules: None,
        queue,
    };
    session::open(workspace, setup).map(Some)
}

/// A warning if the budget is expected to end before anything can be decided.
fn too_long(workspace: &Workspace, plan: &Plan, policy: &Policy) -> Option<String> {
    let first = *planned_looks(policy.budget.pairs as usize).first()? as u64;
    let time = estimate::of_pairs(workspace, plan, first)?;
    let minutes = policy.budget.minutes;
    (time.seconds() > 60.0 * f64::from(minutes)).then(|| {
        format!(
            "the first look takes {first} pairs of rounds of each case, about {time} here, and the budget is {minutes} min: \
             what is not reached stays inconclusive; `--quick`, `--filter` or `--shard` ask for less"
        )
    })
}

/// Checks that the candle can be used, that the subjects exist, and that the features have an
/// effect.
fn is_possible(workspace: &Workspace, args: &GateArgs) -> Result<()> {
    let of_revision = matches!(&args.base, Base::Subject(Wanted::Revision { candle: None, .. }));
    ensure!(
        args.candle.is_none() || of_revision,
        "`--candle` measures a revision of this workspace beside itself: name it with `--base rev:REVISION`"
    );
    // A baseline is built with its own features.
    let base = match &args.base {
        Base::Subject(wanted) => Some(wanted),
        Base::Baseline | Base::Stored => None,
    };
    subject::check(workspace, &args.features, base.into_iter().chain([&args.subject]))?;
    args.candle.as_ref().map_or(Ok(()), |candle| candle.exact().map(drop))
}

/// The base's own commit on another candle. The commit is fixed, even if its branch moves on
/// meanwhile.
fn on_candle(
    workspace: &Workspace,
    args: &GateArgs,
    base: &Built,
    candle: &Candle,
    progress: Progress,
) -> Result<Built> {
    let commit = base.subject.commit.clone().context("a revision has a commit")?;
    let wanted = Wanted::Revision { revision: commit, candle: Some(candle.clone()) };
    let mut head = subject::build(workspace, &wanted, &args.features, progress)?;
    head.subject.name = format!("{}{ON}{candle}", base.subject.name);
    Ok(head)
}

/// What two builds are to be measured on.
pub(crate) struct Asked<'a> {
    /// The cases.
    pub(crate) plan: Plan,
    /// The scenarios of the cases.
    pub(crate) scenarios: &'a [String],
    /// The policy that judges the results.
    pub(crate) policy: Policy,
}

/// Measures a head beside its base into the file `out`, or continues what is already there, and
/// writes all of a gate's files. Shows nothing.
pub(crate) fn beside(
    workspace: &Workspace,
    asked: Asked<'_>,
    (base, head): (&Built, &Built),
    out: &Path,
    queue: Queue,
) -> Result<Report> {
    let Asked { mut plan, scenarios, policy } = asked;
    if out.is_file() {
        let contents = store::read(out)?;
        if let Some(terms) = &contents.run.gate
            && run::is_finished(&contents.run, &contents.records)
        {
            return Ok(report(&contents.run, terms, &contents.records));
        }
    }
    let mut session = match out.is_file() {
        true => session::resume(workspace, out, queue)?,
        false => {
            hub::fetch(&mut plan, queue.progress)?;
            let floors = calibrate::floors(workspace, &baseline::this_machine())?;
            let setup = Setup {
                plan,
                built: arms(base.clone(), head.clone()),
                scenarios,
                out: Some(out),
                gate: Some(Terms { floors, ..Terms::of(policy) }),
                rules: None,
                queue,
            };
            session::open(workspace, setup)?
        }
    };
    let terms = session.run.gate.clone().context("a gate's run has terms")?;
    run::measure_gate(&mut session, &terms, workspace, queue.progress)?;
    let RunSession { run, records, path, .. } = session;
    let contents = Contents { run, records, torn: false };
    Ok(write_down(workspace, &path, &contents, &terms)?.0)
}

/// Base, head and the base again as control, under three names.
pub(crate) fn arms(base: Built, head: Built) -> Vec<Built> {
    let renamed = |built: &Built, arm: Arm| Built {
        subject: Subject {
            name: format!("{}{}", built.subject.name, arm.mark()),
            ..built.subject.clone()
        },
        ..built.clone()
    };
    let control = renamed(&base, Arm::Control);
    let head =
        if head.subject.name == base.subject.name { renamed(&head, Arm::Head) } else { head };
    vec![base, head, control]
}

/// Keeps only the quickest case of each scenario in a plan, and returns the ids of the others.
fn keep_quickest(workspace: &Workspace, plan: &mut Plan) -> Vec<CaseId> {
    let times = estimate::of_plan(workspace, plan).into_iter();
    let times = times.map(|estimate| estimate.time.filter(|_| estimate.lacks.is_none()));
    // A case that cannot be estimated counts as slow, and one that cannot run here is not worth
    // keeping.
    let times: Vec<u64> = times.map(|time| time.map_or(u64::MAX, |time| time.0)).collect();
    let kept: Vec<bool> = (0..plan.cases.len())
        .map(|this| {
            let rivals = (0..plan.cases.len()).filter(|other| {
                plan.cases[*other].case.scenario() == plan.cases[this].case.scenario()
            });
            rivals.min_by_key(|other| (times[*other], *other)) == Some(this)
        })
        .collect();
    let mut unseen = Vec::new();
    let (cases, models) = (std::mem::take(&mut plan.cases), std::mem::take(&mut plan.models));
    for ((planned, model), kept) in cases.into_iter().zip(models).zip(kept) {
        match kept {
            true => {
                plan.cases.push(planned);
                plan.models.push(model);
            }
            false => unseen.push(planned.case.id),
        }
    }
    unseen
}

/// The named policy, or the workspace's; none if the built-in one applies.
fn policy_file(workspace: &Workspace, named: Option<&Path>) -> Option<PathBuf> {
    let own = workspace.root().join("ci/gate.toml");
    named.map(Path::to_owned).or_else(|| own.is_file().then_some(own))
}

/// Reads the named policy, or the workspace's, or else the built-in one.
pub(crate) fn read_policy(workspace: &Workspace, named: Option<&Path>) -> Result<Policy> {
    let file = policy_file(workspace, named);
    let path = file.as_deref().unwrap_or(Path::new("ci/gate.toml"));
    let text = match &file {
        None => POLICY.to_owned(),
        Some(path) => std::fs::read_to_string(path)
            .with_context(|| format!("cannot read policy `{}`", path.display()))?,
    };
    let shown = path.strip_prefix(workspace.root()).unwrap_or(path);
    let policy: Policy = scenario::parse(shown, &text)?;
    match policy.unsound() {
        None => Ok(policy),
        Some(reason) => bail!("`{}`: {reason}", shown.display()),
    }
}

/// Measures the rounds that a gate's session still lacks, judges it, and writes and shows the
/// result.
pub(crate) fn conclude(
    workspace: &Workspace,
    mut session: RunSession,
    progress: Progress,
) -> Result<u8> {
    let terms = session.run.gate.clone().with_context(|| {
        format!(
            "`{0}` holds a run that only measures: continue with `windtunnel run --resume {0}`",
            show::path(&session.path)
        )
    })?;
    let path = show::path(&session.path);
    session.announce(&workspace.line(&["gate", "--resume", &path]), progress);
    stored::complete(workspace, &mut session, &terms)?;
    run::measure_gate(&mut session, &terms, workspace, progress)?;

    let RunSession { run, records, path, .. } = session;
    publish(workspace, &path, &Contents { run, records, torn: false }, &terms)
}

/// Judges a run, writes the results beside its file, and shows them.
pub(crate) fn publish(
    workspace: &Workspace,
    path: &Path,
    contents: &Contents,
    terms: &Terms,
) -> Result<u8> {
    // Files first: they must not be lost if showing the table fails.
    let (report, page) = write_down(workspace, path, contents, terms)?;
    show::result(&show::ruling(&contents.run, &report, show::Ink::of_stdout()))?;
    show::result(&format!("report: {}\n", show::path(&page)))?;
    Ok(code_of(&report))
}

/// Judges a run and writes the results beside its file; also returns the path of the page.
fn write_down(
    workspace: &Workspace,
    path: &Path,
    contents: &Contents,
    terms: &Terms,
) -> Result<(Report, PathBuf)> {
    let report = report(&contents.run, terms, &contents.records);
    let page = write_report(workspace, contents, path)?;
    write(&path.with_file_name(named(path, "summary.md")), &summary::markdown(contents, &report))?;
    write(&path.with_file_name(named(path, "junit.xml")), &junit::xml(&contents.run, &report))?;
    write(&path.with_file_name(named(path, "gate.json")), &document::json(contents, &report)?)?;
    Ok((report, page))
}

/// `summary.md` for `run.jsonl`, `x.summary.md` for `x.jsonl`.
fn named(run: &Path, name: &str) -> String {
    match run.file_stem().and_then(|stem| stem.to_str()) {
        Some(stem) if stem != "run" => format!("{stem}.{name}"),
        _ => name.to_owned(),
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    whole::replace(path, text.as_bytes())
        .with_context(|| format!("cannot write `{}`", path.display()))
}

/// The exit code of a report.
pub(crate) fn code_of(report: &Report) -> u8 {
    match (report.verdict, report.weight) {
        (Verdict::Broken, _) => exit::BROKEN,
        (Verdict::Regressed, _) => exit::REGRESSED,
        (Verdict::Invalid, _) => exit::INVALID,
        (Verdict::Inconclusive, Weight::Blocks) => exit::INCONCLUSIVE,
        (Verdict::Inconclusive, Weight::Warns) | (Verdict::Improved | Verdict::Pass, _) => {
            exit::PASS
        }
    }
}
