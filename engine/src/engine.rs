//! [`Engine`]: sole owner of everything mutable.
//!
//! A step is three operations that pass values: schedule, forward and sample, commit. The engine is
//! a plain value and does nothing between calls; threads and channels belong to the application
//! that embeds it.

use std::cell::Cell;

use candle_core::{DType, Tensor};
use tracing::debug_span;
use tracing::field::Empty;

use crate::attention::{Chosen, Heads, choose};
use crate::batch::{Batch, OnDevice};
use crate::config::{CudaGraphs, EngineConfig, KvLayout, PrefixCache};
use crate::cpu::Numbers;
use crate::cuda::{self, driver};
use crate::error::{Error, Result};
use crate::kv::{KvShape, KvStore};
use crate::models::{self, MODELS, Model, Purpose};
use crate::pass::{Kv, Observer, Pass};
use crate::placement::{Estimate, Exhausted, Placement, Wanted};
use crate::request::{Event, Request, RequestId};
use crate::sampler::{Drawn, NoToken, Scratch};
use crate::scheduler::{Grant, Limits, Schedule, Scheduler};
use crate::telemetry::{
    Footprint, Holding, LoadStages, Loaded, PoolStats, Stage, Stages, Stats, StepReport, Stopwatch,
    note_wait, to_host, waits_during,
};
use crate::terms::{Accepted, Terms};
use crate::weights::{self, Checkpoint, Formats, Outline, Tally};

mod recordings;

use recordings::{Passed, Recordings, attention_of, passed};

/// A loaded model with its cache and its requests.
pub struct Engine {
    model: Box<dyn Model>,
    heads: Heads,
    attention: Chosen,
    attention_name: String,
    placement: Placement,
    kv: KvStore,
    scheduler: Scheduler,
    scratch: Scratch,
    terms: Terms,
    holdings: Vec<Holding>,
    loaded: Loaded,
    cuda_graphs: CudaGraphs,
    recordings: Recordings,
    /// The most recent out-of-memory failure.
    exhausted: Option<Exhausted>,
    /// Requests accepted so far.
    requests: u64,
    stats: Stats,
}

/// What one step did.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Step {
    /// Requests that left the queue to be computed in this step. A preempted request returns to the
    /// queue, so it can be started more than once.
    pub started: Vec<RequestId>,
    /// What happened to each request, in order; tokens precede the finish that they cause.
    pub events: Vec<Event>,
    /// What it cost.
    pub report: StepReport,
}

/// Observes the passes of [`Engine::step_observed`].
pub trait StepObserver: Observer {
    /// Called before the pass. The rows of every tensor observed afterwards are packed in this
    /// order.
    fn rows(&mut self, grants: &[Grant]);
}

impl Engine {
    /// Loads what `config` asks for. Everything that can be refused is refused before any weights
    /// are read.
    ///
    /// # Errors
    ///
    /// When the model cannot be found, read or run with these settings, or when settings contradict
    /// each other.
    pub fn load(config: &EngineConfig) -> Result<Self> {
        let mut watch = Stopwatch::start();
        Purpose::Continuing.require(&config.model)?;
        let Checkpoint { config: file, source, eos } = weights::open(&config.model)?;
        let open = watch.lap();
        let entry = models::find(MODELS, &file)?;
        // `auto` resolves to a dtype that all devices in the map run well.
        let candidates = Placement::candidates(&config.devices, &config.topology)?;
        let dtype = config.dtype.on(candidates.devices());
        let formats = Formats { dtype, quant: &config.quant, topology: &config.topology };
        let (outline, outlined) =
            models::outline(entry, &file, Outline { of: Some(&*source) }, formats)?;
        let (heads, vocabulary) = (outline.heads().clone(), outline.vocabulary());
        config.quant.check(heads.masks.len())?;
        let positions = outline.positions();
        let longest = positions.min(config.max_sequence_length.unwrap_or(positions));
        // A border that no sequence can cross has no effect.
        let border = outline.border().filter(|border| *border < longest);
        let prefix_cache = match (config.kv, border) {
            (KvLayout::Paged { .. }, None) => config.prefix_cache,
            (KvLayout::Contiguous, _) | (_, Some(_)) => PrefixCache::Off,
        };
        let shape = KvShape::plan(config, longest, &heads, prefix_cache)?;
        let estimate = Estimate::of(&outlined, &heads, outline.widths(), &shape, dtype, config);
        let names = outlined.names();
        let placement =
            Placement::plan(&config.devices, &config.topology, &estimate, &names, &candidates)?;
        let devices = placement.devices();
        devices.clone().try_for_each(|device| cuda::require(device, dtype))?;
        let attention = choose(&config.attention, &heads, config.kv, devices, dtype)?;

        let tally = Tally::default();
        let exhausted = |wanted| {
            let holdings = placement.holdings(&estimate, &tally, None);
            Exhausted { wanted, devices: placement.occupied(&holdings) }
        };
        if !KvStore::has_room(&heads, &shape, dtype, &placement) {
            return Err(exhausted(Wanted::Cache).into());
        }
        let model = (entry.load)(&file, &formats.of(&*source, &placement, &tally))
            .map_err(|error| error.of_device(|| exhausted(Wanted::Weights)))?;
        debug_assert_eq!((model.heads(), model.vocabulary()), (&heads, vocabulary));
        let kv = KvStore::new(&heads, &shape, dtype, &placement)
            .map_err(|error| Error::from(error).of_device(|| exhausted(Wanted::Cache)))?;
        let holdings = placement.holdings(&estimate, &tally, Some(&kv));
        let stages = LoadStages { open, ..source.stages() };
        let declined = attention.declined.clone();
        let loaded = Loaded { dtype, formats: tally.formats(), declined, stages };
        let is_recordable = loaded.formats.iter().all(|stored| stored.format.is_recordable());
        let cuda_graphs = match is_recordable {
            true => config.cuda_graphs,
            false => CudaGraphs::Off,
        };
        let limits =
            Limits { step_tokens: config.max_step_tokens, sequences: config.max_sequences };
        let capacity = shape.capacity;
        let terms =
            Terms { vocabulary, longest, border, capacity: capacity.clone(), eos, prefix_cache };
        Ok(Self {
            model,
            heads,
            attention_name: attention.name(),
            attention,
            placement,
            kv,
            scheduler: Scheduler::new(limits, capacity),
            scratch: Scratch::default(),
            terms,
            holdings,
            loaded,
            cuda_graphs,
            recordings: Recordings::default(),
            exhausted: None,
            requests: 0,
            stats: Stats::default(),
        })
    }

    /// Accepts a request; its first token comes from a later [`step`](Self::step). Requests are
    /// served in order of arrival.
    ///
    /// # Errors
    ///
    /// When the request could never be served: the prompt is empty, too long or has ids outside the
    /// vocabulary, the sampling parameters are invalid, it asks for no tokens or no choices, or it
    /// needs more cache than exists. The engine is then unchanged.
    pub fn submit(&mut self, request: Request) -> Result<RequestId> {
        let accepted = self.terms.accept(request)?;
        Ok(self.enqueue(accepted))
    }

    /// What a request must meet, for callers that check before they submit.
    pub(crate) const fn terms(&self) -> &Terms {
        &self.terms
    }

    /// Enqueues a request that was accepted on this engine's [`terms`](Self::terms).
    pub(crate) fn enqueue(&mut self, accepted: Accepted) -> RequestId {
        let id = RequestId(self.requests);
        self.requests += 1;
        self.stats.submitted += accepted.choices() as u64;
        self.stats.prompt_tokens += (accepted.choices() * accepted.prompt()) as u64;
        let sequences = accepted.sequences(id, self.terms.border);
        sequences.for_each(|sequence| self.scheduler.submit(sequence));
        id
    }

    /// Cancels a request and frees its blocks at once. Returns one event per choice that had not
    /// ended; none if the request has ended or never existed.
    pub fn cancel(&mut self, request: RequestId) -> Vec<Event> {
        let events = self.scheduler.cancel(request);
        self.stats.finished += events.len() as u64;
        events
    }

    /// Cancels one choice of a request and frees its blocks at once; the others continue. Returns
    /// no event if the choice has ended or never existed.
    pub fn cancel_choice(&mut self, request: RequestId, choice: usize) -> Option<Event> {
        let event = self.scheduler.cancel_choice(request, choice);
        self.stats.finished += u64::from(event.is_some());
        event
    }

    /// Computes one batch: every running sequence advances as far as the token budget allows.
    /// Without work it returns at once. If the model fails, the sequences of the batch end with
    /// [`Finish::Error`](crate::Finish::Error) and the engine stays usable.
    pub fn step(&mut self) -> Step {
        self.run(None)
    }

    /// As [`step`](Self::step), but computes logits for all positions and shows everything to
    /// `observer`.
    pub fn step_observed(&mut self, observer: &mut dyn StepObserver) -> Step {
        self.run(Some(observer))
    }

    fn run(&mut self, observer: Option<&mut dyn StepObserver>) -> Step {
        let span = debug_span!("step", prefilled = Empty);
        let _entered = span.enter();
        let mut watch = Stopwatch::start();
        let mut stages = Stages::default();
        let schedule = Stage::Schedule.of(|| self.scheduler.schedule());
        stages.schedule = watch.lap();
        if schedule.grants.is_empty() {
            let report = StepReport { stages, ..StepReport::default() };
            return self.close(Vec::new(), Vec::new(), report);
        }
        let mut report = StepReport { stages, ..self.counts(&schedule) };
        span.record("prefilled", report.prefilled);
        // Runs on a pool thread: entered from outside, each of the hundreds of parallel loops in a
        // pass would wake a worker and wait for it.
        let (drawn, waits) = rayon::scope(|_| {
            let compute = || self.forward_and_sample(&schedule, observer, &mut report, &mut watch);
            span.in_scope(|| waits_during(compute))
        });
        report.waits = waits;
        let drawn = drawn.map_err(|error| self.noted(error));
        // Preempted sequences have left `running`, but each grant's index is still valid: only the
        // youngest are preempted, and they are last.
        let events = Stage::Commit.of(|| match drawn {
            Ok(drawn) => self.scheduler.commit(&schedule, drawn),
            Err(failure) => self.scheduler.fail(&schedule, &failure),
        });
        report.stages.commit = watch.lap();
        self.close(schedule.admitted, events, report)
    }

    /// Interprets the failure of a step. An out-of-memory failure is kept, since the finish of a
    /// request carries only its text.
    fn noted(&mut self, error: Error) -> Error {
        let (placement, holdings) = (&self.placement, &self.holdings);
        let error = error.of_device(|| Exhausted {
            wanted: Wanted::Step,
            devices: placement.occupied(holdings),
        });
        if let Error::Exhausted(exhausted) = &error {
            self.exhausted = Some(exhausted.clone());
        }
        error
    }

    fn forward_and_sample(
        &mut self,
        schedule: &Schedule,
        observer: Option<&mut dyn StepObserver>,
        report: &mut StepReport,
        watch: &mut Stopwatch,
    ) -> Result<Vec<Result<Drawn, NoToken>>> {
        let running = self.scheduler.running();
        let pools = self.scheduler.pools();
        let batch = Stage::Batch.of(|| Batch::new(schedule, running, pools, &self.placement))?;
        report.stages.batch = watch.lap();

        let observed = observer.is_some();
        let mut observer = observer.map(|observer| {
            observer.rows(&schedule.grants);
            observer as &mut dyn Observer
        });
        let recordable = (!observed).then(|| self.recordable(&batch)).flatten();
        let transfers = Cell::default();
        let forward = |batch: &Batch| {
            let mut pass = Pass {
                batch,
                kv: Kv::Cached(&self.kv),
                attention: &self.attention.backends,
                heads: &self.heads,
                placement: &self.placement,
                transfers: Cell::default(),
                observer: match &mut observer {
                    Some(observer) => Some(&mut **observer),
                    None => None,
                },
            };
            let logits = self.model.forward(&mut pass);
            transfers.set(pass.transfers.get());
            logits
        };
        let tokens = batch.positions.len();
        let span = debug_span!("forward", tokens, attention = self.attention_name);
        let passed = span.in_scope(|| match recordable {
            Some(there) => {
                let attention =
                    attention_of(&batch, &self.heads, self.loaded.dtype.size_in_bytes());
                self.recordings.forward(&batch, there, attention, forward)
            }
            None => passed(&batch, forward),
        });
        report.transfers = transfers.get();
        let Passed { logits, demand, replayed } = passed?;
        (report.demand, report.replayed) = (demand, replayed);
        // A GPU cannot launch a kernel over nothing, and if no token is sampled, nobody reads the
        // rows.
        let logits = match observed && !batch.drawn.is_empty() {
            true => logits.index_select(&Tensor::new(&batch.drawn[..], logits.device())?, 0)?,
            false => logits,
        };
        report.stages.forward = watch.lap();

        let drawn = Stage::Sample.of(|| self.sample(schedule, &logits));
        report.stages.sample = watch.lap();
        drawn
    }

    /// The device side of `batch`, if the launches for it can be replayed for later steps.
    fn recordable<'a>(&self, batch: &'a Batch) -> Option<&'a OnDevice> {
        let there = batch.on_only_device(&self.placement)?;
        let block = self.scheduler.pools().block();
        let recordable = self.cuda_graphs == CudaGraphs::On
            && !self.recordings.are_refused()
            && batch.only_decodes()
            && self.attention.backends.iter().all(|backend| backend.is_recordable(block))
            // Tracing the time of stages needs the individual launches.
            && !Stage::are_watched();
        recordable.then_some(there)
    }

    /// Samples one token for each grant that draws. `logits`: `[drawing grants, vocabulary]`. They
    /// are copied from a GPU to the host in one transfer; if every sequence takes the likeliest
    /// token, only those tokens are copied.
    fn sample(
        &mut self,
        schedule: &Schedule,
        logits: &Tensor,
    ) -> Result<Vec<Result<Drawn, NoToken>>> {
        let drawing = schedule.grants.iter().filter(|grant| grant.draws);
        // Only prompt chunks: the device keeps working while the next step is prepared.
        if drawing.clone().next().is_none() {
            return Ok(Vec::new());
        }
        let is_likeliest =
            |grant: &Grant| self.scheduler.running()[grant.sequence].sampler.takes_the_likeliest();
        if logits.device().is_cuda() && drawing.clone().all(is_likeliest) {
            note_wait(logits.device());
            let tokens = driver::likeliest(logits)?.into_iter();
            let drawn = tokens.map(|token| Ok(Drawn { token: token?, logprobs: None }));
            return Ok(drawn.collect());
        }
        let logits = to_host(logits)?.to_dtype(DType::F32)?;
        let numbers = Numbers::of(&logits)?;
        let rows = numbers.slice::<f32>()?.chunks(self.model.vocabulary());
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
        StepReport {
            prefilled,
            decoded,
            reused: schedule.reused,
            preemptions: schedule.preempted.len(),
            attention: self.attention.backends.first().map_or("", |backend| backend.name()),
            ..StepReport::default()
        }
    }

    /// Completes the report and adds it to the statistics.
    fn close(&mut self, started: Vec<RequestId>, events: Vec<Event>, report: StepReport) -> Step {
        let pools = self.scheduler.pools();
        let report = StepReport {
            running: self.scheduler.running().len(),
            waiting: self.scheduler.waiting(),
            blocks_used: pools.used(),
            blocks_free: pools.free(),
            blocks_cached: pools.cached(),
            ..report
        };
        let finished = events.iter().filter(|event| matches!(event, Event::Finished { .. }));
        self.stats.finished += finished.count() as u64;
        self.stats.add(&report);
        Step { started, events, report }
    }

    /// Totals since loading, and the current state.
    pub fn stats(&self) -> Stats {
        let pools = self.scheduler.pools();
        Stats {
            blocks_used: pools.used(),
            prefix: self.scheduler.prefix(),
            peak_blocks: pools.peak(),
            blocks_free: pools.free(),
            blocks_cached: pools.cached(),
            running: self.scheduler.running().len(),
            waiting: self.scheduler.waiting(),
            ..self.stats
        }
    }

    /// State of each block pool: one for each window size among the model's layers, and one for the
    /// layers without a window.
    pub fn pools(&self) -> impl ExactSizeIterator<Item = PoolStats> {
        let pools = self.scheduler.pools();
        pools.iter().enumerate().map(|(index, pool)| PoolStats {
            reach: pool.reach(),
            layers: self.kv.layers_in(index),
            used: pool.used(),
            peak: pool.peak(),
            free: pool.free(),
            cached: pool.cached(),
        })
    }

    /// Whether no request is waiting or running.
    pub fn is_idle(&self) -> bool {
        self.scheduler.running().is_empty() && self.scheduler.waiting() == 0
    }

    /// Most tokens in one sequence, prompt and generated together.
    pub const fn max_sequence_length(&self) -> usize {
        self.terms.longest
    }

    /// Number of token ids.
    pub const fn vocabulary(&self) -> usize {
        self.terms.vocabulary
    }

    /// Ids that end a sequence, according to the model's files.
    pub fn eos(&self) -> &[u32] {
        &self.terms.eos
    }

    /// Name of the chosen attention backend; if devices use different ones, all of their names.
    pub fn attention(&self) -> &str {
        &self.attention_name
    }

    /// Whether requests can share blocks: as configured, but never with a contiguous cache or where
    /// the keys of a sequence depend on its length.
    pub const fn prefix_cache(&self) -> PrefixCache {
        self.terms.prefix_cache
    }

    /// Whether the launches of decodes are recorded where possible: as configured, but never with
    /// quantised weights.
    pub const fn cuda_graphs(&self) -> CudaGraphs {
        self.cuda_graphs
    }

    /// The devices in use, the first one first: what each was expected to hold, and what it holds.
    pub fn holdings(&self) -> &[Holding] {
        &self.holdings
    }

    /// Bytes of weights and cache on all devices.
    pub fn footprint(&self) -> Footprint {
        self.holdings.iter().map(|holding| holding.held).sum()
    }

    /// The resolved dtype and weight formats, and how long each stage of loading took.
    pub const fn loaded(&self) -> &Loaded {
        &self.loaded
    }

    /// The state of memory behind `why`, the reason with which the last step that failed ended its
    /// requests; none unless it failed because memory ran out.
    pub fn exhausted(&self, why: &str) -> Option<&Exhausted> {
        self.exhausted.as_ref().filter(|exhausted| exhausted.to_string() == why)
    }

    /// Checks the block pools against what the sequences hold: each sequence must hold exactly the
    /// blocks that its next token sees, and no block that is still to be written may be visible to
    /// two sequences.
    ///
    /// # Errors
    ///
    /// Describes the first contradiction, which would be a bug in the scheduler.
    pub fn check_integrity(&self) -> Result<(), String> {
        self.scheduler.check_integrity()
    }
}

#[cfg(test)]
pub(crate) mod tests;
