//! Every backend against the oracle, on batches that mix prompts, chunks and decodes.

use std::collections::BTreeSet;

use candle_core::{DType, Device, Tensor};

use super::Mask::{Bidirectional, BidirectionalWindow, Causal, SlidingWindow};
use super::*;
use crate::blocks::{Capacity, PoolSize, Reach};
use crate::config::KvLayout;
use crate::kv::{KvShape, KvStore, Run, Table, Tables};
use crate::placement::Placement;
use crate::weights::{Random, Source};

/// `(queries, keys)` of the sequences of a step.
type Lengths<'a> = &'a [(usize, usize)];

const MIXED: Lengths<'static> = &[(1, 1), (17, 17), (1, 300), (5, 40), (2, 33), (40, 600)];

fn heads(heads: usize, kv_heads: usize, dim: usize, softcap: Option<f32>) -> Heads {
    let scale = (dim as f32).powf(-0.5);
    Heads { heads, kv_heads, dim, scale, softcap, masks: vec![Causal], cached: 1 }
}

/// A step over a filled cache.
struct Step {
    kv: KvStore,
    heads: Heads,
    tables: Tables,
    q: Tensor,
}

impl Step {
    /// Blocks are dealt from the end of the pool, so that no table is in ascending order.
    fn new(heads: Heads, lengths: Lengths<'_>, block: usize, dtype: DType) -> Self {
        let mut next = lengths.iter().map(|(_, keys)| keys.div_ceil(block)).sum::<usize>() as u32;
        let size = PoolSize { reach: Reach::Everything, blocks: next as usize };
        let capacity = Capacity { block, step_tokens: 1, pools: vec![size] };
        let shape = KvShape { capacity, layers: vec![0] };
        let kv = KvStore::new(&heads, &shape, dtype, &Placement::cpu()).unwrap();
        let mut row = 0;
        let mut sequences = Vec::new();
        for (index, &(queries, keys)) in lengths.iter().enumerate() {
            let blocks: Vec<u32> = (0..keys.div_ceil(block))
                .map(|_| {
                    next -= 1;
                    next
                })
                .collect();
            let runs: Vec<Run> = (0..keys)
                .map(|token| {
                    let slot = blocks[token / block] as usize * block + token % block;
                    Run { token, slot, len: 1 }
                })
                .collect();
            let new = |name: &str| {
                let shape = [keys, heads.kv_heads, heads.dim];
                let name = format!("{name}{index}");
                let x = Random::new(5).tensor(&name, &shape, dtype, &Device::Cpu).unwrap();
                // About 1 each, so that the softmax is neither flat nor a single spike.
                (x * (heads.dim as f64).sqrt()).unwrap()
            };
            kv.write(0, &new("k"), &new("v"), &runs, None).unwrap();
            sequences.push(Table { row, queries, keys, gone: 0, blocks });
            row += queries;
        }
        let q = Random::new(6).tensor("q", &[row, heads.heads, heads.dim], dtype, &Device::Cpu);
        let q = (q.unwrap() * (heads.dim as f64).sqrt()).unwrap();
        Self { kv, heads, tables: Tables { block, sequences, runs: Vec::new() }, q }
    }

    fn attend(&self, backend: &dyn Attention, mask: Mask) -> Vec<f32> {
        let view = self.kv.view(0, &self.heads, &self.tables, None);
        let out = backend.attend(&self.q, &view, mask).unwrap();
        assert_eq!((out.dims(), out.dtype()), (self.q.dims(), self.q.dtype()));
        out.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }
}

fn check(heads: Heads, lengths: Lengths<'_>, block: usize, mask: Mask, dtype: DType) {
    let step = Step::new(heads, lengths, block, dtype);
    let truth = step.attend(&Naive, mask);
    // Both sum in f32 and round once.
    let allowed = match dtype {
        DType::F32 => 5e-6,
        DType::F16 => 3e-3,
        _ => 2e-2,
    };
    for backend in backends_for(&Device::Cpu) {
        let found = step.attend(backend, mask);
        for (at, (found, truth)) in found.iter().zip(&truth).enumerate() {
            assert!(
                (found - truth).abs() <= allowed * truth.abs().max(1.0),
                "{} {:?} {mask:?} block {block} {dtype:?}: {found} instead of {truth} at {at}",
                backend.name(),
                step.heads,
            );
        }
    }
}

#[test]
fn every_backend_agrees_with_naive_over_head_lengths_and_groups() {
    for dim in [8, 24, 32, 64, 72, 80, 96, 128, 256] {
        for (query_heads, kv_heads) in [(2, 2), (4, 1), (8, 1), (14, 2)] {
            let heads = heads(query_heads, kv_heads, dim, None);
            check(heads, MIXED, 16, Causal, DType::F32);
        }
    }
}

#[test]
fn every_backend_agrees_with_naive_over_masks_and_softcaps() {
    let windows = [1, 2, 31, 32, 33, 100, 1000];
    let windows = windows.iter().flat_map(|w| [SlidingWindow(*w), BidirectionalWindow(*w)]);
    for mask in [Causal, Bidirectional].into_iter().chain(windows) {
        for softcap in [None, Some(3.0)] {
            check(heads(4, 2, 16, softcap), MIXED, 16, mask, DType::F32);
        }
    }
}

#[test]
fn every_backend_agrees_with_naive_over_blocks_and_lengths() {
    for block in [1, 7, 16, 32, 1000] {
        for length in [1, 2, 15, 16, 17, 31, 32, 33, 511, 512, 513, 1025] {
            for queries in [1, 2, 17] {
                let lengths = [(queries.min(length), length)];
                check(heads(3, 1, 16, None), &lengths, block, Causal, DType::F32);
            }
        }
    }
}

#[test]
fn every_backend_agrees_with_naive_over_dtypes() {
    for dtype in [DType::F16, DType::BF16] {
        for mask in [Causal, SlidingWindow(20), Bidirectional, BidirectionalWindow(20)] {
            check(heads(4, 2, 64, None), MIXED, 16, mask, dtype);
        }
    }
}

#[test]
fn a_row_of_cpu_flash_does_not_depend_on_batch_or_blocks() {
    let mask = SlidingWindow(700);
    let whole = Step::new(heads(4, 2, 24, None), &[(1, 900), (40, 1100)], 16, DType::F32);
    let alone = Step::new(heads(4, 2, 24, None), &[(1, 900)], 1000, DType::F32);
    let alone = alone.attend(&CpuFlash, mask);
    assert_eq!(whole.attend(&CpuFlash, mask)[..alone.len()], alone);
}

#[test]
fn a_window_of_one_sees_only_itself() {
    let step = Step::new(heads(1, 1, 8, None), &[(3, 3)], 4, DType::F32);
    let (_, values) = step.kv.view(0, &step.heads, &step.tables, None).packed().unwrap();
    let values: Vec<f32> = values.flatten_all().unwrap().to_vec1().unwrap();
    for backend in backends_for(&Device::Cpu) {
        for mask in [SlidingWindow(1), BidirectionalWindow(1)] {
            assert_eq!(step.attend(backend, mask), values, "{} {mask:?}", backend.name());
        }
    }
}

#[test]
fn a_mask_is_the_rule_in_its_documentation() {
    for mask in [Causal, Bidirectional, SlidingWindow(3), BidirectionalWindow(3)] {
        for (i, j) in (0..8).flat_map(|i| (0..8).map(move |j| (i, j))) {
            let sees = match mask {
                Causal => j <= i,
                Bidirectional => true,
                SlidingWindow(window) => j <= i && i < j + window,
                BidirectionalWindow(window) => i.abs_diff(j) < window,
            };
            assert_eq!(mask.visible(i, 8).contains(&j), sees, "{mask:?}: {i} sees {j}");
        }
    }
}

#[test]
fn names_are_unique_and_auto_takes_the_first() {
    let heads = heads(1, 1, 8, None);
    let choose = |choice: &Choice| {
        let devices = [Device::Cpu];
        choose(choice, &heads, KvLayout::Contiguous, devices.iter(), DType::F32)
            .map(|chosen| (chosen.name(), chosen.declined))
    };
    let names: BTreeSet<_> = BACKENDS.iter().map(|backend| backend.name()).collect();
    assert_eq!(names.len(), BACKENDS.len());
    for backend in backends_for(&Device::Cpu) {
        let name = backend.name();
        assert_eq!(choose(&Choice::Named(name.into())).unwrap(), (name.into(), Vec::new()));
    }
    // Refusals by backends for other devices are not reported.
    assert_eq!(choose(&Choice::Auto).unwrap(), ("cpu-flash".into(), Vec::new()));
}

#[test]
fn a_backend_that_was_made_for_the_device_and_declines_is_told_with_its_reason() {
    let choose = |dtype| {
        let (heads, devices) = (heads(1, 1, 8, None), [Device::Cpu]);
        let kv = KvLayout::Contiguous;
        let chosen = choose(&Choice::Auto, &heads, kv, devices.iter(), dtype).unwrap();
        let declined = chosen.declined.iter().map(ToString::to_string).collect::<Vec<_>>();
        format!("{}: {}", chosen.name(), declined.join(", "))
    };
    insta::assert_snapshot!(choose(DType::F64), @"naive: cpu-flash cannot run f64; choose dtype `f32`, `f16` or `bf16`");
}

#[test]
fn each_device_has_a_backend_and_a_name_is_told_once() {
    let (heads, kv) = (heads(1, 1, 8, None), KvLayout::Contiguous);
    let devices = [Device::Cpu, Device::Cpu];
    let mut chosen = choose(&Choice::Auto, &heads, kv, devices.iter(), DType::F32).unwrap();
    assert_eq!((chosen.backends.len(), chosen.name()), (2, "cpu-flash".into()));
    chosen.backends.insert(0, &CudaFlash);
    assert_eq!(chosen.name(), "cuda-flash+cpu-flash");
}

#[test]
fn flash_kernels_for_gpus_are_refused_on_a_cpu_with_the_remedy() {
    let heads = heads(1, 1, 8, None);
    let refusal = CudaFlash.supports(&heads, KvLayout::Contiguous, &Device::Cpu, DType::F16);
    insta::assert_snapshot!(refusal.unwrap_err(), @"cuda-flash cannot run on Cpu; choose attention `auto`, or place the model on a GPU, as in `cuda:0`");
}

#[test]
fn a_mask_reaches_as_far_as_it_lets_a_token_see() {
    for mask in [Causal, Bidirectional, SlidingWindow(3), BidirectionalWindow(3)] {
        let [before, after] = mask.reach();
        let (position, keys) = (9, 20);
        let expected = before.map_or(0, |before| position - before)
            ..after.map_or(keys, |after| position + after + 1);
        assert_eq!(mask.visible(position, keys), expected, "{mask:?}");
    }
}

#[test]
fn a_dtype_that_a_kernel_lacks_is_refused_with_the_remedy() {
    let heads = heads(1, 1, 8, None);
    let refusal = CpuFlash.supports(&heads, KvLayout::Contiguous, &Device::Cpu, DType::F64);
    insta::assert_snapshot!(refusal.unwrap_err(), @"cpu-flash cannot run f64; choose dtype `f32`, `f16` or `bf16`");
}

/// With a GPU: `cargo test --workspace --features windtunnel-engine/flash-attn -- --ignored on_a_gpu`.
#[cfg(feature = "flash-attn")]
mod on_a_gpu {
    use super::*;
    use crate::kv::{DeviceTables, KvView};
    use crate::placement::Topology;

    impl Step {
        /// The output of `backend` with everything on `device`.
        fn attend_on(&self, device: &Device, backend: &dyn Attention, mask: Mask) -> Vec<f32> {
            let there = |x: &Tensor| x.to_device(device).unwrap();
            let view = self.kv.view(0, &self.heads, &self.tables, None);
            let (keys, values) = (there(view.keys), there(view.values));
            let tables = std::slice::from_ref(&self.tables);
            let uploaded = DeviceTables::upload(tables, device).unwrap();
            let (keys, values, on_device) = (&keys, &values, uploaded.first());
            let view = KvView { keys, values, on_device, ..view };
            let out = backend.attend(&there(&self.q), &view, mask).unwrap();
            assert_eq!((out.dims(), out.dtype()), (self.q.dims(), self.q.dtype()));
            out.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
        }
    }

    fn check(heads: Heads, lengths: Lengths<'_>, block: usize, mask: Mask, dtype: DType) {
        let device = Device::new_cuda(0).expect("a GPU");
        let step = Step::new(heads, lengths, block, dtype);
        let truth = step.attend(&Naive, mask);
        let allowed = if dtype == DType::F16 { 5e-3 } else { 3e-2 };
        for backend in [&CudaFlash as &dyn Attention, &Naive] {
            let found = step.attend_on(&device, backend, mask);
            for (at, (found, truth)) in found.iter().zip(&truth).enumerate() {
                assert!(
                    (found - truth).abs() <= allowed * truth.abs().max(1.0),
                    "{} {:?} {mask:?} block {block} {dtype:?}: {found} instead of {truth} at {at}",
                    backend.name(),
                    step.heads,
                );
            }
        }
    }

    /// Varies the groups of query heads, and block sizes that can and cannot be read in place.
    fn check_heads_of(dims: &[usize]) {
        for &dim in dims {
            for (query_heads, kv_heads) in [(2, 2), (4, 1), (8, 1), (14, 2)] {
                for block in [16, 32, 256] {
                    let heads = heads(query_heads, kv_heads, dim, None);
                    check(heads, MIXED, block, Causal, DType::BF16);
                }
            }
        }
    }

    #[test]
    #[ignore = "needs a GPU of compute capability 8.0 or later"]
    fn flash_agrees_with_naive_over_short_heads_groups_and_blocks() {
        check_heads_of(&[32, 64, 72, 80, 96, 128]);
    }

    #[test]
    #[ignore = "needs a GPU of compute capability 8.0 or later"]
    fn flash_agrees_with_naive_over_long_heads_groups_and_blocks() {
        check_heads_of(&[160, 192, 256]);
    }

    #[test]
    #[ignore = "needs a GPU of compute capability 8.0 or later"]
    fn flash_agrees_with_naive_over_masks_softcaps_and_dtypes() {
        let windows = [1, 2, 31, 32, 33, 100, 1000];
        let windows = windows.iter().flat_map(|w| [SlidingWindow(*w), BidirectionalWindow(*w)]);
        for mask in [Causal, Bidirectional].into_iter().chain(windows) {
            for softcap in [None, Some(3.0)] {
                for (block, dtype) in [(32, DType::BF16), (16, DType::F16)] {
                    check(heads(4, 2, 64, softcap), MIXED, block, mask, dtype);
                }
            }
        }
    }

    #[test]
    #[ignore = "needs a GPU of compute capability 8.0 or later"]
    fn flash_agrees_with_naive_where_prompts_and_chunks_end() {
        for queries in [1, 2, 1023, 1024, 1025] {
            for before in [0, 1, 700] {
                let lengths = [(queries, queries + before), (1, 33)];
                check(heads(4, 1, 128, None), &lengths, 32, Causal, DType::BF16);
            }
        }
    }

    /// Decodes of short and long sequences: a few are split into many parts each, many into few.
    const DECODES: Lengths<'static> = &[(1, 1), (1, 33), (1, 2), (1, 5000), (1, 127), (1, 129)];

    #[test]
    #[ignore = "needs a GPU of compute capability 8.0 or later"]
    fn decodes_agree_with_naive_over_heads_groups_and_blocks() {
        for dim in [8, 32, 64, 128, 256] {
            for (query_heads, kv_heads) in [(2, 2), (8, 1), (14, 2), (32, 2), (3, 1)] {
                for block in [32, 96, 256] {
                    let heads = heads(query_heads, kv_heads, dim, None);
                    check(heads, DECODES, block, Causal, DType::BF16);
                }
            }
        }
        check(heads(4, 2, 64, None), &[(1, 100); 300], 32, Causal, DType::BF16);
    }

    #[test]
    #[ignore = "needs a GPU of compute capability 8.0 or later"]
    fn decodes_agree_with_naive_over_masks_softcaps_and_dtypes() {
        let windows = [1, 2, 31, 32, 33, 128, 4000];
        let windows = windows.iter().flat_map(|w| [SlidingWindow(*w), BidirectionalWindow(*w)]);
        for mask in [Causal, Bidirectional].into_iter().chain(windows) {
            for softcap in [None, Some(3.0)] {
                for dtype in [DType::BF16, DType::F16] {
                    check(heads(4, 2, 64, softcap), DECODES, 32, mask, dtype);
                }
            }
        }
    }

    #[test]
    #[ignore = "needs a GPU"]
    fn a_cache_on_a_gpu_is_written_as_one_on_a_cpu() {
        let device = Device::new_cuda(0).expect("a GPU");
        for (dim, dtype) in [(64, DType::BF16), (24, DType::F16), (8, DType::F32), (3, DType::BF16)]
        {
            let heads = heads(2, 2, dim, None);
            let size = PoolSize { reach: Reach::Everything, blocks: 5 };
            let capacity = Capacity { block: 4, step_tokens: 1, pools: vec![size] };
            let shape = KvShape { capacity, layers: vec![0] };
            let runs = [(0, 9, 3), (3, 16, 1)];
            let runs = runs.map(|(token, slot, len)| Run { token, slot, len }).to_vec();
            let table =
                |row, queries| Table { row, queries, keys: queries, gone: 0, blocks: vec![0] };
            let sequences = vec![table(0, 3), table(3, 1)];
            let tables = [Tables { block: 4, sequences, runs }];
            let new =
                |name| Random::new(5).tensor(name, &[4, 2, dim], dtype, &Device::Cpu).unwrap();
            let written = |device: &Device| {
                let name = if device.is_cpu() { "cpu:0" } else { "cuda:0" };
                let opened =
                    Placement::candidates(&name.parse().unwrap(), &Topology::NONE).unwrap();
                let name = name.parse().unwrap();
                let placement = Placement::new(name, &[name], &opened).unwrap();
                let kv = KvStore::new(&heads, &shape, dtype, &placement).unwrap();
                let device = placement.first();
                let uploaded = DeviceTables::upload(&tables, device).unwrap();
                let on_device = uploaded.first().filter(|_| !device.is_cpu());
                let [k, v] = ["k", "v"].map(|name| new(name).to_device(device).unwrap());
                kv.write(0, &k, &v, &tables[0].runs, on_device).unwrap();
                let view = kv.view(0, &heads, &tables[0], None);
                [view.keys, view.values].map(|x| {
                    let x = x.to_dtype(DType::F32).unwrap().flatten_all().unwrap();
                    x.to_vec1::<f32>().unwrap()
                })
            };
            assert_eq!(written(&device), written(&Device::Cpu), "{dim} {dtype:?}");
        }
    }
}
