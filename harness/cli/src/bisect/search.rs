//! One search: whose commits, what is built from each, and how they are compared.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use windtunnel_ledger::case::{Case, Source, matches};
use windtunnel_ledger::integration::short;
use windtunnel_ledger::metric::Metric;
use windtunnel_ledger::policy::{Exception, Policy, Weight};
use windtunnel_ledger::series::Series;

use super::answer::{self, Answer, Sought};
use super::{Found, Look, Named, Searched};
use crate::args::BisectArgs;
use crate::candle::{Candle, Exact, clone_at};
use crate::external::{self, External};
use crate::gate::{self, Asked};
use crate::git::Git;
use crate::lock::Queue;
use crate::plan::{self, Plan};
use crate::progress::Progress;
use crate::subject::{self, Built, Wanted};
use crate::upstream::Repository;
use crate::workspace::Workspace;
use crate::{scenario, show};

/// Whose commits are searched, and for what.
pub(super) struct Search<'a> {
    workspace: &'a Workspace,
    pub(super) repository: Repository,
    /// The folder of the repository.
    pub(super) dir: PathBuf,
    pub(super) line: Line,
    features: &'a [String],
    /// The scenario of the case and its id; until the case is resolved, all scenarios that may
    /// contain it, and a part of its id.
    scenarios: Vec<String>,
    models: &'a [String],
    case: String,
    metric: Option<Metric>,
    policy: Policy,
    /// Where rounds are kept.
    folder: PathBuf,
    queue: Queue,
}

/// Whose commits are searched, and what is built from each.
#[derive(Clone)]
pub(super) enum Line {
    /// This workspace's: its probe is built.
    Workspace,
    /// Those of a fork or of its upstream: built as the fork's description says.
    Fork(Box<Described>),
    /// Candle's: one commit of either of those is built on each of them.
    Candle {
        /// Whose that commit is.
        of: Box<Line>,
        /// The commit.
        commit: String,
    },
}

/// An external subject with the file that describes it.
#[derive(Clone)]
pub(super) struct Described {
    pub(super) file: PathBuf,
    pub(super) external: External,
}

/// Why a commit is measured: each purpose has its own rounds.
#[derive(Clone, Copy)]
enum Purpose {
    Search,
    Parent,
    Revert,
}

impl<'a> Search<'a> {
    pub(super) fn new(
        workspace: &'a Workspace,
        args: &'a BisectArgs,
        progress: Progress,
    ) -> Result<Search<'a>> {
        let (line, dir) = match &args.subject {
            Wanted::Tree => (Line::Workspace, workspace.root().to_owned()),
            Wanted::External { file, revision: None } => {
                let external = External::read(file)?;
                let dir = external.repository()?.to_owned();
                (Line::Fork(Box::new(Described { file: file.clone(), external })), dir)
            }
            other => bail!("`{other}` has no commits to search: name `.` or `external:FILE.toml`"),
        };
        // Checked now, not hours later when they are needed.
        args.candle.iter().chain(&args.upstream).try_for_each(|dir| clone_at(dir).map(drop))?;
        ensure!(
            args.upstream.is_none() || matches!(line, Line::Fork(_)),
            "`--upstream` follows a fork into what it takes over: name the fork with `--subject external:FILE.toml`"
        );
        subject::check(workspace, &args.features, [&args.subject])?;
        let mut search = Search {
            workspace,
            repository: Repository::at(&dir)?,
            dir,
            line,
            features: &args.features,
            scenarios: scenarios_of(workspace, &args.case),
            models: &args.models,
            case: args.case.clone(),
            metric: args.metric,
            policy: gate::read_policy(workspace, args.policy.as_deref())?,
            folder: PathBuf::new(),
            queue: Queue { patience: args.waiting.patience(), progress },
        };
        let case = search.only_case()?;
        search.scenarios = vec![case.scenario().to_owned()];
        search.case = case.id.to_string();
        if let Some(metric) = args.metric {
            // Only blocking metrics get more rounds, and this one is what is searched for.
            search.policy.exceptions.push(Exception {
                cases: search.case.clone(),
                metrics: vec![metric],
                weight: Weight::Blocks,
                reason: "it is what the search is for".to_owned(),
            });
        }
        Ok(search)
    }

    /// The same search among the commits of the clone `dir`.
    pub(super) fn among(&self, dir: &Path, line: Line, name: &str) -> Result<Search<'_>> {
        Ok(Search {
            workspace: self.workspace,
            repository: Repository::at(dir)?,
            dir: dir.to_owned(),
            line,
            features: self.features,
            scenarios: self.scenarios.clone(),
            models: self.models,
            case: self.case.clone(),
            metric: self.metric,
            policy: self.policy.clone(),
            folder: self.folder.join(name),
            queue: self.queue,
        })
    }

    /// Searches between the two commits given as arguments.
    pub(super) fn run(mut self, args: &BisectArgs) -> Result<Searched> {
        let good = self.repository.resolve(&args.good)?;
        let newest = self.repository.resolve(&args.bad)?;
        ensure!(
            good != newest && self.repository.parting(&good, &newest)? == good,
            "`{}` is not an ancestor of `{}`: name an earlier commit that was good",
            args.good,
            args.bad
        );
        self.folder = self.folder_of(&good, &newest)?;
        // Held from the first build to the last round, so that the search never waits in the
        // middle.
        let _turn = self.queue.take()?;
        self.say(&format!(
            "rounds: {} (if interrupted: the same command again)",
            show::path(&self.folder)
        ));

        let mut searched = self.between(&good, &newest, None)?;
        if let Found::Culprit { culprit, descents, .. } = &mut searched.found
            && let Answer::Worse(sought) = searched.ends.answer
        {
            *descents = self.descend(args, &culprit.commit, sought)?;
        }
        Ok(searched)
    }

    /// Searches between two commits, the first of which is an ancestor of the second.
    pub(super) fn between(
        &self,
        good: &str,
        newest: &str,
        sought: Option<Sought>,
    ) -> Result<Searched> {
        let ends = self.look(Purpose::Search, good, newest, sought)?;
        let series = match (self.metric, &ends.answer) {
            (Some(metric), _) => Some(Series::median(metric)),
            (None, Answer::Worse(Sought::Regressed(series))) => Some(*series),
            (None, _) => None,
        };
        let what = series.map_or_else(
            || self.case.clone(),
            |series| format!("{} of {}", series.label(), self.case),
        );
        let (good, mut looks) = (good.to_owned(), Vec::new());
        let Answer::Worse(sought) = ends.answer else {
            return Ok(Searched { what, good, ends, looks, found: Found::Nothing });
        };

        let (mut goods, mut bad) = (vec![good.clone()], newest.to_owned());
        let suspects = loop {
            let halves = self.repository.halves(&goods, &bad)?;
            let unknown = |commit: &String| {
                looks.iter().any(|look: &Look| look.commit == *commit && look.answer.is_open())
            };
            let next = halves.iter().find(|commit| **commit != bad && !unknown(commit)).cloned();
            let Some(next) = next else { break halves };
            let mut look = self.look(Purpose::Search, &good, &next, Some(sought))?;
            if matches!(look.answer, Answer::Worse(_))
                && let Some(reason) = self.lacks_good(&good, &next, sought)?
            {
                look.answer = Answer::Unknown(reason);
            }
            match &look.answer {
                Answer::Well => goods.push(next),
                Answer::Worse(_) => bad = next,
                Answer::Undecided(_) | Answer::Unknown(_) => (),
            }
            looks.push(look);
        };
        let found = match suspects.as_slice() {
            [_] => self.confirmed(&good, newest, &bad, sought)?,
            several => {
                let (last, others): (Vec<_>, Vec<_>) =
                    several.iter().partition(|commit| **commit == bad);
                let named = others.into_iter().chain(last).map(|commit| self.named(commit));
                Found::Several(named.collect::<Result<_>>()?)
            }
        };
        Ok(Searched { what, good, ends, looks, found })
    }

    /// Why a commit that is worse than the good one may be so only because it lacks it: its branch
    /// began before the good commit, at one that is not known to be as good.
    fn lacks_good(&self, good: &str, commit: &str, sought: Sought) -> Result<Option<String>> {
        let Some(began) = self.repository.common(good, commit)? else {
            return Ok(Some("it has no commit in common with the good one".to_owned()));
        };
        if began == good {
            return Ok(None);
        }
        let look = self.look(Purpose::Search, good, &began, Some(sought))?;
        let is_well = look.answer == Answer::Well;
        Ok((!is_well).then(|| {
            let began = short(&began).to_owned();
            format!("its branch began at {began}, before the good one, and that is not known to be as good")
        }))
    }

    /// Compares a culprit with its parents, and the newest commit without it with the good one.
    fn confirmed(&self, good: &str, newest: &str, culprit: &str, sought: Sought) -> Result<Found> {
        let parents = self.repository.parents(culprit)?;
        let beside = |parent: &String| self.look(Purpose::Parent, parent, culprit, Some(sought));
        let beside_parents = parents.iter().map(beside).collect::<Result<Vec<_>>>()?;
        let reverted = match &self.line {
            Line::Candle { .. } => None,
            Line::Workspace | Line::Fork(_) => Some(match self.reverted(newest, culprit)? {
                Ok(commit) => Ok(self.look(Purpose::Revert, good, &commit, Some(sought))?),
                Err(reason) => Err(reason),
            }),
        };
        let culprit = self.named(culprit)?;
        Ok(Found::Culprit { culprit, beside_parents, reverted, descents: Vec::new() })
    }

    /// The newest commit with the culprit reverted, or why it cannot be reverted.
    ///
    /// The new commit is on no branch, and its hash is the same each time.
    fn reverted(&self, newest: &str, culprit: &str) -> Result<Result<String, String>> {
        if self.repository.parents(culprit)?.len() != 1 {
            return Ok(Err("a merge is not reverted".to_owned()));
        }
        let tree = external::trees(self.workspace, &self.dir).join("revert");
        external::check_out(&self.dir, &tree, newest)?;
        let who = [
            ("GIT_AUTHOR_NAME", "windtunnel"),
            ("GIT_AUTHOR_EMAIL", "windtunnel@localhost"),
            ("GIT_AUTHOR_DATE", "2000-01-01T00:00:00Z"),
            ("GIT_COMMITTER_NAME", "windtunnel"),
            ("GIT_COMMITTER_EMAIL", "windtunnel@localhost"),
            ("GIT_COMMITTER_DATE", "2000-01-01T00:00:00Z"),
        ];
        let git = who.into_iter().fold(Git::at(&tree), |git, (name, value)| git.with(name, value));
        // The user's signature and hooks do not belong in it, and would change its hash.
        let plain = ["-c", "commit.gpgSign=false", "-c", "core.hooksPath=/dev/null"];
        let answer = git.ask(&[&plain[..], &["revert", "--no-edit", culprit]].concat())?;
        if answer.code == Some(0) {
            return git.say(&["rev-parse", "HEAD"]).map(Ok);
        }
        let files = git.say(&["diff", "--name-only", "--diff-filter=U"])?;
        let _ = git.ask(&["revert", "--abort"])?;
        let files: Vec<&str> = files.lines().collect();
        Ok(match (files.is_empty(), answer.err.trim()) {
            (false, _) => Err(format!("later commits build on it in {}", files.join(", "))),
            // Later commits have already reverted it.
            (true, "") => Ok(newest.to_owned()),
            (true, said) => Err(format!("git says: {said}")),
        })
    }

    /// Measures a commit beside another, or reads what was measured before.
    fn look(
        &self,
        purpose: Purpose,
        base: &str,
        commit: &str,
        sought: Option<Sought>,
    ) -> Result<Look> {
        let Named { commit, subject } = self.named(commit)?;
        self.say(&format!("{} beside {}: {subject}", short(&commit), short(base)));
        let look = |answer, effect| Look { commit: commit.clone(), subject, answer, effect };
        let before = self.built(base)?;
        if let Err(failure) = &before.probe {
            if let Purpose::Parent = purpose {
                let unknown = format!("{} does not build", short(base));
                return Ok(look(Answer::Unknown(unknown), String::new()));
            }
            let tail = failure.tail().unwrap_or_default();
            bail!("{}, the commit to compare with, does not build: {tail}", short(base));
        }
        let head = self.built(&commit)?;
        if let Err(failure) = &head.probe {
            let tail = failure.tail().unwrap_or_default();
            let first = tail.lines().find(|line| line.trim_start().starts_with("error"));
            let why = first.or(tail.lines().last()).map(|line| format!(": {}", line.trim()));
            let unknown = format!("it does not build{}", why.unwrap_or_default());
            return Ok(look(Answer::Unknown(unknown), String::new()));
        }
        let word = match purpose {
            Purpose::Search => "",
            Purpose::Parent => "parent-",
            Purpose::Revert => "revert-",
        };
        let name = format!("{word}{}-{}", short(base), short(&commit));
        let out = self.folder.join(name).join("run.jsonl");
        let asked =
            Asked { plan: self.plan()?, scenarios: &self.scenarios, policy: self.policy.clone() };
        let report = gate::beside(self.workspace, asked, (&before, &head), &out, self.queue)?;
        let (answer, effect) = answer::of(report, self.metric, sought);
        self.say(&format!("  {}", show::answer(&answer, &effect)));
        Ok(look(answer, effect))
    }

    fn built(&self, commit: &str) -> Result<Built> {
        let mut built = match &self.line {
            Line::Workspace => self.built_here(Wanted::revision(commit))?,
            Line::Fork(described) => self.built_of(described, commit, None)?,
            Line::Candle { of, commit: engine } => match &**of {
                Line::Fork(described) => {
                    let folder = std::path::absolute(&self.dir)?;
                    let candle = Exact::Commit { folder, commit: commit.to_owned() };
                    self.built_of(described, engine, Some(&candle))?
                }
                Line::Workspace | Line::Candle { .. } => {
                    let revision = commit.to_owned();
                    let candle = Some(Candle::Clone { folder: self.dir.clone(), revision });
                    self.built_here(Wanted::Revision { revision: engine.clone(), candle })?
                }
            },
        };
        built.subject.name = short(commit).to_owned();
        Ok(built)
    }

    fn built_here(&self, wanted: Wanted) -> Result<Built> {
        subject::build(self.workspace, &wanted, self.features, self.queue.progress)
    }

    fn built_of(
        &self,
        described: &Described,
        commit: &str,
        candle: Option<&Exact>,
    ) -> Result<Built> {
        let Described { file, external } = described;
        let wanted = Wanted::External { file: file.clone(), revision: Some(commit.to_owned()) };
        subject::built_externally(self.workspace, &wanted, external, Some(commit), candle)
    }

    /// The plan with only the one case.
    fn plan(&self) -> Result<Plan> {
        let scenarios = scenario::load(self.workspace, &self.scenarios, self.models)?;
        let mut plan = plan::expand(
            &scenarios,
            std::slice::from_ref(&self.case),
            Some(self.policy.budget.pairs),
        );
        // An id may be the prefix of another.
        if let Some(place) = plan.cases.iter().position(|p| p.case.id.as_str() == self.case) {
            plan.cases = vec![plan.cases.swap_remove(place)];
            plan.models = vec![plan.models.swap_remove(place)];
        }
        Ok(plan)
    }

    /// The one case that is named.
    fn only_case(&self) -> Result<Case> {
        let plan = self.plan()?;
        let is_bench = |case: &Case| matches!(case.model.source, Source::Bench(_));
        // Filters never leave out a bench.
        let is_named = |case: &Case| {
            self.case.starts_with(case.scenario()) || matches(case.id.as_str(), &self.case)
        };
        let cases = plan.cases.iter().filter(|planned| is_named(&planned.case));
        let cases: Vec<_> = cases.collect();
        match cases.as_slice() {
            // A bench's contents are known only once it is built, and may differ between commits.
            [first, ..] if is_bench(&first.case) => bail!(
                "`{}` is a bench of criterion, in which no commit can be searched for: name a case that a probe runs",
                first.case.id
            ),
            [only] => Ok(only.case.clone()),
            [] => bail!("no case is called `{}`; `windtunnel list` shows the cases", self.case),
            [first, ..] => bail!(
                "`{}` is in the ids of {}, for instance `{}`: name one",
                self.case,
                show::count(cases.len(), "case"),
                first.case.id
            ),
        }
    }

    /// The folder for the rounds of this search: the same for the same question.
    fn folder_of(&self, good: &str, bad: &str) -> Result<PathBuf> {
        let described = match &self.line {
            Line::Fork(described) => std::fs::read_to_string(&described.file)
                .with_context(|| format!("cannot read `{}`", described.file.display()))?,
            Line::Workspace | Line::Candle { .. } => self.features.join(","),
        };
        let policy = self.policy.hash().to_string();
        // The whole case, because models of two folders may share a name and thus a case id.
        let plan = self.plan()?;
        let case = serde_json::to_string(&plan.cases.first().map(|planned| &planned.case))
            .context("cannot write the case down")?;
        let question = [good, bad, &case, &policy, &described].join("\n");
        let name = format!("bisect-{:016x}", xxhash_rust::xxh3::xxh3_64(question.as_bytes()));
        Ok(self.workspace.reports().join(name))
    }

    fn named(&self, commit: &str) -> Result<Named> {
        let subject = self.repository.subject(commit)?;
        Ok(Named { commit: commit.to_owned(), subject })
    }

    fn say(&self, text: &str) {
        if self.queue.progress != Progress::Quiet {
            show::note(text);
        }
    }
}

/// The scenario with which a case id begins, or all scenarios if there is none.
fn scenarios_of(workspace: &Workspace, case: &str) -> Vec<String> {
    let parts: Vec<&str> = case.split('/').collect();
    let mut names = (1..=parts.len()).rev().map(|count| parts[..count].join("/"));
    let is_there = |name: &String| {
        !name.is_empty() && workspace.scenarios().join(format!("{name}.toml")).is_file()
    };
    names.find(is_there).map_or_else(|| scenario::names(workspace), |name| vec![name])
}
