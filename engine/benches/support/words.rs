//! Tokenizers of any size in files that the engine opens as a model: words of one to many letters,
//! each made of two earlier ones.

use std::collections::HashSet;
use std::fs::File;
use std::path::Path;

use candle_core::quantized::gguf_file::{self, Value};

const NORMAL: i32 = 1;
const ADDED: i32 = 4;

/// Tokens of a vocabulary, and the merges that form longer ones.
pub(crate) struct Words {
    /// The tokens, in the order of their ids.
    pub(crate) tokens: Vec<String>,
    merges: Vec<String>,
}

impl Words {
    /// `count` of them.
    pub(crate) fn new(count: usize) -> Self {
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

/// Text as a value of a file.
pub(crate) fn text(words: &str) -> Value {
    Value::String(words.into())
}

/// A BPE tokenizer, like Qwen's, with `count` tokens. Every thirty-second token is an added one,
/// more than models have.
pub(crate) fn pairs(count: usize) -> Vec<(&'static str, Value)> {
    let words = Words::new(count);
    let kind = |id: usize| if id > 26 && id.is_multiple_of(32) { ADDED } else { NORMAL };
    let array = |texts: &[String]| Value::Array(texts.iter().map(|word| text(word)).collect());
    let kinds = (0..count).map(|id| Value::I32(kind(id))).collect();
    vec![
        ("tokenizer.ggml.model", text("gpt2")),
        ("tokenizer.ggml.pre", text("qwen2")),
        ("tokenizer.ggml.tokens", array(&words.tokens)),
        ("tokenizer.ggml.merges", array(&words.merges)),
        ("tokenizer.ggml.token_type", Value::Array(kinds)),
    ]
}

/// A file that the engine opens as a model, with this tokenizer.
pub(crate) fn write(to: &Path, tokenizer: &[(&str, Value)]) {
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
