//! Models that the museum generates because no scenario can name them: they are large or odd.
//!
//! All weights are zero, so that the files take almost no room on disk, and every model still
//! computes with them.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::json;

use super::collection::Made;
use crate::workspace::Workspace;

/// Hidden size of the models.
const HIDDEN: usize = 64;
/// Intermediate size of their feed-forward blocks.
const WIDE: usize = 128;
/// Vocabulary of the model with large weights: 128 MiB of f32 embeddings.
const LARGE: usize = (128 << 20) / (4 * HIDDEN);
/// Special tokens of the other model.
const SPECIAL: usize = 20_000;

/// Generates `model` and returns its path.
pub(super) fn model(workspace: &Workspace, model: Made) -> Result<PathBuf> {
    let folder = workspace.scratch().join("museum");
    let path = match model {
        Made::MappedWeights => folder.join("mapped-weights"),
        Made::SpecialTokens => folder.join("special-tokens.gguf"),
    };
    let made = match model {
        Made::MappedWeights => std::fs::create_dir_all(&path).and_then(|()| mapped_weights(&path)),
        Made::SpecialTokens => std::fs::create_dir_all(&folder)
            .and_then(|()| File::create(&path))
            .and_then(|file| special_tokens(file, SPECIAL)),
    };
    made.with_context(|| format!("cannot make the model `{}`", path.display()))?;
    Ok(path)
}

/// The tensors of a one-layer Llama, by their names in a GGUF file and on the hub.
fn tensors(vocabulary: usize) -> [(&'static str, &'static str, Vec<usize>); 11] {
    let square = || vec![HIDDEN, HIDDEN];
    [
        ("token_embd", "model.embed_tokens", vec![vocabulary, HIDDEN]),
        ("output_norm", "model.norm", vec![HIDDEN]),
        ("blk.0.attn_norm", "model.layers.0.input_layernorm", vec![HIDDEN]),
        ("blk.0.attn_q", "model.layers.0.self_attn.q_proj", square()),
        ("blk.0.attn_k", "model.layers.0.self_attn.k_proj", square()),
        ("blk.0.attn_v", "model.layers.0.self_attn.v_proj", square()),
        ("blk.0.attn_output", "model.layers.0.self_attn.o_proj", square()),
        ("blk.0.ffn_norm", "model.layers.0.post_attention_layernorm", vec![HIDDEN]),
        ("blk.0.ffn_gate", "model.layers.0.mlp.gate_proj", vec![WIDE, HIDDEN]),
        ("blk.0.ffn_up", "model.layers.0.mlp.up_proj", vec![WIDE, HIDDEN]),
        ("blk.0.ffn_down", "model.layers.0.mlp.down_proj", vec![HIDDEN, WIDE]),
    ]
}

/// The size of an f32 tensor in bytes.
fn bytes(shape: &[usize]) -> u64 {
    4 * shape.iter().product::<usize>() as u64
}

/// Writes `config.json` and `model.safetensors`.
fn mapped_weights(folder: &Path) -> std::io::Result<()> {
    let config = json!({
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": LARGE,
        "hidden_size": HIDDEN,
        "intermediate_size": WIDE,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "hidden_act": "silu",
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": true,
    });
    std::fs::write(folder.join("config.json"), config.to_string())?;
    let mut end = 0;
    let mut header = serde_json::Map::new();
    for (_, name, shape) in tensors(LARGE) {
        let begin = end;
        end += bytes(&shape);
        let entry = json!({"dtype": "F32", "shape": shape, "data_offsets": [begin, end]});
        header.insert(format!("{name}.weight"), entry);
    }
    let header = serde_json::Value::Object(header).to_string();
    let mut file = File::create(folder.join("model.safetensors"))?;
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(header.as_bytes())?;
    file.set_len(8 + header.len() as u64 + end)
}

/// The types of GGUF metadata values that are needed here.
#[derive(Clone, Copy)]
enum Value<'a> {
    U32(u32),
    F32(f32),
    Text(&'a str),
    Texts(&'a [String]),
    Numbers(&'a [u32]),
}

/// Writes a GGUF file whose tokenizer has the printable ASCII characters and `special` special
/// tokens.
fn special_tokens(file: File, special: usize) -> std::io::Result<()> {
    const NORMAL: u32 = 1;
    const CONTROL: u32 = 3;
    // As byte-level BPE spells them: a space is `Ġ`, a line feed `Ċ`.
    let letters = ('!'..='~').chain(['Ġ', 'Ċ']).map(String::from);
    let marks = (0..special).map(|mark| format!("<|mark_{mark}|>"));
    let tokens: Vec<String> = letters.chain(marks).collect();
    let letters = tokens.len() - special;
    let kinds: Vec<u32> =
        (0..tokens.len()).map(|id| if id < letters { NORMAL } else { CONTROL }).collect();
    let metadata = [
        ("general.architecture", Value::Text("llama")),
        ("llama.block_count", Value::U32(1)),
        ("llama.context_length", Value::U32(512)),
        ("llama.embedding_length", Value::U32(HIDDEN as u32)),
        ("llama.feed_forward_length", Value::U32(WIDE as u32)),
        ("llama.attention.head_count", Value::U32(4)),
        ("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5)),
        ("tokenizer.ggml.model", Value::Text("gpt2")),
        ("tokenizer.ggml.pre", Value::Text("gpt-2")),
        ("tokenizer.ggml.tokens", Value::Texts(&tokens)),
        ("tokenizer.ggml.token_type", Value::Numbers(&kinds)),
        ("tokenizer.ggml.merges", Value::Texts(&[])),
    ];
    let tensors = tensors(tokens.len());

    let mut out = Counted { inner: BufWriter::new(&file), written: 0 };
    out.write_all(b"GGUF")?;
    out.write_all(&3u32.to_le_bytes())?;
    out.write_all(&(tensors.len() as u64).to_le_bytes())?;
    out.write_all(&(metadata.len() as u64).to_le_bytes())?;
    for (key, value) in metadata {
        text(&mut out, key)?;
        write_value(&mut out, value)?;
    }
    let mut end = 0u64;
    for (name, _, shape) in tensors {
        text(&mut out, &format!("{name}.weight"))?;
        out.write_all(&(shape.len() as u32).to_le_bytes())?;
        for length in shape.iter().rev() {
            out.write_all(&(*length as u64).to_le_bytes())?;
        }
        // The tensor's type, f32, and its offset in the data.
        out.write_all(&0u32.to_le_bytes())?;
        out.write_all(&end.to_le_bytes())?;
        end += bytes(&shape).next_multiple_of(ALIGNMENT);
    }
    out.flush()?;
    let numbers = out.written.next_multiple_of(ALIGNMENT);
    drop(out);
    file.set_len(numbers + end)
}

/// The alignment of tensor data in a GGUF file, in bytes.
const ALIGNMENT: u64 = 32;

/// A writer that counts the bytes written.
struct Counted<W> {
    inner: W,
    written: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.written += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

fn text(out: &mut impl Write, text: &str) -> std::io::Result<()> {
    out.write_all(&(text.len() as u64).to_le_bytes())?;
    out.write_all(text.as_bytes())
}

/// Writes a value after its type id.
fn write_value(out: &mut impl Write, value: Value<'_>) -> std::io::Result<()> {
    const U32: u32 = 4;
    const F32: u32 = 6;
    const TEXT: u32 = 8;
    const LIST: u32 = 9;
    let mut number = |number: u32| out.write_all(&number.to_le_bytes());
    match value {
        Value::U32(value) => number(U32).and_then(|()| number(value)),
        Value::F32(value) => number(F32).and_then(|()| number(value.to_bits())),
        Value::Text(value) => number(TEXT).and_then(|()| text(out, value)),
        Value::Texts(values) => {
            number(LIST)?;
            number(TEXT)?;
            out.write_all(&(values.len() as u64).to_le_bytes())?;
            values.iter().try_for_each(|value| text(out, value))
        }
        Value::Numbers(values) => {
            number(LIST)?;
            number(U32)?;
            out.write_all(&(values.len() as u64).to_le_bytes())?;
            values.iter().try_for_each(|value| out.write_all(&value.to_le_bytes()))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn large_weights_take_no_room_on_disk_and_lie_where_the_header_says() {
        let folder = tempfile::tempdir().unwrap();
        mapped_weights(folder.path()).unwrap();
        let path = folder.path().join("model.safetensors");
        let meta = path.metadata().unwrap();
        assert!(meta.len() > 128 << 20 && meta.blocks() * 512 < 1 << 20, "{meta:?}");
        let mut file = File::open(path).unwrap();
        let mut length = [0; 8];
        std::io::Read::read_exact(&mut file, &mut length).unwrap();
        let length = u64::from_le_bytes(length);
        let header = std::io::Read::take(file, length);
        let header: serde_json::Map<String, serde_json::Value> =
            serde_json::from_reader(header).unwrap();
        let ends = header.values().map(|tensor| tensor["data_offsets"][1].as_u64().unwrap());
        assert_eq!(meta.len(), 8 + length + ends.max().unwrap());
    }

    #[test]
    fn every_special_token_is_in_the_file_and_numbers_begin_where_they_are_aligned() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("special.gguf");
        special_tokens(File::create(&path).unwrap(), 7).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert!(bytes.starts_with(b"GGUF\x03\0\0\0"));
        for mark in 0..7 {
            let mark = format!("<|mark_{mark}|>").into_bytes();
            assert!(bytes.windows(mark.len()).any(|window| window == mark));
        }
        let numbers: u64 =
            tensors(103).iter().map(|(_, _, shape)| bytes_aligned(shape)).sum::<u64>();
        assert_eq!((bytes.len() as u64 - numbers) % ALIGNMENT, 0);
    }

    fn bytes_aligned(shape: &[usize]) -> u64 {
        bytes(shape).next_multiple_of(ALIGNMENT)
    }
}
