//! GGUF files that cannot be used: the message for each, and that nothing ever panics.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use insta::assert_snapshot;
use windtunnel_engine::{
    Choice, CudaGraphs, Dtype, Engine, EngineConfig, ModelSource, PrefixCache, QuantPlan, Topology,
};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gguf").join(name)
}

/// The message about the model at `path`, if it is refused.
fn refused(path: &Path) -> Option<String> {
    let config = EngineConfig {
        model: ModelSource::Gguf { path: path.into() },
        dtype: Dtype::F32,
        quant: QuantPlan::DENSE,
        devices: "cpu:0".parse().unwrap(),
        topology: Topology::NONE,
        kv: "paged-16".parse().unwrap(),
        attention: Choice::Auto,
        prefix_cache: PrefixCache::Off,
        cuda_graphs: CudaGraphs::On,
        kv_tokens: 64,
        max_step_tokens: 7,
        max_sequences: 1,
        max_sequence_length: Some(64),
    };
    let problem = Engine::load(&config).err()?.to_string();
    Some(problem.replace(&format!("{}/", path.parent().unwrap().display()), ""))
}

/// The message about a file of these bytes.
fn of_bytes(bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    fs::write(&path, bytes).unwrap();
    refused(&path).expect("the file is refused")
}

/// A file, piece by piece.
struct Bytes(Vec<u8>);

impl Bytes {
    /// The beginning of a file that claims to have `tensors` tensors and `keys` keys.
    fn new(tensors: u64, keys: u64) -> Self {
        Self(b"GGUF".to_vec()).u32(3).u64(tensors).u64(keys)
    }

    fn u32(mut self, number: u32) -> Self {
        self.0.extend(number.to_le_bytes());
        self
    }

    fn u64(mut self, number: u64) -> Self {
        self.0.extend(number.to_le_bytes());
        self
    }

    fn text(self, text: &str) -> Self {
        let mut longer = self.u64(text.len() as u64);
        longer.0.extend(text.as_bytes());
        longer
    }

    /// A tensor of these dims, innermost first.
    fn tensor(self, name: &str, dims: &[u64], kind: u32, offset: u64) -> Self {
        let named = self.text(name).u32(dims.len() as u32);
        dims.iter().fold(named, |bytes, dim| bytes.u64(*dim)).u32(kind).u64(offset)
    }
}

#[test]
fn a_file_that_is_no_gguf_is_told_by_its_beginning() {
    assert_snapshot!(of_bytes(b"PK\x03\x04 and so on"), @r#"`model.gguf` is not a GGUF file: it begins with `PK\x03\x04`, not with `GGUF`; check the path, and that the download was the file itself"#);
    assert_snapshot!(of_bytes(b""), @"`model.gguf` is not a GGUF file: it begins with nothing, not with `GGUF`; check the path, and that the download was the file itself");
    assert_snapshot!(of_bytes(b"GGUF\x01\0\0\0"), @"`model.gguf` is version 1 of GGUF, but only 2 and 3 can be read; convert the model again");
    assert_snapshot!(of_bytes(b"GGUF\0\0\0\x03"), @"`model.gguf` was written for big-endian machines; convert the model again for little-endian ones");
}

#[test]
fn a_damaged_file_is_told_by_what_in_it_makes_no_sense() {
    const TEXT: u32 = 8;
    const ARRAY: u32 = 9;
    let said = |bytes: Bytes| of_bytes(&bytes.0);
    assert_snapshot!(said(Bytes::new(0, 1)), @"`model.gguf` ends after 24 bytes, but the name of a key needs 8 more; it is cut short or damaged, so download or convert it again");
    assert_snapshot!(said(Bytes::new(0, 1).text("a\nb")), @r#"`model.gguf` is damaged: the name of a key is "a\nb"; download or convert it again"#);
    assert_snapshot!(said(Bytes::new(0, 1).text("key").u32(13)), @"`model.gguf` is damaged: key `key` has a value of unknown type 13; download or convert it again");
    assert_snapshot!(said(Bytes::new(0, 1).text("key").u32(TEXT).u64(u64::MAX)), @"`model.gguf` ends after 47 bytes, but key `key` needs 18446744073709551615 more; it is cut short or damaged, so download or convert it again");
    assert_snapshot!(said(Bytes::new(0, 1).text("key").u32(ARRAY).u32(TEXT).u64(u64::MAX)), @"`model.gguf` ends after 51 bytes, but key `key` needs 8 more; it is cut short or damaged, so download or convert it again");
    let nested =
        (0..6).fold(Bytes::new(0, 1).text("key").u32(ARRAY), |bytes, _| bytes.u32(ARRAY).u64(1));
    assert_snapshot!(said(nested), @"`model.gguf` is damaged: key `key` holds arrays that are nested too deeply; download or convert it again");
    let twice = Bytes::new(0, 2).text("key").u32(TEXT).text("a").text("key").u32(TEXT).text("b");
    assert_snapshot!(said(twice), @"`model.gguf` is damaged: it has key `key` twice; download or convert it again");
    let alignment = Bytes::new(0, 1).text("general.alignment").u32(4).u32(3);
    assert_snapshot!(said(alignment), @"`model.gguf` is damaged: key `general.alignment` is 3; download or convert it again");
}

#[test]
fn a_damaged_tensor_is_told_by_its_name() {
    let (f32, q8_0) = (0, 8);
    let said = |bytes: Bytes| of_bytes(&bytes.0);
    let one = || Bytes::new(1, 0);
    assert_snapshot!(said(one().tensor("w", &[1; 5], f32, 0)), @"`model.gguf` is damaged: tensor `w` has 5 dims, not 1 to 4; download or convert it again");
    assert_snapshot!(said(one().tensor("w", &[4], f32, 0)), @"`model.gguf` ends after 57 bytes, but tensor `w` needs 23 more; it is cut short or damaged, so download or convert it again");
    assert_snapshot!(said(one().tensor("w", &[4], f32, 7)), @"`model.gguf` is damaged: tensor `w` is not aligned to 32 bytes; download or convert it again");
    assert_snapshot!(said(one().tensor("w", &[33], q8_0, 0)), @"`model.gguf` is damaged: tensor `w` has rows of 33 numbers, but its type has blocks of 32; download or convert it again");
    assert_snapshot!(said(one().tensor("w", &[u64::MAX, 2], f32, 0)), @"`model.gguf` is damaged: tensor `w` of shape [2, 18446744073709551615] is larger than any file; download or convert it again");
    assert_snapshot!(said(one().tensor("w", &[256], 16, 0)), @"`model.gguf`: tensor `w` is stored as IQ2_XXS, which is not implemented; choose a file of F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q8_1, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K or Q8_K");
    assert_snapshot!(said(one().tensor("w", &[256], 99, 0)), @"`model.gguf`: tensor `w` is stored as type 99, which is not implemented; choose a file of F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q8_1, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K or Q8_K");
}

/// A small file of two layers.
fn small() -> Vec<u8> {
    fs::read(fixture("tiny.gguf")).unwrap()
}

#[test]
fn a_file_that_is_cut_short_anywhere_is_refused() {
    let whole = small();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        assert!(refused(&path).is_some(), "the first {length} bytes");
    }
}

#[test]
fn a_file_with_any_byte_changed_makes_no_panic() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let whole = fs::read(fixture("llama_gqa-00002-of-00002.gguf")).unwrap();
    for original in [small(), whole[..whole.len().min(2048)].to_vec()] {
        for at in 0..original.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut changed = original.clone();
                changed[at] ^= flip;
                fs::write(&path, changed).unwrap();
                refused(&path);
            }
        }
    }
}

/// The parts of a file that tests change.
struct Model {
    metadata: BTreeMap<String, Value>,
    tensors: BTreeMap<String, QTensor>,
}

impl Model {
    fn read(name: &str) -> Self {
        let mut file = File::open(fixture(name)).unwrap();
        let content = gguf_file::Content::read(&mut file).unwrap();
        let tensor = |name: &String| content.tensor(&mut file, name, &Device::Cpu).unwrap();
        let names: Vec<String> = content.tensor_infos.keys().cloned().collect();
        let tensors = names.iter().map(tensor).collect::<Vec<_>>();
        Self {
            tensors: names.into_iter().zip(tensors).collect(),
            metadata: content.metadata.into_iter().collect(),
        }
    }

    fn write(&self, to: &Path) {
        let metadata: Vec<(&str, &Value)> =
            self.metadata.iter().map(|(key, value)| (&key[..], value)).collect();
        let tensors: Vec<(&str, &QTensor)> =
            self.tensors.iter().map(|(name, tensor)| (&name[..], tensor)).collect();
        gguf_file::write(&mut File::create(to).unwrap(), &metadata, &tensors).unwrap();
    }
}

/// The message about a model changed by `change`.
fn of_model(change: impl FnOnce(&mut Model)) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let mut model = Model::read("qwen2_tied_window8.gguf");
    change(&mut model);
    model.write(&path);
    refused(&path).expect("the model is refused")
}

#[test]
fn metadata_that_make_no_model_are_told_by_their_key() {
    let with =
        |key: &str, value: Value| of_model(|model| drop(model.metadata.insert(key.into(), value)));
    let without = |key: &str| of_model(|model| drop(model.metadata.remove(key)));
    assert_snapshot!(with("general.architecture", Value::String("rwkv7".into())), @"`model.gguf` holds a model of architecture `rwkv7`; the known ones in GGUF are gemma2, gemma3, llama, phi3, qwen2, qwen3, qwen3moe, starcoder2");
    assert_snapshot!(without("general.architecture"), @"`model.gguf` has no key `general.architecture`, which this kind of model needs; convert the model again");
    assert_snapshot!(without("qwen2.block_count"), @"`model.gguf` has no key `qwen2.block_count`, which this kind of model needs; convert the model again");
    assert_snapshot!(with("qwen2.block_count", Value::String("two".into())), @r#"`model.gguf`: key `qwen2.block_count` is "two", but must be a whole number of at least 0"#);
    assert_snapshot!(with("qwen2.attention.head_count", Value::U32(0)), @"`model.gguf`: key `qwen2.attention.head_count` is 0, but must be a number above 0");
    assert_snapshot!(with("qwen2.attention.head_count", Value::I32(-1)), @"`model.gguf`: key `qwen2.attention.head_count` is -1, but must be a whole number of at least 0");
    assert_snapshot!(with("qwen2.rope.scaling.type", Value::String("dynamic".into())), @"`model.gguf`: key `qwen2.rope.scaling.type` is `dynamic`, but must be `none`, `linear`, `yarn` or, with its tensors, `longrope`");
    assert_snapshot!(with("qwen2.pooling_type", Value::U32(3)), @"`model.gguf`: key `qwen2.pooling_type` is 3, but must be 0: models that embed or rank text are loaded only from folders");
    // A problem found under the hub's key is reported under the file's.
    assert_snapshot!(with("qwen2.rope.scaling.factor", Value::F32(-2.0)), @"`model.gguf`: `qwen2.rope.scaling.factor` is -2, but must be above 0");
    assert_snapshot!(with("qwen2.context_length", Value::U32(0)), @"`model.gguf`: `qwen2.context_length` is 0");
    assert_snapshot!(with("qwen2.feed_forward_length", Value::U32(1 << 21)), @"`model.gguf`: `qwen2.feed_forward_length` is 2097152, but at most 1048576 is accepted; check the file");
    let flat = of_model(|model| {
        model.metadata.insert("qwen2.attention.key_length".into(), Value::U32(0));
        model.metadata.remove("qwen2.attention.value_length");
    });
    assert_snapshot!(flat, @"`model.gguf`: `qwen2.attention.key_length` is 0");
    let narrow = of_model(|model| {
        model.metadata.remove("qwen2.attention.key_length");
        model.metadata.insert("qwen2.attention.head_count".into(), Value::U32(1 << 10));
    });
    assert_snapshot!(narrow, @"`model.gguf`: `qwen2.embedding_length / qwen2.attention.head_count` is 0");
}

#[test]
fn a_tensor_that_the_metadata_imply_is_told_by_both_its_names() {
    let name = "blk.1.ffn_down.weight";
    assert_snapshot!(of_model(|model| drop(model.tensors.remove(name))), @"`model.gguf` has no tensor `blk.1.ffn_down.weight` (needed with shape [48, 80] as `model.layers.1.mlp.down_proj.weight`); check that all of the model is in it");
    let other = || {
        let zeros = Tensor::zeros((3, 5), candle_core::DType::F32, &Device::Cpu).unwrap();
        QTensor::quantize(&zeros, GgmlDType::F32).unwrap()
    };
    assert_snapshot!(of_model(|model| drop(model.tensors.insert(name.into(), other()))), @"`model.gguf`: tensor `blk.1.ffn_down.weight` has shape [3, 5], but the metadata imply [48, 80]");
}

#[test]
fn parts_of_a_model_must_all_be_there_and_belong_together() {
    let (first, second) = ("llama_gqa-00001-of-00002.gguf", "llama_gqa-00002-of-00002.gguf");
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::copy(fixture(first), at(first)).unwrap();
    assert_snapshot!(refused(&at(first)).unwrap(), @"`llama_gqa-00001-of-00002.gguf` is one of 2 files, but `llama_gqa-00002-of-00002.gguf` does not exist; put all of them into one folder");

    fs::copy(fixture(first), at(second)).unwrap();
    assert_snapshot!(refused(&at(first)).unwrap(), @"`llama_gqa-00002-of-00002.gguf`: `split.no` is 0 and `split.count` 2, but its name makes it 1 of 2 beside `llama_gqa-00001-of-00002.gguf`; put all files of one model into one folder, with their own names");

    fs::copy(fixture(first), at("model.gguf")).unwrap();
    assert_snapshot!(refused(&at("model.gguf")).unwrap(), @"`model.gguf`: `split.no` is 0 and `split.count` 2, but its name does not end in `-00001-of-00002.gguf`; put all files of one model into one folder, with their own names");

    let mut model = Model::read(first);
    model.metadata.insert("split.no".into(), Value::U64(u64::MAX));
    model.write(&at("last.gguf"));
    assert_snapshot!(refused(&at("last.gguf")).unwrap(), @"`last.gguf`: `split.no` is 18446744073709551615 and `split.count` 2, but its name does not end in `-18446744073709551615-of-00002.gguf`; put all files of one model into one folder, with their own names");

    // One tensor is in neither.
    let mut model = Model::read(second);
    model.tensors.pop_first();
    model.write(&at(second));
    assert_snapshot!(refused(&at(first)).unwrap(), @"`llama_gqa-00001-of-00002.gguf`: `split.tensors.count` is 21, but all files together have 20 tensors; put all files of one model into one folder, with their own names");
}

#[test]
fn a_path_that_leads_to_no_file_is_told_as_the_system_tells_it() {
    let folder = tempfile::tempdir().unwrap();
    assert_snapshot!(refused(&folder.path().join("model.gguf")).unwrap(), @"cannot load `model.gguf`: No such file or directory (os error 2)");
    fs::create_dir(folder.path().join("folder.gguf")).unwrap();
    assert_snapshot!(refused(&folder.path().join("folder.gguf")).unwrap(), @"cannot load `folder.gguf`: is a directory");
}
