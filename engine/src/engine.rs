//! [`Engine`]: sole owner of everything that changes.
//!
//! A step is three verbs that pass values: schedule, forward and sample, commit. The engine is a
//! plain value and does nothing between calls; threads and channels belong to whoever embeds it.

use std::time::{Duration, Instant};

use candle_core::{DType, Tensor};

use crate::attention::{Attention, Heads, choose};
use crate::batch::Batch;
use crate::blocks::BlockPool;
use crate::config::{EngineConfig, KvLayout};
use crate::cpu::Numbers;
use crate::error::{Error, Result};
use crate::kv::{KvShape, KvStore};
use crate::models::{self, Model, Sketch};
use crate::pass::{Observer, Pass};
use crate::placement::Placement;
use crate::request::{Eos, Event, Request, RequestId, Truncation};
use crate::sampler::{Drawn, NoToken, Sampler, Scratch};
use crate::scheduler::{Grant, Limits, Schedule, Scheduler};
use crate::sequence::Sequence;
use crate::telemetry::{Footprint, Stages, Stats, StepReport};
use crate::weights::{self, Checkpoint, Tally, Weights};

/// A loaded model with its cache and its requests.
pub struct Engine {
    model: Box<dyn Model>,
    heads: Heads,
    attention: &'static dyn Attention,
    placement: Placement,
    kv: KvStore,
    scheduler: Scheduler,
    scratch: Scratch,
    eos: Vec<u32>,
    max_sequence_length: usize,
    footprint: Footprint,
    stats: Stats,
}

/// What one step did.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Step {
    /// What happened to which request, in order; tokens come before the ends they cause.
    pub events: Vec<Event>,
    /// What it cost.
    pub report: StepReport,
}

/// Looks on during [`Engine::step_observed`].
pub trait StepObserver: Observer {
    /// Called before the pass: the rows of every tensor that follows, packed in this order.
    fn rows(&mut self, grants: &[Grant]);
}

impl Engine {
    /// Loads what `config` asks for. Whatever can be refused is refused before weights are read.
    ///
    /// # Errors
    ///
    /// When the model cannot be found, read or run with these settings, or a setting contradicts
    /// another one.
    pub fn load(config: &EngineConfig) -> Result<Self> {
        let Checkpoint { config: file, source, eos } = weights::open(&config.model)?;
        let entry = models::find(&file)?;
        let Sketch { heads, vocabulary, positions, .. } = models::sketch(&file)?;
        let dtype = config.dtype.candle();
        let placement = Placement::cpu();
        let attention = choose(&config.attention, &heads, config.kv, placement.first(), dtype)?;
        let max_sequence_length = positions.min(config.max_sequence_length.unwrap_or(positions));
        let shape = plan(config, max_sequence_length)?;

        let tally = Tally::default();
        let root = Weights::new(&*source, &placement, dtype, &tally);
        let model = (entry.load)(&file, &root)?;
        debug_assert_eq!((model.heads(), model.vocabulary()), (&heads, vocabulary));
        let kv = KvStore::new(&heads, shape, dtype, &placement)?;
        let footprint = Footprint { weights: tally.bytes(), kv: kv.bytes() };
        let limits =
            Limits { step_tokens: config.max_step_tokens, sequences: config.max_sequences };
        let scheduler = Scheduler::new(limits, BlockPool::new(shape.blocks as u32, shape.block));
        let stats = Stats::default();
        Ok(Self {
            model,
            heads,
            attention,
            placement,
            kv,
            scheduler,
            scratch: Scratch::default(),
            eos,
            max_sequence_length,
            footprint,
            stats,
        })
    }

    /// Accepts a request; its first token comes from a later [`step`](Self::step).
    ///
    /// # Errors
    ///
    /// When the request could never be answered: an empty, too long or foreign prompt, an
    /// impossible way of sampling, or more cache than exists. The engine is unchanged then.
    pub fn submit(&mut self, request: Request) -> Result<RequestId> {
        let Request { mut prompt, max_tokens, sampling, mut stop, eos, truncation } = request;
        if prompt.is_empty() {
            return Err(Error::EmptyPrompt);
        }
        if max_tokens == Some(0) {
            return Err(Error::NothingAsked);
        }
        let vocabulary = self.model.vocabulary();
        sampling.check(vocabulary)?;
        if let Some(&token) = prompt.iter().find(|&&token| token as usize >= vocabulary) {
            return Err(Error::UnknownToken { token, vocabulary });
        }
        let limit = self.max_sequence_length;
        match truncation {
            Truncation::Refuse if prompt.len() >= limit => {
                return Err(Error::TooLong { tokens: prompt.len(), limit: limit - 1 });
            }
            Truncation::Refuse => {}
            Truncation::KeepTail => {
                let reserve = max_tokens.unwrap_or(1).min(limit - 1);
                let kept = limit - reserve;
                prompt.drain(..prompt.len().saturating_sub(kept));
            }
        }
        if eos == Eos::Stop {
            stop.extend(&self.eos);
        }
        let limit = max_tokens.map_or(limit, |most| limit.min(prompt.len().saturating_add(most)));
        let id = RequestId(self.stats.submitted);
        let prompt_tokens = prompt.len();
        self.scheduler.submit(Sequence {
            id,
            tokens: prompt,
            prompt: prompt_tokens,
            computed: 0,
            blocks: Vec::new(),
            limit,
            stop,
            sampler: Sampler::new(sampling),
        })?;
        self.stats.submitted += 1;
        self.stats.prompt_tokens += prompt_tokens as u64;
        Ok(id)
    }

    /// Withdraws a request and frees its blocks at once. `None` when it has ended or never was.
    pub fn cancel(&mut self, request: RequestId) -> Option<Event> {
        let event = self.scheduler.cancel(request)?;
        self.stats.finished += 1;
        Some(event)
    }

    /// Computes one batch: every running sequence advances as far as the token budget allows.
    /// Without work it returns at once. When the model fails, the sequences of the batch end with
    /// [`Finish::Error`](crate::Finish::Error) and the engine lives on.
    pub fn step(&mut self) -> Step {
        self.run(None)
    }

    /// As [`step`](Self::step), with logits of all positions, and everything shown to `observer`.
    pub fn step_observed(&mut self, observer: &mut dyn StepObserver) -> Step {
        self.run(Some(observer))
    }

    fn run(&mut self, observer: Option<&mut dyn StepObserver>) -> Step {
        let mut watch = Stopwatch::new();
        let mut stages = Stages::default();
        let schedule = self.scheduler.schedule();
        stages.schedule = watch.lap();
        if schedule.grants.is_empty() {
            return self.close(Vec::new(), StepReport { stages, ..StepReport::default() });
        }
        let counts = self.counts(&schedule);
        // Preempted sequences have left `running`, but each grant's index is still right: only
        // the youngest leave, and they are last.
        // On a thread of the pool: entered from outside, each of the hundreds of parallel loops of
        // a pass would wake a worker and wait for it.
        let drawn =
            rayon::scope(|_| self.forward_and_sample(&schedule, observer, &mut stages, &mut watch));
        let events = match drawn {
            Ok(drawn) => self.scheduler.commit(&schedule, drawn),
            Err(failure) => self.scheduler.fail(&schedule, &failure),
        };
        stages.commit = watch.lap();
        self.close(events, StepReport { stages, ..counts })
    }

    fn forward_and_sample(
        &mut self,
        schedule: &Schedule,
        observer: Option<&mut dyn StepObserver>,
        stages: &mut Stages,
        watch: &mut Stopwatch,
    ) -> Result<Vec<Result<Drawn, NoToken>>> {
        let running = self.scheduler.running();
        let block = self.scheduler.pool().block();
        let batch = Batch::new(schedule, running, block, self.placement.first())?;
        stages.batch = watch.lap();

        let observed = observer.is_some();
        let observer = observer.map(|observer| {
            observer.rows(&schedule.grants);
            observer as &mut dyn Observer
        });
        let mut pass = Pass {
            batch: &batch,
            kv: &self.kv,
            attention: self.attention,
            heads: &self.heads,
            placement: &self.placement,
            observer,
        };
        let logits = self.model.forward(&mut pass)?;
        let logits = match observed {
            true => logits.index_select(&Tensor::new(&batch.drawn[..], logits.device())?, 0)?,
            false => logits,
        };
        stages.forward = watch.lap();

        let drawn = self.sample(schedule, &logits);
        stages.sample = watch.lap();
        drawn
    }

    /// One token for each grant that draws. `logits`: `[drawing grants, vocabulary]`.
    fn sample(
        &mut self,
        schedule: &Schedule,
        logits: &Tensor,
    ) -> Result<Vec<Result<Drawn, NoToken>>> {
        let logits = logits.to_device(&candle_core::Device::Cpu)?.to_dtype(DType::F32)?;
        let numbers = Numbers::of(&logits)?;
        let rows = numbers.slice::<f32>()?.chunks(self.model.vocabulary());
        let drawing = schedule.grants.iter().filter(|grant| grant.draws);
        Ok(drawing
            .zip(rows)
            .map(|(grant, logits)| {
                let sequence = self.scheduler.granted(grant);
                sequence.sampler.sample(logits, &sequence.tokens, &mut self.scratch)
            })
            .collect())
    }

    fn counts(&self, schedule: &Schedule) -> StepReport {
        let running = self.scheduler.running();
        let (mut prefilled, mut decoded) = (0, 0);
        for grant in &schedule.grants {
            match running[grant.sequence].is_decode(&grant.tokens) {
                true => decoded += 1,
                false => prefilled += grant.tokens.len(),
            }
        }
        let preemptions = schedule.preempted.len();
        StepReport { prefilled, decoded, preemptions, ..StepReport::default() }
    }

    /// Completes the report and adds it to the statistics.
    fn close(&mut self, events: Vec<Event>, report: StepReport) -> Step {
        let pool = self.scheduler.pool();
        let report = StepReport {
            running: self.scheduler.running().len(),
            waiting: self.scheduler.waiting(),
            blocks_used: pool.used(),
            blocks_free: pool.free(),
            ..report
        };
        let finished = events.iter().filter(|event| matches!(event, Event::Finished { .. }));
        self.stats.finished += finished.count() as u64;
        self.stats.steps += u64::from(report.prefilled + report.decoded > 0);
        self.stats.prefilled += report.prefilled as u64;
        self.stats.decoded += report.decoded as u64;
        self.stats.preemptions += report.preemptions as u64;
        self.stats.peak_blocks = self.stats.peak_blocks.max(pool.peak());
        Step { events, report }
    }

    /// What happened since the load, and how things stand.
    pub fn stats(&self) -> Stats {
        let pool = self.scheduler.pool();
        Stats {
            blocks_used: pool.used(),
            blocks_free: pool.free(),
            running: self.scheduler.running().len(),
            waiting: self.scheduler.waiting(),
            ..self.stats
        }
    }

    /// Whether no request waits or runs.
    pub fn is_idle(&self) -> bool {
        self.scheduler.running().is_empty() && self.scheduler.waiting() == 0
    }

    /// Most tokens that one sequence may have, prompt and generated together.
    pub const fn max_sequence_length(&self) -> usize {
        self.max_sequence_length
    }

    /// Number of token ids.
    pub fn vocabulary(&self) -> usize {
        self.model.vocabulary()
    }

    /// Ids that end a sequence, as the model's files name them.
    pub fn eos(&self) -> &[u32] {
        &self.eos
    }

    /// Name of the attention backend that was chosen.
    pub fn attention(&self) -> &'static str {
        self.attention.name()
    }

    /// Logical names of the devices in use.
    pub fn devices(&self) -> impl Iterator<Item = &str> {
        self.placement.names()
    }

    /// Bytes of weights and cache.
    pub const fn footprint(&self) -> Footprint {
        self.footprint
    }

    /// Compares the block pool with what the sequences hold.
    ///
    /// # Errors
    ///
    /// A sentence on the first contradiction, which would be a bug of the scheduler.
    pub fn check_integrity(&self) -> Result<(), String> {
        self.scheduler.check_integrity()
    }
}

/// Cuts the cache into blocks, and refuses settings that contradict each other.
fn plan(config: &EngineConfig, longest: usize) -> Result<KvShape> {
    let refuse = |setting, value: usize, problem: String| {
        Err(Error::Setting { setting, value: value.to_string(), problem })
    };
    if longest < 2 {
        let problem = "but a prompt token and a new one make 2".into();
        return refuse("max_sequence_length", longest, problem);
    }
    if config.max_sequences == 0 {
        return refuse("max_sequences", 0, "but nothing runs without at least 1".into());
    }
    if config.max_step_tokens < config.max_sequences {
        let problem = format!(
            "less than `max_sequences` ({}): some sequences would stand still while others decode; raise it or lower `max_sequences`",
            config.max_sequences
        );
        return refuse("max_step_tokens", config.max_step_tokens, problem);
    }
    let (block, smaller) = match config.kv {
        KvLayout::Contiguous => (longest, "lower `max_sequence_length`"),
        KvLayout::Paged { block } => (block.get(), "choose a smaller block"),
    };
    let blocks = config.kv_tokens / block;
    if blocks == 0 {
        let problem = format!(
            "less than the {block} tokens of a single block of the {} cache; raise it or {smaller}",
            config.kv
        );
        return refuse("kv_tokens", config.kv_tokens, problem);
    }
    // Slots are addressed by u32 in gathers and on accelerators.
    if u32::try_from(config.kv_tokens).is_err() {
        return refuse(
            "kv_tokens",
            config.kv_tokens,
            format!("more than {} slots can be addressed; lower it", u32::MAX),
        );
    }
    Ok(KvShape { blocks, block })
}

/// Laps between the stages of a step.
struct Stopwatch(Instant);

impl Stopwatch {
    fn new() -> Self {
        Self(Instant::now())
    }

    fn lap(&mut self) -> Duration {
        let now = Instant::now();
        now.duration_since(std::mem::replace(&mut self.0, now))
    }
}
