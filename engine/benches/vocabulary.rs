//! The cost of opening a tokenizer, by the size of its vocabulary.
//!
//! `cargo bench -p windtunnel-engine --bench vocabulary`. Every thirty-second token is an added
//! one, more than models have: added one by one, each would rebuild the automaton that finds them,
//! and the time would grow with the square of the size. Here it must grow with the size.

use candle_core::quantized::gguf_file::Value;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use windtunnel_engine::ModelSource;
use windtunnel_engine::text::Text;

#[path = "support/words.rs"]
mod words;

const SIZES: [usize; 4] = [32_000, 64_000, 128_000, 256_000];

/// A tokenizer with the given number of tokens.
type Make = fn(usize) -> Vec<(&'static str, Value)>;

/// A tokenizer with a score for each piece, like Llama's, with `count` tokens.
fn pieces(count: usize) -> Vec<(&'static str, Value)> {
    let all = words::Words::new(count);
    let tokens = all.tokens.iter().map(|word| words::text(word)).collect();
    let scores = (0..count).map(|rank| Value::F32(-(rank as f32))).collect();
    vec![
        ("tokenizer.ggml.model", words::text("llama")),
        ("tokenizer.ggml.tokens", Value::Array(tokens)),
        ("tokenizer.ggml.scores", Value::Array(scores)),
    ]
}

fn vocabulary(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("there is room for temporary files");
    for (kind, make) in [("pairs", words::pairs as Make), ("pieces", pieces)] {
        let mut group = c.benchmark_group(format!("vocabulary/{kind}"));
        group.sample_size(10);
        for size in SIZES {
            let path = folder.path().join(format!("{kind}-{size}.gguf"));
            words::write(&path, &make(size));
            let model = ModelSource::Gguf { path };
            group.throughput(Throughput::Elements(size as u64));
            group.bench_function(BenchmarkId::from_parameter(size), |b| {
                b.iter(|| Text::open(&model).expect("the file is whole"));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, vocabulary);
criterion_main!(benches);
