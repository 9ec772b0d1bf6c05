//! Text traces in, text traces out. No tensors.

use insta::assert_snapshot;

use super::*;
use crate::blocks::{PoolSize, Reach};
use crate::error::Error;
use crate::request::{Event, Finish};
use crate::sampler::{Drawn, NoToken, Sampler, Sampling};

/// Runs a script and returns its trace.
///
/// The first line sets `budget` (tokens per step), `slots` (running sequences), `blocks` and
/// `block` (tokens each), perhaps `window` (tokens) and `windowed` (blocks) of a second pool, and
/// ends with `cache` if sequences may share blocks. Then, line by line: `submit a:6+2` (sequence a,
/// 6 prompt tokens, at most 2 new ones; the token at each position is the same for all, so that
/// every prompt begins like the others) or `submit a:6/4+2` (the same up to position 4, a's own
/// after it), `cancel a`, `fail` (a step whose model fails), `nan a` (a's next logits are not
/// finite), `none a` (a's bias leaves it no next token), `step`, `step 3`, or `run` (until idle).
///
/// Each step is one line: grants as `name start..end`, `*` if a token is drawn; then what was
/// preempted, what ended, and for each pool how many blocks are used and how many are cached.
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
    /// The sequence whose next token fails, and how.
    no_token: Option<(String, NoToken)>,
    cache: PrefixCache,
    trace: String,
    /// Prompt tokens that each found in the cache, in the order in which the prompts were done.
    cached: Vec<(String, usize)>,
}

impl World {
    fn new(settings: &str) -> Self {
        let words: Vec<_> = settings.split_whitespace().collect();
        let perhaps = |key| {
            let at = words.iter().position(|word| *word == key)?;
            Some(words[at + 1].parse::<usize>().unwrap())
        };
        let setting = |key| perhaps(key).unwrap();
        let limits = Limits { step_tokens: setting("budget"), sequences: setting("slots") };
        let window = perhaps("window").map(|window| (window, setting("windowed")));
        let capacity = capacity(limits, setting("block"), setting("blocks"), window);
        Self {
            scheduler: Scheduler::new(limits, capacity),
            names: Vec::new(),
            no_token: None,
            cache: match words.contains(&"cache") {
                true => PrefixCache::On,
                false => PrefixCache::Off,
            },
            trace: String::new(),
            cached: Vec::new(),
        }
    }

    fn run(&mut self, line: &str) {
        let words: Vec<_> = line.split_whitespace().collect();
        match words[..] {
            ["submit", ref requests @ ..] => requests.iter().for_each(|text| self.submit(text)),
            ["cancel", name] => {
                let id = self.id(name);
                let events = self.scheduler.cancel(id);
                let text = events.first().map_or("unknown".into(), |event| self.ended(event));
                self.say(format!("cancel: {text}{}", self.used()));
            }
            ["nan", name] => self.no_token = Some((name.into(), NoToken::NotFinite)),
            ["none", name] => self.no_token = Some((name.into(), NoToken::NoneLeft)),
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
        let (prompt, common) = prompt.split_once('/').unwrap_or((prompt, prompt));
        let (prompt, common) = (prompt.parse().unwrap(), common.parse().unwrap());
        let id = RequestId(self.names.len() as u64);
        self.names.push(name.into());
        let sequence = sequence(id, prompt, common, new.parse().unwrap(), self.cache);
        match self.scheduler.pools.capacity().check(sequence.cached_at_most()) {
            Ok(()) => self.scheduler.submit(sequence),
            Err(refusal) => self.say(format!("{name}: {refusal}")),
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
                let no_token = self.no_token.take();
                let draws = schedule.grants.iter().filter(|grant| grant.draws);
                let drawn: Vec<_> = draws
                    .map(|grant| match &no_token {
                        Some((name, failure)) if name == self.name(grant.request) => Err(*failure),
                        _ => Ok(SEVEN),
                    })
                    .collect();
                self.scheduler.commit(&schedule, drawn)
            }
            Err(failure) => self.scheduler.fail(&schedule, &failure),
        };
        for event in &events {
            match event {
                Event::Finished { .. } => line += &format!("  {}", self.ended(event)),
                Event::PromptDone { request, cached, .. } => {
                    let name = self.name(*request).to_owned();
                    self.cached.push((name, *cached));
                }
                Event::Queued { .. } | Event::Token { .. } => {}
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
        let pool = |pool: &BlockPool| {
            let cached = match pool.cached() {
                0 => String::new(),
                cached => format!(" + {cached}"),
            };
            format!("  [{}{cached}/{}]", pool.used(), pool.total())
        };
        self.scheduler.pools.iter().map(pool).collect()
    }

    fn name(&self, id: RequestId) -> &str {
        &self.names[id.0 as usize]
    }

    fn id(&self, name: &str) -> RequestId {
        RequestId(self.names.iter().position(|other| other == name).unwrap() as u64)
    }

    fn ended(&self, event: &Event) -> String {
        match event {
            Event::Finished { request, finish, usage, .. } => {
                format!("{} ends after {} ({finish:?})", self.name(*request), usage.generated)
            }
            _ => panic!("{event:?} is no end"),
        }
    }
}

/// A pool of `blocks` for everything, and perhaps one for a window.
fn capacity(
    limits: Limits,
    block: usize,
    blocks: usize,
    window: Option<(usize, usize)>,
) -> Capacity {
    let everything = PoolSize { reach: Reach::Everything, blocks };
    let window = window.map(|(window, blocks)| PoolSize { reach: Reach::Window(window), blocks });
    let pools = [everything].into_iter().chain(window).collect();
    Capacity { block, step_tokens: limits.step_tokens, pools }
}

/// A token where it does not matter which.
const SEVEN: Drawn = Drawn { token: 7, logprobs: None };

/// A sequence whose prompt is the same as all others' up to `common`.
fn sequence(
    id: RequestId,
    prompt: usize,
    common: usize,
    new: usize,
    prefix_cache: PrefixCache,
) -> Sequence {
    let own = |at: usize| 10 + at + if at < common { 0 } else { 1000 * (1 + id.0 as usize) };
    Sequence {
        id,
        choice: 0,
        tokens: (0..prompt).map(|at| own(at) as u32).collect(),
        prompt,
        computed: 0,
        held: Vec::new(),
        names: Vec::new(),
        prefix_cache,
        cached: None,
        limit: prompt + new,
        border: None,
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
    a: the request needs 13 cached tokens (4 blocks of 4), but the cache has 3 blocks; set `max_tokens` lower, lower `max_sequence_length`, or raise `kv_tokens`
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
    a 0..3* | b 0..3*  a ends after 0 (Error("the model produced logits that are not finite; choose a dtype of wider range (`f32` or `bf16`), or check its weights"))  [1/8]
    b 3..4*  b ends after 2 (Length)  [0/8]
    "#);
}

#[test]
fn equal_beginnings_are_computed_once_in_the_same_step_and_after_the_end() {
    assert_snapshot!(check("budget 32 slots 4 blocks 16 block 4 cache
        submit a:10+2 b:10+2
        run
        submit c:13/9+2 d:8+1 e:9/3+1
        run"), @"
    a 0..10* | b 8..10*  [4/16]
    a 10..11* | b 10..11*  a ends after 2 (Length)  b ends after 2 (Length)  [0 + 2/16]
    c 8..13* | d 4..8* | e 0..9*  d ends after 1 (Length)  e ends after 1 (Length)  [4 + 2/16]
    c 13..14*  c ends after 2 (Length)  [0 + 5/16]
    ");
}

#[test]
fn a_preempted_sequence_finds_what_nobody_needed_of_its_blocks() {
    assert_snapshot!(check("budget 16 slots 4 blocks 6 block 4 cache
        submit a:4+9 b:8/0+9
        run"), @"
    a 0..4* | b 0..8*  [3/6]
    a 4..5* | b 8..9*  [5/6]
    a 5..6* | b 9..10*  [5/6]
    a 6..7* | b 10..11*  [5/6]
    a 7..8* | b 11..12*  [5/6]
    a 8..9*  preempts b  [3 + 3/6]
    a 9..10*  [3 + 3/6]
    a 10..11*  [3 + 3/6]
    a 11..12*  a ends after 9 (Length)  [0 + 6/6]
    b 12..13*  [4 + 2/6]
    b 13..14*  [4 + 2/6]
    b 14..15*  [4 + 2/6]
    b 15..16*  b ends after 9 (Length)  [0 + 6/6]
    ");
}

#[test]
fn the_cache_gives_way_to_sequences() {
    assert_snapshot!(check("budget 32 slots 4 blocks 4 block 4 cache
        submit a:9+1
        run
        submit b:13/0+2
        run
        submit c:9+1
        run"), @"
    a 0..9*  a ends after 1 (Length)  [0 + 2/4]
    b 0..13*  [4/4]
    b 13..14*  b ends after 2 (Length)  [0 + 3/4]
    c 0..9*  c ends after 1 (Length)  [0 + 3/4]
    ");
}

#[test]
fn what_a_failed_step_was_to_fill_is_not_found() {
    assert_snapshot!(check("budget 8 slots 2 blocks 8 block 4 cache
        submit a:14+2
        step
        fail
        submit b:14+2
        run
        nan c
        submit c:14+2
        run"), @r#"
    a 0..8  [4/8]
    a 8..14*  a ends after 0 (Error("tensor operation failed: out of luck"))  [0 + 2/8]
    b 8..14*  [4/8]
    b 14..15*  b ends after 2 (Length)  [0 + 3/8]
    c 12..14*  c ends after 0 (Error("the model produced logits that are not finite; choose a dtype of wider range (`f32` or `bf16`), or check its weights"))  [0/8]
    "#);
}

#[test]
fn a_bias_that_leaves_no_token_takes_no_block_from_others() {
    assert_snapshot!(check("budget 16 slots 2 blocks 8 block 4 cache
        submit a:14/12+1
        run
        none b
        submit b:14/12+2
        run
        submit c:14/12+1
        run"), @r#"
    a 0..14*  a ends after 1 (Length)  [0 + 3/8]
    b 12..14*  b ends after 0 (Error("penalties and bias leave no token to choose; weaken them"))  [0 + 3/8]
    c 12..14*  c ends after 1 (Length)  [0 + 3/8]
    "#);
}

#[test]
fn what_a_sequence_finds_of_its_own_when_it_comes_back_is_not_called_cached() {
    let mut world = World::new("budget 5 slots 2 blocks 7 block 4 cache");
    ["submit a:4+9 b:20/0+1", "run"].into_iter().for_each(|line| world.run(line));
    assert_snapshot!(world.trace, @"
    a 0..4* | b 0..1  [6/7]
    a 4..5* | b 1..5  [7/7]
    a 5..6* | b 5..9  [7/7]
    a 6..7* | b 9..13  [7/7]
    a 7..8* | b 13..17  [7/7]
    a 8..9*  preempts b  [3 + 4/7]
    a 9..10*  [3 + 4/7]
    a 10..11*  [3 + 4/7]
    a 11..12*  a ends after 9 (Length)  [0 + 7/7]
    b 16..20*  b ends after 1 (Length)  [0 + 7/7]
    ");
    assert_eq!(world.cached, [("a".into(), 0), ("b".into(), 0)]);
}

#[test]
fn a_window_gives_back_what_the_next_token_cannot_see() {
    assert_snapshot!(check("budget 8 slots 2 blocks 9 block 4 window 6 windowed 6
        submit a:20+12
        run"), @"
    a 0..8  [5/9]  [2/6]
    a 8..16  [5/9]  [2/6]
    a 16..20*  [5/9]  [2/6]
    a 20..21*  [6/9]  [2/6]
    a 21..22*  [6/9]  [2/6]
    a 22..23*  [6/9]  [2/6]
    a 23..24*  [6/9]  [2/6]
    a 24..25*  [7/9]  [2/6]
    a 25..26*  [7/9]  [2/6]
    a 26..27*  [7/9]  [2/6]
    a 27..28*  [7/9]  [2/6]
    a 28..29*  [8/9]  [2/6]
    a 29..30*  [8/9]  [2/6]
    a 30..31*  a ends after 12 (Length)  [0/9]  [0/6]
    ");
}

#[test]
fn a_pool_of_a_window_can_be_short_of_blocks_on_its_own() {
    assert_snapshot!(check("budget 8 slots 4 blocks 40 block 4 window 6 windowed 4
        submit a:5+12 b:5+12
        run"), @"
    a 0..5*  [2/40]  [2/4]
    a 5..6*  [2/40]  [2/4]
    a 6..7*  [2/40]  [2/4]
    a 7..8*  [2/40]  [2/4]
    a 8..9*  [3/40]  [2/4]
    a 9..10*  [3/40]  [2/4]
    a 10..11*  [3/40]  [2/4]
    a 11..12*  [3/40]  [2/4]
    a 12..13*  [4/40]  [2/4]
    a 13..14* | b 0..5*  [6/40]  [4/4]
    a 14..15* | b 5..6*  [6/40]  [4/4]
    a 15..16* | b 6..7*  a ends after 12 (Length)  [2/40]  [2/4]
    b 7..8*  [2/40]  [2/4]
    b 8..9*  [3/40]  [2/4]
    b 9..10*  [3/40]  [2/4]
    b 10..11*  [3/40]  [2/4]
    b 11..12*  [3/40]  [2/4]
    b 12..13*  [4/40]  [2/4]
    b 13..14*  [4/40]  [2/4]
    b 14..15*  [4/40]  [2/4]
    b 15..16*  b ends after 12 (Length)  [0/40]  [0/4]
    ");
}

#[test]
fn a_beginning_is_found_as_far_as_its_window_is_there() {
    // The first pool keeps all of a and the second its end; both keep all of b.
    assert_snapshot!(check("budget 8 slots 4 blocks 40 block 4 window 6 windowed 6 cache
        submit a:26+3
        run
        submit b:26+1
        run
        submit c:12+1
        run
        submit d:26+1
        run"), @"
    a 0..8  [7/40]  [2/6]
    a 8..16  [7/40]  [2 + 2/6]
    a 16..24  [7/40]  [2 + 4/6]
    a 24..26*  [7/40]  [2 + 4/6]
    a 26..27*  [7/40]  [2 + 4/6]
    a 27..28*  a ends after 3 (Length)  [0 + 7/40]  [0 + 6/6]
    b 24..26*  b ends after 1 (Length)  [0 + 7/40]  [0 + 5/6]
    c 0..8  [3 + 7/40]  [2 + 4/6]
    c 8..12*  c ends after 1 (Length)  [0 + 7/40]  [0 + 6/6]
    d 24..26*  d ends after 1 (Length)  [0 + 7/40]  [0 + 5/6]
    ");
}

#[test]
fn pressure_ends_everything_without_thrash() {
    // Thirty-two clients in a pool for a few of them.
    let limits = Limits { step_tokens: 64, sequences: 32 };
    let mut scheduler = Scheduler::new(limits, capacity(limits, 16, 24, None));
    let (mut prompts, mut prefilled) = (0, 0);
    for id in (0..32).map(RequestId) {
        let prompt = 20 + id.0 as usize * 7 % 60;
        prompts += prompt;
        scheduler.submit(sequence(id, prompt, prompt, 64, PrefixCache::Off));
    }
    let mut ended = Vec::new();
    let mut steps = 0;
    while ended.len() < 32 {
        let schedule = scheduler.schedule();
        let running = &scheduler.running;
        let prompts = schedule.grants.iter().filter(|g| !running[g.sequence].is_decode(&g.tokens));
        prefilled += prompts.map(|grant| grant.tokens.len()).sum::<usize>();
        let draws = schedule.grants.iter().filter(|grant| grant.draws).count();
        for event in scheduler.commit(&schedule, vec![Ok(SEVEN); draws]) {
            if let Event::Finished { request, .. } = event {
                ended.push(request);
            }
        }
        steps += 1;
        assert!(steps < 10_000);
    }
    assert!(ended.is_sorted(), "the oldest ends first: {ended:?}");
    let amplification = prefilled as f64 / prompts as f64;
    assert!(amplification < 2.0, "{amplification} tokens prefilled for each one asked for");
}

mod property;
