//! Text traces in, text traces out, and a property test. No tensors.

use insta::assert_snapshot;
use proptest::prelude::*;

use super::*;
use crate::sampler::{Sampler, Sampling};

/// Runs a script and returns its trace.
///
/// The first line sets `budget` (tokens a step), `slots` (running sequences), `blocks` and
/// `block` (tokens each). Then, line by line: `submit a:6+2` (sequence a, 6 prompt tokens, at
/// most 2 new ones), `cancel a`, `fail` (a step whose model fails), `nan a` (a's next logits are
/// not finite), `step`, `step 3`, or `run` (until idle).
///
/// Each step is one line: grants as `name start..end`, `*` when a token is drawn; then what was
/// preempted, who ended, and how many blocks are used.
fn check(script: &str) -> String {
    let mut lines = script.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut world = World::new(lines.next().unwrap());
    for line in lines {
        world.run(line);
    }
    world.trace
}

struct World {
    scheduler: Scheduler,
    names: Vec<String>,
    nan: Option<RequestId>,
    trace: String,
}

impl World {
    fn new(settings: &str) -> Self {
        let words: Vec<_> = settings.split_whitespace().collect();
        let setting = |key| {
            let at = words.iter().position(|word| *word == key).unwrap();
            words[at + 1].parse::<usize>().unwrap()
        };
        let limits = Limits { step_tokens: setting("budget"), sequences: setting("slots") };
        let pool = BlockPool::new(setting("blocks") as u32, setting("block"));
        Self {
            scheduler: Scheduler::new(limits, pool),
            names: Vec::new(),
            nan: None,
            trace: String::new(),
        }
    }

    fn run(&mut self, line: &str) {
        let words: Vec<_> = line.split_whitespace().collect();
        match words[..] {
            ["submit", ref requests @ ..] => requests.iter().for_each(|text| self.submit(text)),
            ["cancel", name] => {
                let id = self.id(name);
                let event = self.scheduler.cancel(id);
                let text = event.map_or("unknown".into(), |event| self.ended(&event));
                self.say(format!("cancel: {text}{}", self.used()));
            }
            ["nan", name] => self.nan = Some(self.id(name)),
            ["fail"] => {
                self.step(Err(Error::Tensor(candle_core::Error::Msg("out of luck".into()))))
            }
            ["step"] => self.step(Ok(())),
            ["step", count] => (0..count.parse().unwrap()).for_each(|_| self.step(Ok(()))),
            ["run"] => {
                while !self.scheduler.running.is_empty() || !self.scheduler.waiting.is_empty() {
                    self.step(Ok(()));
                }
            }
            _ => panic!("no such command: {line}"),
        }
        self.scheduler.check_integrity().unwrap();
    }

    fn submit(&mut self, text: &str) {
        let (name, sizes) = text.split_once(':').unwrap();
        let (prompt, new) = sizes.split_once('+').unwrap();
        let (prompt, new) = (prompt.parse().unwrap(), new.parse().unwrap());
        let id = RequestId(self.names.len() as u64);
        self.names.push(name.into());
        if let Err(refusal) = self.scheduler.submit(sequence(id, prompt, new)) {
            self.say(format!("{name}: {refusal}"));
        }
    }

    fn step(&mut self, forward: Result<(), Error>) {
        let schedule = self.scheduler.schedule();
        let grants: Vec<_> = schedule
            .grants
            .iter()
            .map(|grant| {
                let drawn = if grant.draws { "*" } else { "" };
                format!(
                    "{} {}..{}{drawn}",
                    self.name(grant.request),
                    grant.tokens.start,
                    grant.tokens.end
                )
            })
            .collect();
        let mut line = if grants.is_empty() { "idle".into() } else { grants.join(" | ") };
        for &id in &schedule.preempted {
            line += &format!("  preempts {}", self.name(id));
        }
        let events = match forward {
            Ok(()) => {
                let nan = self.nan.take();
                let draws = schedule.grants.iter().filter(|grant| grant.draws);
                let drawn: Vec<_> = draws
                    .map(|grant| match Some(grant.request) == nan {
                        true => Err(NoToken::NotFinite),
                        false => Ok(SEVEN),
                    })
                    .collect();
                self.scheduler.commit(&schedule, drawn)
            }
            Err(failure) => self.scheduler.fail(&schedule, &failure),
        };
        for event in &events {
            if let Event::Finished { .. } = event {
                line += &format!("  {}", self.ended(event));
            }
        }
        line += &self.used();
        self.say(line);
    }

    fn say(&mut self, line: String) {
        self.trace += &line;
        self.trace.push('\n');
    }

    fn used(&self) -> String {
        format!("  [{}/{}]", self.scheduler.pool.used(), self.scheduler.pool.total())
    }

    fn name(&self, id: RequestId) -> &str {
        &self.names[id.0 as usize]
    }

    fn id(&self, name: &str) -> RequestId {
        RequestId(self.names.iter().position(|other| other == name).unwrap() as u64)
    }

    fn ended(&self, event: &Event) -> String {
        match event {
            Event::Finished { request, finish, generated, .. } => {
                format!("{} ends after {generated} ({finish:?})", self.name(*request))
            }
            Event::Token { .. } => panic!("{event:?} is no end"),
        }
    }
}

/// What is drawn where it does not matter.
const SEVEN: Drawn = Drawn { token: 7, logprobs: None };

fn sequence(id: RequestId, prompt: usize, new: usize) -> Sequence {
    Sequence {
        id,
        tokens: vec![1; prompt],
        prompt,
        computed: 0,
        blocks: Vec::new(),
        limit: prompt + new,
        stop: vec![0],
        sampler: Sampler::new(Sampling::GREEDY),
    }
}

#[test]
fn a_prompt_is_computed_and_then_decoded_token_by_token() {
    assert_snapshot!(check("budget 16 slots 4 blocks 8 block 4
        submit a:6+3
        run"), @"
    a 0..6*  [2/8]
    a 6..7*  [2/8]
    a 7..8*  a ends after 3 (Length)  [0/8]
    ");
}

#[test]
fn a_long_prompt_is_cut_into_chunks_beside_the_decodes_of_its_elders() {
    assert_snapshot!(check("budget 4 slots 4 blocks 16 block 4
        submit a:2+6
        step
        submit b:9+2
        run"), @"
    a 0..2*  [1/16]
    a 2..3* | b 0..3  [4/16]
    a 3..4* | b 3..6  [4/16]
    a 4..5* | b 6..9*  [5/16]
    a 5..6* | b 9..10*  b ends after 2 (Length)  [2/16]
    a 6..7*  a ends after 6 (Length)  [0/16]
    ");
}

#[test]
fn a_newcomer_waits_for_budget_in_the_order_of_arrival() {
    assert_snapshot!(check("budget 8 slots 4 blocks 16 block 4
        submit a:6+2 b:6+2 c:1+2
        run"), @"
    a 0..6* | b 0..2  [4/16]
    a 6..7* | b 2..6* | c 0..1*  a ends after 2 (Length)  [3/16]
    b 6..7* | c 1..2*  b ends after 2 (Length)  c ends after 2 (Length)  [0/16]
    ");
}

#[test]
fn a_single_slot_runs_one_sequence_at_a_time() {
    assert_snapshot!(check("budget 8 slots 1 blocks 16 block 4
        submit a:3+2 b:3+2
        run"), @"
    a 0..3*  [1/16]
    a 3..4*  a ends after 2 (Length)  [0/16]
    b 0..3*  [1/16]
    b 3..4*  b ends after 2 (Length)  [0/16]
    ");
}

#[test]
fn n_slots_run_n_sequences_when_each_has_one_block_for_good() {
    assert_snapshot!(check("budget 16 slots 3 blocks 3 block 8
        submit a:4+3 b:4+3 c:4+3 d:4+3
        run"), @"
    a 0..4* | b 0..4* | c 0..4*  [3/3]
    a 4..5* | b 4..5* | c 4..5*  [3/3]
    a 5..6* | b 5..6* | c 5..6*  a ends after 3 (Length)  b ends after 3 (Length)  c ends after 3 (Length)  [0/3]
    d 0..4*  [1/3]
    d 4..5*  [1/3]
    d 5..6*  d ends after 3 (Length)  [0/3]
    ");
}

#[test]
fn the_youngest_is_preempted_and_recomputes_what_it_had() {
    assert_snapshot!(check("budget 16 slots 4 blocks 4 block 4
        submit a:4+9 b:4+9
        run"), @"
    a 0..4* | b 0..4*  [2/4]
    a 4..5* | b 4..5*  [4/4]
    a 5..6* | b 5..6*  [4/4]
    a 6..7* | b 6..7*  [4/4]
    a 7..8* | b 7..8*  [4/4]
    a 8..9*  preempts b  [3/4]
    a 9..10*  [3/4]
    a 10..11*  [3/4]
    a 11..12*  a ends after 9 (Length)  [0/4]
    b 0..9*  [3/4]
    b 9..10*  [3/4]
    b 10..11*  [3/4]
    b 11..12*  b ends after 9 (Length)  [0/4]
    ");
}

#[test]
fn a_block_stays_free_for_elders_that_grow() {
    assert_snapshot!(check("budget 16 slots 4 blocks 2 block 4
        submit a:4+4 b:4+1
        run"), @"
    a 0..4*  [1/2]
    a 4..5*  [2/2]
    a 5..6*  [2/2]
    a 6..7*  a ends after 4 (Length)  [0/2]
    b 0..4*  b ends after 1 (Length)  [0/2]
    ");
}

#[test]
fn a_sequence_that_could_never_end_is_refused_with_the_numbers() {
    assert_snapshot!(check("budget 16 slots 4 blocks 3 block 4
        submit a:9+5 b:9+4
        run"), @"
    a: the request needs 13 cached tokens (4 blocks of 4), but the cache has 3 blocks; lower `max_tokens` or raise `kv_tokens`
    b 0..9*  [3/3]
    b 9..10*  [3/3]
    b 10..11*  [3/3]
    b 11..12*  b ends after 4 (Length)  [0/3]
    ");
}

#[test]
fn cancelling_frees_the_blocks_of_running_and_waiting_sequences() {
    assert_snapshot!(check("budget 16 slots 1 blocks 4 block 4
        submit a:5+9 b:2+2
        step 2
        cancel a
        cancel a
        submit c:2+2
        cancel c
        run"), @"
    a 0..5*  [2/4]
    a 5..6*  [2/4]
    cancel: a ends after 2 (Cancelled)  [0/4]
    cancel: unknown  [0/4]
    cancel: c ends after 0 (Cancelled)  [0/4]
    b 0..2*  [1/4]
    b 2..3*  b ends after 2 (Length)  [0/4]
    ");
}

#[test]
fn a_failed_step_ends_its_sequences_and_spares_those_that_wait() {
    assert_snapshot!(check("budget 8 slots 2 blocks 8 block 4
        submit a:3+4 b:3+4 c:3+2
        step
        fail
        run"), @r#"
    a 0..3* | b 0..3*  [2/8]
    a 3..4* | b 3..4*  a ends after 1 (Error("tensor operation failed: out of luck"))  b ends after 1 (Error("tensor operation failed: out of luck"))  [0/8]
    c 0..3*  [1/8]
    c 3..4*  c ends after 2 (Length)  [0/8]
    "#);
}

#[test]
fn logits_that_are_not_finite_end_only_their_sequence() {
    assert_snapshot!(check("budget 8 slots 2 blocks 8 block 4
        submit a:3+2 b:3+2
        nan a
        run"), @r#"
    a 0..3* | b 0..3*  a ends after 0 (Error("the model produced logits that are not finite"))  [1/8]
    b 3..4*  b ends after 2 (Length)  [0/8]
    "#);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn everything_ends_nothing_leaks_and_first_tokens_come_in_order(
        block in 1..9usize,
        blocks in 1..24u32,
        slots in 1..6usize,
        extra_budget in 0..24usize,
        // Prompt, new tokens, steps before the next arrival, and whether it is cancelled early.
        requests in prop::collection::vec((1..40usize, 1..20usize, 0..4usize, prop::bool::weighted(0.1)), 1..16),
    ) {
        let limits = Limits { step_tokens: slots + extra_budget, sequences: slots };
        let mut scheduler = Scheduler::new(limits, BlockPool::new(blocks, block));
        let mut ledger = Ledger::default();
        for (id, &(prompt, new, pause, cancelled)) in (0..).map(RequestId).zip(&requests) {
            let fits = (prompt + new - 1).div_ceil(block) <= blocks as usize;
            prop_assert_eq!(scheduler.submit(sequence(id, prompt, new)).is_ok(), fits);
            if fits {
                ledger.open += 1;
            }
            for _ in 0..pause {
                ledger.step(&mut scheduler)?;
            }
            if cancelled && scheduler.cancel(id).is_some() {
                ledger.open -= 1;
            }
        }
        // Progress is at least a token a step, and a preemption costs at most one recomputation.
        let mut steps = 0;
        while ledger.open > 0 {
            ledger.step(&mut scheduler)?;
            steps += 1;
            prop_assert!(steps < 20_000, "{} requests never end", ledger.open);
        }
        prop_assert_eq!(scheduler.pool.used(), 0);
        prop_assert!(scheduler.running.is_empty() && scheduler.waiting.is_empty());
    }
}

/// What the property test remembers of the steps so far.
#[derive(Default)]
struct Ledger {
    open: usize,
    last_first: Option<RequestId>,
    /// Tokens computed since the sequence got its blocks.
    computed: std::collections::HashMap<RequestId, usize>,
    started: std::collections::HashSet<RequestId>,
}

impl Ledger {
    fn step(&mut self, scheduler: &mut Scheduler) -> Result<(), TestCaseError> {
        let oldest = scheduler.running.first().map(|sequence| sequence.id);
        let schedule = scheduler.schedule();
        for id in &schedule.preempted {
            self.computed.remove(id);
        }
        let total: usize = schedule.grants.iter().map(|grant| grant.tokens.len()).sum();
        prop_assert!(total <= scheduler.limits.step_tokens);
        prop_assert!(scheduler.running.len() <= scheduler.limits.sequences);
        prop_assert!(scheduler.running.is_sorted_by_key(|sequence| sequence.id));
        if let Some(oldest) = oldest {
            let first = schedule.grants.first().map(|grant| grant.request);
            prop_assert_eq!(first, Some(oldest), "the oldest did not advance");
        }
        for grant in &schedule.grants {
            prop_assert!(!grant.tokens.is_empty());
            let computed = self.computed.entry(grant.request).or_default();
            prop_assert_eq!(*computed, grant.tokens.start, "computed twice, or skipped");
            *computed = grant.tokens.end;
            let sequence = &scheduler.running[grant.sequence];
            prop_assert_eq!(sequence.id, grant.request);
            prop_assert!(sequence.blocks.len() * scheduler.pool.block() >= grant.tokens.end);
            if grant.draws && self.started.insert(grant.request) {
                prop_assert!(self.last_first < Some(grant.request), "first tokens out of order");
                self.last_first = Some(grant.request);
            }
        }
        let draws = schedule.grants.iter().filter(|grant| grant.draws).count();
        let events = scheduler.commit(&schedule, vec![Ok(SEVEN); draws]);
        for event in events {
            if let Event::Finished { finish, .. } = event {
                prop_assert_eq!(finish, Finish::Length);
                self.open -= 1;
            }
        }
        scheduler.check_integrity().map_err(TestCaseError::fail)
    }
}
