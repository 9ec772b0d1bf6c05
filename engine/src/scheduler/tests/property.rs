//! Random arrivals with shared prefixes, cancellations and failures in small pools: everything
//! ends, nothing leaks, nothing shared is written, and what is read is what was written.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;
use crate::blocks::BlockId;

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, ..ProptestConfig::default() })]

    #[test]
    fn ample_blocks_for_a_window_are_never_all_taken(
        block in 1..9usize,
        window in 1..20usize,
        slots in 1..6usize,
        extra_budget in 0..24usize,
        requests in prop::collection::vec(arrival(), 1..16),
    ) {
        let limits = Limits { step_tokens: slots + extra_budget, sequences: slots };
        let windowed = Reach::Window(window).ample(block, slots, limits.step_tokens).unwrap();
        let windowed = [Some((window, windowed)), None].map(|window| {
            let mut scheduler = Scheduler::new(limits, capacity(limits, block, 60, window));
            for (id, Arrival { prompt, common, new, .. }) in (0..).map(RequestId).zip(&requests) {
                scheduler.submit(sequence(id, *prompt, *common, *new, PrefixCache::Off));
            }
            let mut grants = Vec::new();
            while !scheduler.running.is_empty() || !scheduler.waiting.is_empty() {
                let schedule = scheduler.schedule();
                let draws = schedule.grants.iter().filter(|grant| grant.draws).count();
                scheduler.commit(&schedule, vec![Ok(SEVEN); draws]);
                grants.push(schedule.grants);
            }
            grants
        });
        // Scheduling is as if there were no window.
        prop_assert_eq!(&windowed[0], &windowed[1]);
    }

    #[test]
    fn everything_ends_nothing_leaks_and_first_tokens_come_in_order(
        cache in prop::sample::select(vec![PrefixCache::On, PrefixCache::Off]),
        block in 1..9usize,
        blocks in 1..24usize,
        window in prop::option::of((1..20usize, 1..16usize)),
        slots in 1..6usize,
        extra_budget in 0..24usize,
        requests in prop::collection::vec(arrival(), 1..16),
    ) {
        let limits = Limits { step_tokens: slots + extra_budget, sequences: slots };
        let mut scheduler = Scheduler::new(limits, capacity(limits, block, blocks, window));
        let mut ledger = Ledger::default();
        for (id, arrival) in (0..).map(RequestId).zip(&requests) {
            let &Arrival { prompt, common, new, pause, cancels, fails } = arrival;
            let sequence = sequence(id, prompt, common, new, cache);
            let fits = scheduler.pools.capacity().check(prompt + new - 1).is_ok();
            if window.is_none() {
                prop_assert_eq!(fits, (prompt + new - 1).div_ceil(block) <= blocks);
            }
            if fits {
                scheduler.submit(sequence);
                ledger.open += 1;
            }
            for _ in 0..pause {
                ledger.step(&mut scheduler, Forward::Works)?;
            }
            if fails {
                ledger.step(&mut scheduler, Forward::Fails)?;
            }
            // Any request so far, waiting, running or ended.
            let victim = cancels.map(|index| RequestId(index.index(id.0 as usize + 1) as u64));
            ledger.open -= victim.map_or(0, |victim| scheduler.cancel(victim).len());
            scheduler.check_integrity().map_err(TestCaseError::fail)?;
        }
        // Progress is at least one token per step, and a preemption costs at most one
        // recomputation.
        let mut steps = 0;
        while ledger.open > 0 {
            ledger.step(&mut scheduler, Forward::Works)?;
            steps += 1;
            prop_assert!(steps < 20_000, "{} requests never end", ledger.open);
        }
        let pools = &scheduler.pools;
        prop_assert_eq!(pools.used(), 0);
        prop_assert_eq!(pools.cached() + pools.free(), pools.total());
        prop_assert!(cache == PrefixCache::On || pools.cached() == 0);
        prop_assert!(scheduler.running.is_empty() && scheduler.waiting.is_empty());
    }
}

/// A request of the property test.
#[derive(Debug, Clone)]
struct Arrival {
    prompt: usize,
    /// Where its prompt diverges from the others'.
    common: usize,
    new: usize,
    /// Steps before the next arrival.
    pause: usize,
    /// Which of the requests so far is then cancelled, if any.
    cancels: Option<prop::sample::Index>,
    /// Whether a step fails before the next arrival.
    fails: bool,
}

/// The outcome of a pass.
#[derive(Clone, Copy)]
enum Forward {
    Works,
    Fails,
}

fn arrival() -> impl Strategy<Value = Arrival> {
    let cancels = prop::option::weighted(0.2, any::<prop::sample::Index>());
    let sizes = (1..40usize, 0..40usize, 1..20usize, 0..4usize);
    (sizes, cancels, prop::bool::weighted(0.1)).prop_map(|(sizes, cancels, fails)| {
        let (prompt, common, new, pause) = sizes;
        Arrival { prompt, common, new, pause, cancels, fails }
    })
}

/// What the property test remembers of the steps so far.
#[derive(Default)]
struct Ledger {
    open: usize,
    last_first: Option<RequestId>,
    /// Tokens computed since the sequence got its blocks.
    computed: HashMap<RequestId, usize>,
    started: HashSet<RequestId>,
    /// The content of each block of each pool: the tokens of its sequence up to its end.
    written: HashMap<(usize, BlockId), Vec<u32>>,
}

impl Ledger {
    /// Writes what `grant` computes, into blocks that no other sequence reads.
    fn check_written(&mut self, scheduler: &Scheduler, grant: &Grant) -> Result<(), TestCaseError> {
        let block = scheduler.pools.block();
        let sequence = &scheduler.running[grant.sequence];
        for (pool, held) in sequence.held.iter().enumerate() {
            for at in grant.tokens.start / block..grant.tokens.end.div_ceil(block) {
                let id = held.get(at).ok_or_else(|| TestCaseError::fail("no block to write to"))?;
                let earlier = scheduler.running.iter().filter(|other| {
                    let Held { gone, blocks } = &other.held[pool];
                    other.id < sequence.id
                        && blocks.iter().take(other.computed / block - gone).any(|b| *b == id)
                });
                prop_assert_eq!(
                    earlier.count(),
                    0,
                    "{} writes {:?} of pool {}, which is shared",
                    grant.request,
                    id,
                    pool
                );
                let end = grant.tokens.end.min((at + 1) * block);
                self.written.insert((pool, id), sequence.tokens[..end].to_vec());
            }
        }
        Ok(())
    }

    /// Reads what the tokens of `grant` see before them: computed earlier, or written in this very
    /// pass.
    fn check_read(&self, scheduler: &Scheduler, grant: &Grant) -> Result<(), TestCaseError> {
        let block = scheduler.pools.block();
        let sequence = &scheduler.running[grant.sequence];
        let Range { start, .. } = grant.tokens;
        for (index, (pool, held)) in scheduler.pools.iter().zip(&sequence.held).enumerate() {
            for position in pool.reach().first_seen(start)..start {
                let id = held.get(position / block);
                let written = id.and_then(|id| self.written.get(&(index, id)));
                let there =
                    written.is_some_and(|held| held.starts_with(&sequence.tokens[..=position]));
                prop_assert!(
                    there,
                    "{} at {} reads {} of pool {}, which is not there",
                    grant.request,
                    start,
                    position,
                    index
                );
            }
        }
        Ok(())
    }

    fn step(&mut self, scheduler: &mut Scheduler, forward: Forward) -> Result<(), TestCaseError> {
        let oldest = scheduler.running.first().map(|sequence| sequence.id);
        let before: Vec<_> = scheduler.running.iter().map(|sequence| sequence.id).collect();
        let schedule = scheduler.schedule();
        for id in &schedule.preempted {
            self.computed.remove(id);
        }
        for id in before.iter().filter(|id| !schedule.preempted.contains(id)) {
            let granted = schedule.grants.iter().any(|grant| grant.request == *id);
            prop_assert!(granted, "{} was running and stands still", id);
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
            let sequence = &scheduler.running[grant.sequence];
            // Its beginning may have been found in the cache.
            let computed = self.computed.entry(grant.request).or_insert(sequence.computed);
            prop_assert_eq!(*computed, grant.tokens.start, "computed twice, or skipped");
            *computed = grant.tokens.end;
            prop_assert_eq!(sequence.id, grant.request);
            self.check_written(scheduler, grant)?;
            if grant.draws && self.started.insert(grant.request) {
                prop_assert!(self.last_first < Some(grant.request), "first tokens out of order");
                self.last_first = Some(grant.request);
            }
        }
        for grant in &schedule.grants {
            self.check_read(scheduler, grant)?;
        }
        let draws = schedule.grants.iter().filter(|grant| grant.draws).count();
        let events = match forward {
            Forward::Works => scheduler.commit(&schedule, vec![Ok(SEVEN); draws]),
            Forward::Fails => {
                for grant in &schedule.grants {
                    let whole = whole_blocks(&grant.tokens, scheduler.pools.block());
                    let held = &scheduler.running[grant.sequence].held;
                    for (at, pool) in whole.flat_map(|at| (0..held.len()).map(move |p| (at, p))) {
                        let id = held[pool].get(at).unwrap();
                        self.written.remove(&(pool, id));
                    }
                }
                let why = Error::Tensor(candle_core::Error::Msg("out of luck".into()));
                scheduler.fail(&schedule, &why)
            }
        };
        for event in events {
            if let Event::Finished { finish, .. } = event {
                prop_assert_eq!(finish == Finish::Length, matches!(forward, Forward::Works));
                self.open -= 1;
            }
        }
        scheduler.check_integrity().map_err(TestCaseError::fail)
    }
}
