//! [`Attribution`]: where the time of steps goes, stage by stage.
//!
//! This is an optional subscriber of `tracing`; unless it is installed, none of this runs. Each
//! time a stage begins or ends, the time since the last such moment goes to the stage that was
//! under way. So the parts of a step are disjoint and add up to the whole; time that no stage
//! claims is a part of its own, [`Stage::Other`].
//!
//! A step begins on its caller's thread and computes on another while the caller waits. The
//! hand-over is part of the step; spans on any third thread are not, because whatever runs beside
//! the computing thread works for the stage that this thread is in.
//!
//! A GPU works behind the host. To charge its time to the stage that asked for it, the host waits
//! for it whenever a stage begins or ends: steps take longer than unobserved ones, and what is
//! reported of them are shares.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::Stage;
use crate::cuda::driver;

/// Adds up the time of each stage. Clones share their counts.
#[derive(Debug, Clone)]
pub struct Attribution {
    start: Instant,
    laps: Arc<Mutex<Laps<ThreadId>>>,
}

/// What time was spent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Work {
    /// Steps that compute prompts, perhaps beside decodes.
    Prefill,
    /// Steps that only continue sequences.
    Decode,
    /// Turning texts into vectors.
    Embed,
    /// Steps that had nothing to compute.
    Nothing,
    /// Tokenising and detokenising, beside steps, on the callers' threads.
    Text,
}

/// The time spent on one kind of work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Account {
    /// Steps, batches to embed, or texts.
    pub count: u64,
    /// Tokens that were computed.
    pub tokens: u64,
    /// Where the time went.
    pub stages: StageTimes,
}

/// The time of each stage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StageTimes([Duration; Stage::ALL.len()]);

impl Work {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Prefill => "prefill",
            Self::Decode => "decode",
            Self::Embed => "embed",
            Self::Nothing => "nothing",
            Self::Text => "text",
        }
    }
}

impl Default for Attribution {
    fn default() -> Self {
        Self { start: Instant::now(), laps: Arc::default() }
    }
}

impl Attribution {
    /// The work since the last call. A step that is under way is left for the next one.
    pub fn take(&self) -> BTreeMap<Work, Account> {
        std::mem::take(&mut self.laps().accounts)
    }

    fn laps(&self) -> MutexGuard<'_, Laps<ThreadId>> {
        self.laps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StageTimes {
    /// The time of `stage`.
    pub const fn of(&self, stage: Stage) -> Duration {
        self.0[stage as usize]
    }

    /// Each stage with its time.
    pub fn iter(&self) -> impl Iterator<Item = (Stage, Duration)> {
        Stage::ALL.into_iter().zip(self.0)
    }

    /// Their sum.
    pub fn total(&self) -> Duration {
        self.0.iter().sum()
    }

    fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, time)| *sum += time);
    }
}

/// The stages under way, and the counts so far. `T` identifies threads.
#[derive(Debug)]
struct Laps<T> {
    accounts: BTreeMap<Work, Account>,
    /// The step that is under way.
    step: Step,
    /// Its stages that are under way, the innermost last, each with its thread.
    under_way: Vec<(Stage, T)>,
    /// When a stage last began or ended.
    since: Duration,
    /// Work on texts that is under way, with its thread and its beginning.
    texts: Vec<(Stage, T, Duration)>,
}

// A derived one would require `T: Default`.
impl<T> Default for Laps<T> {
    fn default() -> Self {
        Self {
            accounts: BTreeMap::new(),
            step: Step::default(),
            under_way: Vec::new(),
            since: Duration::ZERO,
            texts: Vec::new(),
        }
    }
}

/// What is known about a step.
#[derive(Debug, Clone, Copy, Default)]
struct Step {
    stages: StageTimes,
    embeds: bool,
    tokens: u64,
    prefilled: u64,
}

impl Step {
    const fn work(&self) -> Work {
        match self {
            Self { embeds: true, .. } => Work::Embed,
            Self { tokens: 0, .. } => Work::Nothing,
            Self { prefilled: 0, .. } => Work::Decode,
            _ => Work::Prefill,
        }
    }
}

impl<T: PartialEq + Copy> Laps<T> {
    fn enter(&mut self, span: Kind, thread: T, now: Duration) {
        let stage =
            match (span, self.under_way.last()) {
                (Kind::Part(stage), _) if stage.is_of_texts() => {
                    return self.texts.push((stage, thread, now));
                }
                // A step, or a part of it, arrives on this thread: it begins, or is handed over.
                (Kind::Step | Kind::Embed, _) => Stage::Other,
                (Kind::Part(stage), Some(&(outer, owner))) if owner == thread => {
                    if outer.swallows() { outer } else { stage }
                }
                (Kind::Part(_), _) => return,
            };
        self.step.embeds |= span == Kind::Embed;
        self.lap(now);
        self.under_way.push((stage, thread));
    }

    fn exit(&mut self, span: Kind, thread: T, now: Duration) {
        if let Kind::Part(stage) = span
            && stage.is_of_texts()
        {
            return self.end_text(stage, thread, now);
        }
        // The innermost of this thread: if two threads run steps at once, the other may go on.
        let Some(own) = self.under_way.iter().rposition(|&(_, owner)| owner == thread) else {
            return;
        };
        self.lap(now);
        self.under_way.remove(own);
        if self.under_way.is_empty() {
            let step = std::mem::take(&mut self.step);
            let account = self.accounts.entry(step.work()).or_default();
            account.count += 1;
            account.tokens += step.tokens;
            account.stages.add(&step.stages);
        }
    }

    fn lap(&mut self, now: Duration) {
        if let Some(&(stage, _)) = self.under_way.last() {
            self.step.stages.0[stage as usize] += now.saturating_sub(self.since);
        }
        self.since = now;
    }

    fn end_text(&mut self, stage: Stage, thread: T, now: Duration) {
        let mine = |text: &(Stage, T, Duration)| (text.0, text.1) == (stage, thread);
        if let Some(index) = self.texts.iter().rposition(mine) {
            let (_, _, since) = self.texts.swap_remove(index);
            let account = self.accounts.entry(Work::Text).or_default();
            account.count += 1;
            account.stages.0[stage as usize] += now.saturating_sub(since);
        }
    }
}

/// The kind of a span. Spans of the same kind need not be told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A step, or another thread's part of it.
    Step,
    /// The same for embedding texts.
    Embed,
    /// A part of a step, or work on a text.
    Part(Stage),
}

impl Kind {
    fn of(span: &Metadata<'_>) -> Option<Self> {
        match span.name() {
            _ if !span.is_span() || !span.target().starts_with("windtunnel_engine") => None,
            "step" => Some(Self::Step),
            "embed" => Some(Self::Embed),
            "forward" => Some(Self::Part(Stage::Other)),
            name => Stage::ALL.into_iter().find(|stage| stage.name() == name).map(Self::Part),
        }
    }

    /// The span's id, which cannot be 0.
    fn id(self) -> Id {
        Id::from_u64(match self {
            Self::Step => 1,
            Self::Embed => 2,
            Self::Part(stage) => 3 + stage as u64,
        })
    }

    fn of_id(id: &Id) -> Self {
        match id.into_u64() {
            1 => Self::Step,
            2 => Self::Embed,
            part => Self::Part(Stage::ALL[part as usize - 3]),
        }
    }
}

/// Waits until the GPUs have done all their work, at a boundary of any stage but those of texts.
fn wait_for_gpus(span: Kind) {
    match span {
        Kind::Part(stage) if stage.is_of_texts() => {}
        _ => driver::wait_for_all(),
    }
}

/// Reads the counts that spans carry.
impl<T> Visit for Laps<T> {
    fn record_u64(&mut self, field: &Field, count: u64) {
        match field.name() {
            "tokens" => self.step.tokens += count,
            "prefilled" => self.step.prefilled += count,
            _ => {}
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

impl Subscriber for Attribution {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        Kind::of(metadata).is_some()
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        if !span.is_empty() {
            span.record(&mut *self.laps());
        }
        Kind::of(span.metadata()).unwrap_or(Kind::Part(Stage::Other)).id()
    }

    fn record(&self, _: &Id, counts: &Record<'_>) {
        counts.record(&mut *self.laps());
    }

    fn enter(&self, span: &Id) {
        wait_for_gpus(Kind::of_id(span));
        let (thread, now) = (thread::current().id(), self.start.elapsed());
        self.laps().enter(Kind::of_id(span), thread, now);
    }

    fn exit(&self, span: &Id) {
        wait_for_gpus(Kind::of_id(span));
        let (thread, now) = (thread::current().id(), self.start.elapsed());
        self.laps().exit(Kind::of_id(span), thread, now);
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The accounts after a script of `(milliseconds, thread, what)`, where `+x` begins and `-x`
    /// ends: for each kind of work how often it was done, and the stages that took time.
    fn check(script: &[(u64, u32, &str)]) -> String {
        let mut laps = Laps::default();
        for &(ms, thread, what) in script {
            let (sign, name) = what.split_at(1);
            let stage = Stage::ALL.into_iter().find(|stage| stage.name() == name);
            let kind = match name {
                "step" => Kind::Step,
                "embed" => Kind::Embed,
                _ => Kind::Part(stage.unwrap()),
            };
            let now = Duration::from_millis(ms);
            match sign {
                "+" => laps.enter(kind, thread, now),
                _ => laps.exit(kind, thread, now),
            }
        }
        assert!(laps.under_way.is_empty() && laps.texts.is_empty());
        let line = |(work, account): (Work, Account)| {
            let Account { count, stages, .. } = account;
            let times = stages.iter().filter(|(_, time)| !time.is_zero());
            let times = times.map(|(stage, time)| format!(", {stage} {}", time.as_millis()));
            let total = stages.total().as_millis();
            format!("{count} × {}: {total}{}\n", work.name(), times.collect::<String>())
        };
        laps.accounts.into_iter().map(line).collect()
    }

    #[test]
    fn parts_of_a_step_are_disjoint_and_add_up_to_it() {
        // Handed over at 107 to a computing thread, while the caller waits until 132. The time
        // between steps is not counted.
        insta::assert_snapshot!(check(&[
            (100, 0, "+step"),
            (101, 0, "+schedule"),
            (103, 0, "-schedule"),
            (107, 1, "+step"),
            (108, 1, "+attention"),
            (110, 1, "+transfer"),
            (115, 1, "-transfer"),
            (131, 1, "-attention"),
            (132, 1, "-step"),
            (133, 0, "+commit"),
            (140, 0, "-commit"),
            (141, 0, "-step"),
            (500, 0, "+step"),
            (501, 0, "-step"),
        ]), @"2 × nothing: 42, schedule 2, attention 18, transfer 5, commit 7, other 10");
    }

    #[test]
    fn what_experts_consist_of_is_theirs() {
        insta::assert_snapshot!(check(&[
            (0, 0, "+step"),
            (0, 0, "+experts"),
            (3, 0, "+linear"),
            (10, 0, "-linear"),
            (11, 0, "-experts"),
            (11, 0, "+linear"),
            (13, 0, "-linear"),
            (13, 0, "-step"),
        ]), @"1 × nothing: 13, linear 2, experts 11");
    }

    #[test]
    fn other_threads_and_times_outside_of_steps_do_not_count() {
        insta::assert_snapshot!(check(&[
            (0, 0, "+norm"),
            (5, 0, "-norm"),
            (10, 0, "+embed"),
            (10, 0, "+linear"),
            (11, 2, "+norm"),
            (18, 2, "-norm"),
            (20, 0, "-linear"),
            (20, 0, "-embed"),
        ]), @"1 × embed: 10, linear 10");
    }

    #[test]
    fn what_two_threads_do_at_once_is_one_account_and_the_next_is_counted_again() {
        insta::assert_snapshot!(check(&[
            (0, 0, "+embed"),
            (2, 1, "+embed"),
            (5, 0, "-embed"),
            (9, 1, "-embed"),
            (20, 0, "+embed"),
            (24, 0, "-embed"),
        ]), @"2 × embed: 13, other 13");
    }

    #[test]
    fn texts_are_counted_beside_the_steps_on_every_thread() {
        insta::assert_snapshot!(check(&[
            (0, 7, "+tokenise"),
            (1, 0, "+step"),
            (2, 8, "+tokenise"),
            (4, 7, "-tokenise"),
            (6, 0, "-step"),
            (7, 8, "-tokenise"),
        ]), @"
        1 × nothing: 5, other 5
        2 × text: 9, tokenise 9
        ");
    }

    #[test]
    fn every_kind_of_span_survives_as_a_number() {
        for (index, stage) in Stage::ALL.into_iter().enumerate() {
            assert_eq!(stage as usize, index);
            assert_eq!(Kind::of_id(&Kind::Part(stage).id()), Kind::Part(stage));
        }
        for kind in [Kind::Step, Kind::Embed] {
            assert_eq!(Kind::of_id(&kind.id()), kind);
        }
    }
}
