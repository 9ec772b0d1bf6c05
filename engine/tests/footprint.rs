//! The engine reports as held what the allocator gave out.
//!
//! Every byte of this process is counted, so no other test may run beside it: this file has only
//! one.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use windtunnel_engine::weights::presets;
use windtunnel_engine::{
    Choice, CudaGraphs, Dtype, Engine, EngineConfig, Footprint, Holding, ModelSource, PrefixCache,
    QuantPlan, Topology,
};

/// The system's allocator, counting.
struct Counting;

static LIVE: AtomicI64 = AtomicI64::new(0);

// SAFETY: this is the system's allocator, which gets all arguments unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size() as i64, Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size() as i64, Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as i64, Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LIVE.fetch_add(size as i64 - layout.size() as i64, Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn config(preset: &str, dtype: Dtype) -> EngineConfig {
    EngineConfig {
        model: ModelSource::Preset { name: preset.into(), seed: 3 },
        dtype,
        quant: QuantPlan::DENSE,
        devices: "cpu:0=1,cpu:1".parse().unwrap(),
        topology: Topology::NONE,
        kv: "paged-16".parse().unwrap(),
        attention: Choice::Auto,
        prefix_cache: PrefixCache::Off,
        cuda_graphs: CudaGraphs::On,
        kv_tokens: 4096,
        max_step_tokens: 64,
        max_sequences: 4,
        max_sequence_length: Some(256),
    }
}

/// Bytes of tables, names and handles, which even the smallest model needs.
const SMALL_CHANGE: f64 = 48.0 * 1024.0;

/// The sum of `part` over all devices.
fn total(engine: &Engine, part: fn(&Holding) -> Footprint) -> f64 {
    let Footprint { weights, kv } = engine.holdings().iter().map(part).sum();
    (weights + kv) as f64
}

#[test]
fn estimates_are_what_loading_really_allocates() {
    // So that threads and other one-time allocations do not count.
    drop(Engine::load(&config("tiny-llama", Dtype::F32)).unwrap());
    let names = presets().iter().map(|preset| preset.name);
    let small = names.filter(|name| name.starts_with("tiny") || name.starts_with("small"));
    let cases = small.flat_map(|name| Dtype::ALL.map(|dtype| (name, dtype)));
    // And one of real size.
    for (name, dtype) in cases.chain([("qwen2.5-0.5b", Dtype::Bf16)]) {
        let before = LIVE.load(Relaxed);
        let engine = Engine::load(&config(name, dtype)).unwrap();
        let allocated = (LIVE.load(Relaxed) - before) as f64;
        for counted in [total(&engine, |h| h.estimated), total(&engine, |h| h.held)] {
            let allowed = (0.02 * counted).max(SMALL_CHANGE);
            let error = (allocated - counted).abs();
            assert!(error < allowed, "{name} {dtype}: {allocated} bytes instead of {counted}");
        }
    }
}
