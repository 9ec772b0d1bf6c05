//! `windtunnel upstream pick`: picks commits onto a fork one at a time, checks each and measures it
//! beside the one before it, and stops at the first that must not be kept.
//!
//! All of this happens in a separate worktree. The fork gets a branch with what was kept; its own
//! branches, index and files stay as they are.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use jiff::Timestamp;
use windtunnel_ledger::integration::{Checked, End, Integration, Measured, Pick, short};
use windtunnel_ledger::policy::Weight;
use windtunnel_ledger::verdict::Verdict;

use super::repository::{Change, Repository};
use crate::args::PickArgs;
use crate::external::{self, External, Measure};
use crate::gate::{self, Asked};
use crate::git::git;
use crate::lock::Queue;
use crate::progress::Progress;
use crate::subject::{self, Built, Wanted};
use crate::workspace::Workspace;
use crate::{exit, plan, scenario, session, show};

/// Where commits are picked, and how each is checked.
struct Picking<'a> {
    workspace: &'a Workspace,
    args: &'a PickArgs,
    external: &'a External,
    /// The fork's repository.
    fork: &'a Path,
    /// The separate worktree.
    tree: PathBuf,
    /// The folder of the reports.
    folder: PathBuf,
    queue: Queue,
}

/// Picks the commits that the arguments name, and writes down the results.
pub(super) fn pick(workspace: &Workspace, args: &PickArgs, progress: Progress) -> Result<u8> {
    let external = External::read(&args.checks)?;
    let fork = external.repository()?;
    let repository = Repository::at(fork)?;
    let start = repository.resolve(&args.onto)?;
    let wanted =
        args.commits.iter().map(|hash| repository.change(hash)).collect::<Result<Vec<_>>>()?;
    let now = Timestamp::now();
    let branch = match &args.branch {
        Some(branch) => branch.clone(),
        None => format!("picked/{}", now.strftime("%Y%m%dT%H%M%SZ")),
    };
    args.out.as_deref().map_or(Ok(()), session::check_folder)?;
    can_be_new(fork, &branch, &start)?;
    let queue = Queue { patience: args.waiting.patience(), progress };
    // Checks are builds too, and nobody else may measure between two commits.
    let is_busy = external.measure.is_some() || !external.checks.is_empty();
    let _turn = is_busy.then(|| queue.take()).transpose()?;
    let trees = external::trees(workspace, fork);
    let _lock = lock(&trees)?;
    // Whoever held the machine before may have created either.
    can_be_new(fork, &branch, &start)?;
    args.out.as_deref().map_or(Ok(()), session::check_folder)?;
    let folder = args.out.clone().unwrap_or_else(|| {
        workspace.reports().join(format!("{}-pick", now.strftime("%Y%m%dT%H%M%S%3fZ")))
    });
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot create `{}`", folder.display()))?;
    let tree = trees.join("pick");
    external::check_out(fork, &tree, &start)?;
    if progress != Progress::Quiet {
        show::note(&format!(
            "picking {} onto {} of `{}`, in a work tree of its own; branch `{branch}` gets what is kept",
            show::count(wanted.len(), "commit"),
            short(&start),
            fork.display()
        ));
    }

    let picking = Picking { workspace, args, external: &external, fork, tree, folder, queue };
    let mut integration = Integration {
        at: now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        repository: fork.display().to_string(),
        end: start.clone(),
        start,
        branch: None,
        picks: wanted.iter().map(not_tried).collect(),
    };
    let mut base = None;
    for (i, change) in wanted.iter().enumerate() {
        progress.note(&format!("{} {}", short(&change.hash), change.subject));
        let pick = picking.take(change, i, &integration.end, &mut base)?;
        let goes_on = pick.end.goes_on();
        if let End::Kept(commit) = &pick.end {
            let end = integration.branch.as_ref().map(|_| integration.end.as_str());
            move_on(fork, &branch, end, commit)?;
            integration.branch = Some(branch.clone());
            integration.end.clone_from(commit);
        }
        integration.picks[i] = pick;
        // Written after each commit, so that nothing is lost whatever happens to the next.
        picking.write_down(&integration)?;
        if !goes_on {
            break;
        }
    }
    show::result(&show::integration(&integration))?;
    let page = picking.folder.join("integration.html");
    show::result(&format!("report: {}\n", show::path(&page)))?;
    Ok(code_of(&integration))
}

fn reference(branch: &str) -> String {
    format!("refs/heads/{branch}")
}

/// Rejects a branch that exists, or that git would refuse to create: after the first measurement is
/// too late to find out.
fn can_be_new(fork: &Path, branch: &str, start: &str) -> Result<()> {
    let name = reference(branch);
    let no = |words: &str| {
        format!("`{}` {words} `{branch}`: name another one with `--branch`", fork.display())
    };
    let is_there = git(fork, &["show-ref", "--verify", "--quiet", &name]).is_ok();
    ensure!(!is_there, no("has a branch"));
    git(fork, &["branch", "--no-track", "--", branch, start])
        .and_then(|_| git(fork, &["update-ref", "-d", &name]))
        .with_context(|| no("can have no branch"))?;
    Ok(())
}

/// Moves the branch from where it was left to `commit`, or creates it if nothing was kept before.
/// If somebody else has changed it meanwhile, it stays as it is.
fn move_on(fork: &Path, branch: &str, left: Option<&str>, commit: &str) -> Result<()> {
    let moved = || {
        let Some(left) = left else {
            return git(fork, &["branch", "--no-track", "--", branch, commit]);
        };
        let stands = git(fork, &["rev-parse", "--verify", "--end-of-options", &reference(branch)])?;
        ensure!(stands == left, "it was moved from {} to {}", short(left), short(&stands));
        // Unlike `update-ref`, this refuses a branch that is checked out somewhere.
        git(fork, &["branch", "--no-track", "--force", "--", branch, commit])
    };
    moved().with_context(|| {
        format!(
            "branch `{branch}` of `{}` cannot move on; `git branch NAME {commit}` keeps what was picked",
            fork.display()
        )
    })?;
    Ok(())
}

fn not_tried(change: &Change) -> Pick {
    Pick {
        hash: change.hash.clone(),
        subject: change.subject.clone(),
        checks: Vec::new(),
        measured: None,
        end: End::NotTried,
    }
}

impl Picking<'_> {
    /// Picks one commit onto `onto`, checks it, and measures it beside `onto`. `base` is the build
    /// of `onto` if there is one already, and becomes the build of this commit.
    fn take(
        &self,
        change: &Change,
        number: usize,
        onto: &str,
        base: &mut Option<Built>,
    ) -> Result<Pick> {
        let mut pick = not_tried(change);
        external::check_out(self.fork, &self.tree, onto)?;
        let commit = match self.apply(change)? {
            Ok(commit) => commit,
            Err(end) => return Ok(Pick { end, ..pick }),
        };
        for check in &self.external.checks {
            let failure = external::check(&check.run, &self.tree)?.err();
            let is_failed = failure.is_some();
            pick.checks.push(Checked { name: check.name.clone(), failure });
            if is_failed {
                return Ok(Pick { end: End::CheckFailed, ..pick });
            }
        }
        let Some(measure) = &self.external.measure else {
            return Ok(Pick { end: End::Kept(commit), ..pick });
        };
        let before = match base.take() {
            Some(before) => before,
            None => self.built(onto)?,
        };
        if let Err(failure) = &before.probe {
            bail!(
                "{}, the commit before {}, does not build: {}",
                short(onto),
                short(&change.hash),
                failure.tail().unwrap_or_default()
            );
        }
        let head = self.built(&commit)?;
        if let Err(failure) = &head.probe {
            let tail = failure.tail().unwrap_or_default().to_owned();
            return Ok(Pick { end: End::NotBuilt(tail), ..pick });
        }
        let report = self.measured(measure, &before, &head, number, change)?;
        pick.end = match (report.report.verdict, report.report.weight) {
            (Verdict::Pass | Verdict::Improved, _) => End::Kept(commit),
            (Verdict::Inconclusive, Weight::Warns) => End::Kept(commit),
            (verdict, _) => End::NotPassed(verdict),
        };
        pick.measured = Some(report);
        *base = Some(head);
        Ok(pick)
    }

    /// Picks a commit in the worktree: returns the commit made, or why there is none.
    fn apply(&self, change: &Change) -> Result<Result<String, End>> {
        let picked = git(&self.tree, &["cherry-pick", "-x", &change.hash]);
        let Err(error) = picked else {
            return Ok(Ok(git(&self.tree, &["rev-parse", "HEAD"])?));
        };
        let files = git(&self.tree, &["diff", "--name-only", "--diff-filter=U"])?;
        let changed = git(&self.tree, &["status", "--porcelain"])?;
        let is_picking = git(&self.tree, &["rev-parse", "--verify", "CHERRY_PICK_HEAD"]).is_ok();
        let _ = git(&self.tree, &["cherry-pick", "--abort"]);
        match (is_picking, files.is_empty(), changed.is_empty()) {
            (true, true, true) => Ok(Err(End::Empty)),
            (true, false, _) => Ok(Err(End::Conflict(files.lines().map(str::to_owned).collect()))),
            _ => Err(error.context(format!("cannot pick {}", short(&change.hash)))),
        }
    }

    /// Builds a commit as the description says.
    fn built(&self, commit: &str) -> Result<Built> {
        let file = self.args.checks.clone();
        let wanted = Wanted::External { file, revision: Some(commit.to_owned()) };
        let mut built = subject::build(self.workspace, &wanted, &[], self.queue.progress)?;
        built.subject.name = short(commit).to_owned();
        Ok(built)
    }

    fn measured(
        &self,
        measure: &Measure,
        base: &Built,
        head: &Built,
        number: usize,
        change: &Change,
    ) -> Result<Measured> {
        let scenarios = scenario::load(self.workspace, &measure.scenarios, &measure.models)?;
        let policy = measure.policy.as_ref().map(|policy| self.external.folder.join(policy));
        let policy = gate::read_policy(self.workspace, policy.as_deref())?;
        let plan = plan::expand(&scenarios, &measure.filter, Some(policy.budget.pairs));
        ensure!(!plan.cases.is_empty(), "nothing to measure: {}", plan.left_out());
        let asked = Asked { plan, scenarios: &measure.scenarios, policy };
        let name = format!("{:02}-{}", number + 1, short(&change.hash));
        let out = self.folder.join(&name).join("run.jsonl");
        let report = gate::beside(self.workspace, asked, (base, head), &out, self.queue)?;
        Ok(Measured { page: format!("{name}/report.html"), report })
    }

    fn write_down(&self, integration: &Integration) -> Result<()> {
        let write = |name: &str, text: String| {
            let path = self.folder.join(name);
            std::fs::write(&path, text)
                .with_context(|| format!("cannot write `{}`", path.display()))
        };
        write("integration.md", show::integration_markdown(integration))?;
        write("integration.html", windtunnel_report::integration(integration))
    }
}

/// The right to pick onto a fork, held until it is dropped.
fn lock(trees: &Path) -> Result<File> {
    std::fs::create_dir_all(trees)
        .with_context(|| format!("cannot create `{}`", trees.display()))?;
    let path = trees.join("pick.lock");
    let file = File::create(&path).with_context(|| format!("cannot write `{}`", path.display()))?;
    file.try_lock().map_err(|_| {
        anyhow::anyhow!("another `windtunnel upstream pick` is at work on this fork: wait for it")
    })?;
    Ok(file)
}

/// The exit code for an integration.
fn code_of(integration: &Integration) -> u8 {
    let stopped = integration.picks.iter().find(|pick| !pick.end.goes_on());
    match stopped.map(|pick| &pick.end) {
        None => exit::PASS,
        Some(End::CheckFailed | End::NotBuilt(_) | End::NotPassed(Verdict::Broken)) => exit::BROKEN,
        Some(End::NotPassed(Verdict::Regressed)) => exit::REGRESSED,
        Some(End::NotPassed(Verdict::Inconclusive)) => exit::INCONCLUSIVE,
        Some(_) => exit::INVALID,
    }
}
