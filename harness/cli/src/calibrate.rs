//! `windtunnel calibrate`: measures unchanged code against itself, the way a gate does.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use windtunnel_ledger::calibration::{Calibration, Floors, session};
use windtunnel_ledger::gate::Terms;
use windtunnel_ledger::store::Contents;
use windtunnel_ledger::whole;

use crate::args::CalibrateArgs;
use crate::lock::Queue;
use crate::progress::Progress;
use crate::runs::write_report;
use crate::session::{self, Again, Setup};
use crate::workspace::Workspace;
use crate::{baseline, exit, gate, hub, plan, run, scenario, show, subject};

/// The fewest pairs of a case: fewer say little about its noise.
const LEAST_PAIRS: u32 = 20;

/// Measures, and adds the result to what is known about this machine.
pub(crate) fn calibrate(
    workspace: &Workspace,
    args: &CalibrateArgs,
    progress: Progress,
) -> Result<u8> {
    session::check_out(args.out.as_deref(), Again::Anew)?;
    let policy = gate::read_policy(workspace, args.policy.as_deref())?;
    ensure!(
        policy.budget.pairs >= LEAST_PAIRS,
        "a budget of {} pairs is too small to calibrate: it takes {LEAST_PAIRS} pairs to know the noise",
        policy.budget.pairs
    );
    let scenarios = scenario::load(workspace, &args.scenarios, &args.models)?;
    let mut plan = plan::expand(&scenarios, &args.filters, Some(policy.budget.pairs));
    if plan.cases.is_empty() {
        show::note(&format!("nothing to measure: {}", plan.left_out()));
        return Ok(exit::INVALID);
    }
    subject::check(workspace, &args.features, [&args.subject])?;
    let queue = Queue { patience: args.waiting.patience(), progress };
    let _turn = queue.take()?;
    hub::fetch(&mut plan, progress)?;
    let built = subject::build(workspace, &args.subject, &args.features, progress)?;
    // Judged without known floors: they are what is being measured.
    let terms = Terms { least_pairs: LEAST_PAIRS, ..Terms::of(policy) };
    let setup = Setup {
        plan,
        built: gate::arms(built.clone(), built),
        scenarios: &args.scenarios,
        out: args.out.as_deref(),
        gate: Some(terms.clone()),
        rules: None,
        queue,
    };
    let mut begun = session::open(workspace, setup)?;
    // `gate --resume` would finish the rounds without adding the result to the calibration.
    begun.announce("start anew, a calibration is measured in one go", progress);
    run::measure_gate(&mut begun, &terms, workspace, progress)?;

    let session::RunSession { run, records, path, .. } = begun;
    let subject = run.subjects.first().context("a run has a subject")?.clone();
    let found = session(&run, &terms, &records, &subject);
    let contents = Contents { run, records, torn: false };
    let page = write_report(workspace, &contents, &path)?;
    if found.judged == 0 {
        show::note(&format!(
            "error: nothing could be judged, so nothing is known of this machine; see {}",
            show::path(&page)
        ));
        return Ok(exit::INVALID);
    }
    let key = baseline::this_machine();
    let known = read(workspace, &key)?;
    let mut known = known.unwrap_or_else(|| Calibration { machine: key, sessions: Vec::new() });
    let alarms = found.alarms;
    known.sessions.push(found);
    let file = keep(workspace, &known)?;
    show::result(&show::calibration(&known))?;
    show::result(&format!("kept in {}\nreport: {}\n", show::path(&file), show::path(&page)))?;
    Ok(if alarms == 0 { exit::PASS } else { exit::INVALID })
}

/// The calibration of this kind of machine; none if it was never calibrated.
pub(crate) fn known(workspace: &Workspace) -> Result<Option<Calibration>> {
    read(workspace, &baseline::this_machine())
}

/// The noise floors of machines of this kind, for the judge.
pub(crate) fn floors(workspace: &Workspace, machine: &str) -> Result<Floors> {
    Ok(read(workspace, machine)?.map_or_else(Floors::default, |known| known.floors()))
}

fn file_of(workspace: &Workspace, machine: &str) -> PathBuf {
    workspace.baselines().join("machines").join(format!("{machine}.json"))
}

fn read(workspace: &Workspace, machine: &str) -> Result<Option<Calibration>> {
    let path = file_of(workspace, machine);
    if !path.is_file() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read `{}`", path.display()))?;
    let known = serde_json::from_str(&text).with_context(|| {
        format!("`{}` is not a calibration: delete it and calibrate again", path.display())
    })?;
    Ok(Some(known))
}

fn keep(workspace: &Workspace, known: &Calibration) -> Result<PathBuf> {
    let path = file_of(workspace, &known.machine);
    let text = serde_json::to_string_pretty(known).context("cannot write the calibration")?;
    whole::replace(&path, (text + "\n").as_bytes())
        .with_context(|| format!("cannot write `{}`", path.display()))?;
    Ok(path)
}
