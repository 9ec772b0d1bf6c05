//! What it costs to open a tokenizer, by the size of its vocabulary.
//!
//! `cargo bench -p windtunnel-engine --bench vocabulary`. Every thirty-second token is an added one,
//! more than models have: handed over one by one, each would build the automaton that finds them
//! anew, and the time would grow with the square. Here it must grow with the size.

use std::collections::HashSet;
use std::fs::File;
use std::path::Path;

use candle_core::quantized::gguf_file::{self, Value};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use windtunnel_engine::ModelSource;
use windtunnel_engine::text::Text;

const SIZES: [usize; 4] = [32_000, 64_000, 128_000, 256_000];
const NORMAL: i32 = 1;
const ADDED: i32 = 4;

/// Words of one to many letters, each made of two that came before it.
struct Words {
    tokens: Vec<String>,
    merges: Vec<String>,
}

impl Words {
    fn new(count: usize) -> Self {
        let mut tokens: Vec<String> = ('a'..='z').map(String::from).collect();
        let mut known: HashSet<String> = tokens.iter().cloned().collect();
        let mut merges = Vec::new();
        // All words of two letters, then all of three, and so on.
        let mut left = 0;
        while tokens.len() < count {
            for letter in 'a'..='z' {
                let word = format!("{}{letter}", tokens[left]);
                if tokens.len() < count && known.insert(word.clone()) {
                    merges.push(format!("{} {letter}", tokens[left]));
                    tokens.push(word);
                }
            }
            left += 1;
        }
        Self { tokens, merges }
    }
}

fn text(words: &str) -> Value {
    Value::String(words.into())
}

fn pairs(count: usize, to: &Path) {
    let words = Words::new(count);
    let kind = |id: usize| if id > 26 && id.is_multiple_of(32) { ADDED } else { NORMAL };
    let array = |texts: &[String]| Value::Array(texts.iter().map(|word| text(word)).collect());
    let kinds = (0..count).map(|id| Value::I32(kind(id))).collect();
    write(
        to,
        &[
            ("tokenizer.ggml.model", text("gpt2")),
            ("tokenizer.ggml.pre", text("qwen2")),
            ("tokenizer.ggml.tokens", array(&words.tokens)),
            ("tokenizer.ggml.merges", array(&words.merges)),
            ("tokenizer.ggml.token_type", Value::Array(kinds)),
        ],
    );
}

fn pieces(count: usize, to: &Path) {
    let words = Words::new(count);
    let tokens = words.tokens.iter().map(|word| text(word)).collect();
    let scores = (0..count).map(|rank| Value::F32(-(rank as f32))).collect();
    write(
        to,
        &[
            ("tokenizer.ggml.model", text("llama")),
            ("tokenizer.ggml.tokens", Value::Array(tokens)),
            ("tokenizer.ggml.scores", Value::Array(scores)),
        ],
    );
}

/// A file that the engine opens as a model, with this tokenizer.
fn write(to: &Path, tokenizer: &[(&str, Value)]) {
    let model = [
        ("general.architecture", text("llama")),
        ("llama.block_count", Value::U32(1)),
        ("llama.context_length", Value::U32(64)),
        ("llama.embedding_length", Value::U32(64)),
        ("llama.feed_forward_length", Value::U32(64)),
        ("llama.attention.head_count", Value::U32(4)),
        ("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5)),
    ];
    let all: Vec<(&str, &Value)> =
        model.iter().chain(tokenizer).map(|(key, value)| (*key, value)).collect();
    let mut file = File::create(to).expect("the temporary folder can be written to");
    gguf_file::write(&mut file, &all, &[]).expect("the temporary folder can be written to");
}

fn vocabulary(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("there is room for temporary files");
    for (kind, make) in [("pairs", pairs as fn(usize, &Path)), ("pieces", pieces)] {
        let mut group = c.benchmark_group(format!("vocabulary/{kind}"));
        group.sample_size(10);
        for size in SIZES {
            let path = folder.path().join(format!("{kind}-{size}.gguf"));
            make(size, &path);
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
