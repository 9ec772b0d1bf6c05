//! Every refusal of an embedder, word for word: what, where, and what to do next.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs;
use std::path::Path;

use insta::assert_snapshot;
use windtunnel_engine::embedding::Prompt;
use windtunnel_engine::models::{EMBEDDERS, MODELS, Purpose};
use windtunnel_engine::{
    Choice, CudaGraphs, Dtype, EmbedRequest, Embedder, EmbedderConfig, Engine, EngineConfig,
    KvLayout, ModelSource, Overlong, PrefixCache, QuantPlan, Topology,
};

fn preset(name: &str) -> ModelSource {
    ModelSource::Preset { name: name.into(), seed: 1 }
}

fn config() -> EmbedderConfig {
    EmbedderConfig {
        model: preset("tiny-embeddinggemma"),
        dtype: Dtype::F32,
        attention: Choice::Auto,
        max_pass_tokens: 64,
        max_sequence_length: Some(16),
    }
}

/// The message with which `config` is refused.
fn refused(config: &EmbedderConfig) -> String {
    match Embedder::load(config) {
        Ok(_) => panic!("{config:?} was meant to be refused"),
        Err(refusal) => refusal.to_string(),
    }
}

/// The message with which an engine refuses `model`.
fn engine_refuses(model: ModelSource) -> String {
    let config = EngineConfig {
        model,
        dtype: Dtype::F32,
        quant: QuantPlan::DENSE,
        devices: "cpu:0".parse().unwrap(),
        topology: Topology::NONE,
        kv: KvLayout::Contiguous,
        attention: Choice::Auto,
        prefix_cache: PrefixCache::Off,
        cuda_graphs: CudaGraphs::On,
        kv_tokens: 64,
        max_step_tokens: 64,
        max_sequences: 1,
        max_sequence_length: Some(16),
    };
    Engine::load(&config).err().unwrap().to_string()
}

/// The result of `ask` for a copy of the golden case `case`, changed by `damage`.
fn asked(
    case: &str,
    damage: impl FnOnce(&Path),
    ask: impl FnOnce(ModelSource) -> String,
) -> String {
    let folder = tempfile::tempdir().unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(case);
    copy(&golden, folder.path());
    damage(folder.path());
    let message = ask(ModelSource::Folder { path: folder.path().into() });
    message.replace(&folder.path().display().to_string(), "MODEL")
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let from = entry.unwrap().path();
        let to = to.join(from.file_name().unwrap());
        if from.is_dir() {
            fs::create_dir(&to).unwrap();
            copy(&from, &to);
        } else {
            fs::copy(from, to).unwrap();
        }
    }
}

/// The message about a copy of the golden EmbeddingGemma, changed by `damage`.
fn damaged(damage: impl FnOnce(&Path)) -> String {
    asked("golden_embeddings/embeddinggemma", damage, |model| {
        refused(&EmbedderConfig { model, ..config() })
    })
}

fn replace(file: &str, from: &str, to: &str) -> impl FnOnce(&Path) {
    move |folder| {
        let path = folder.join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(path, text.replacen(from, to, 1)).unwrap();
    }
}

fn remove(file: &str) -> impl FnOnce(&Path) {
    move |folder| fs::remove_file(folder.join(file)).unwrap()
}

#[test]
fn a_model_is_what_the_files_beside_its_configuration_say() {
    let purpose = |case: &str, change: fn(&Path)| {
        asked(case, change, |model| format!("{:?}", Purpose::of(&model).unwrap()))
    };
    let add =
        |folder: &Path| fs::write(folder.join("config_sentence_transformers.json"), "{}").unwrap();
    assert_eq!(purpose("golden/qwen3_tied", |_| {}), "Continuing");
    assert_eq!(purpose("golden/qwen3_tied", add), "Embedding");
    assert_eq!(purpose("golden_embeddings/qwen3_embedding", |_| {}), "Embedding");
    assert_eq!(Purpose::of(&preset("qwen3-0.6b")).unwrap(), Purpose::Continuing);
    assert_eq!(Purpose::of(&preset("qwen3-embedding-0.6b")).unwrap(), Purpose::Embedding);
}

#[test]
fn a_model_that_was_made_for_something_else_is_refused() {
    let untouched = |_: &Path| {};
    assert_snapshot!(asked("golden_embeddings/qwen3_embedding", untouched, engine_refuses), @"`MODEL` is an embedding model and generates no text; load it as an embedder, or choose a model whose folder has no sentence-transformers files");
    assert_snapshot!(engine_refuses(preset("tiny-qwen3-embedding")), @"preset `tiny-qwen3-embedding` is an embedding model and generates no text; load it as an embedder, or choose a model whose folder has no sentence-transformers files");
    let embed = |model| refused(&EmbedderConfig { model, ..config() });
    assert_snapshot!(asked("golden/qwen3_tied", untouched, embed), @"`MODEL` generates text and is not an embedding model; load it as an engine, or choose a model whose folder has a `modules.json`");
    assert_snapshot!(embed(preset("tiny-qwen3")), @"preset `tiny-qwen3` generates text and is not an embedding model; load it as an engine, or choose a model whose folder has a `modules.json`");
}

#[test]
fn unknown_and_several_architectures_are_answered_with_the_known_ones() {
    let embedders: Vec<_> = EMBEDDERS.iter().map(|entry| entry.architecture).collect();
    let known = |message: String| message.replace(&embedders.join(", "), "ALL");
    let architecture = |to| known(damaged(replace("config.json", "\"Gemma3TextModel\"", to)));
    assert_snapshot!(architecture("\"BertModel\""), @r#"`MODEL/config.json`: no loader for architectures ["BertModel"]; supported: ALL"#);
    assert_snapshot!(architecture(""), @"`MODEL/config.json`: no loader for architectures []; supported: ALL");
    assert_snapshot!(architecture("\"Gemma3TextModel\", \"Qwen3ForCausalLM\""), @r#"`MODEL/config.json`: no loader for architectures ["Gemma3TextModel", "Qwen3ForCausalLM"]; supported: ALL"#);
    let families: Vec<_> = MODELS.iter().map(|entry| entry.architecture).collect();
    let bare = |folder: &Path| {
        remove("modules.json")(folder);
        remove("config_sentence_transformers.json")(folder);
    };
    let message = asked("golden_embeddings/embeddinggemma", bare, engine_refuses);
    assert_snapshot!(message.replace(&families.join(", "), "ALL"), @r#"`MODEL/config.json`: no loader for architectures ["Gemma3TextModel"]; supported: ALL"#);
}

#[test]
fn attention_both_ways_is_refused_where_it_is_not_implemented() {
    let told = |case, change: fn(&Path)| {
        asked(case, change, |model| match Embedder::load(&EmbedderConfig { model, ..config() }) {
            Ok(_) => "loaded".to_owned(),
            Err(refusal) => refusal.to_string(),
        })
    };
    let both_ways = |folder: &Path| {
        replace("config.json", "\"vocab_size\"", "\"is_causal\": false, \"vocab_size\"")(folder);
    };
    assert_snapshot!(told("golden_embeddings/qwen3_embedding", both_ways), @"`MODEL/config.json`: `is_causal` is false: bidirectional attention is not implemented for this family");
    // This family states it a second time, under a key of its own.
    assert_eq!(told("golden_embeddings/embeddinggemma", both_ways), "loaded");
}

#[test]
fn settings_without_a_meaning_are_refused() {
    assert_snapshot!(refused(&EmbedderConfig { max_pass_tokens: 0, ..config() }), @"`max_pass_tokens` is 0, but nothing is computed without at least 1");
    assert_snapshot!(refused(&EmbedderConfig { max_sequence_length: Some(0), ..config() }), @"`max_sequence_length` is 0, but nothing is computed without at least 1");
    let attention = Choice::Named("flash".into());
    assert_snapshot!(refused(&EmbedderConfig { attention, ..config() }), @"no attention backend `flash`; choose one of cuda-flash, cpu-flash, naive");
}

#[test]
fn files_that_are_missing_or_damaged_are_named() {
    assert_snapshot!(damaged(remove("modules.json")), @"cannot load `MODEL/modules.json`: No such file or directory (os error 2)");
    assert_snapshot!(damaged(remove("1_Pooling/config.json")), @"cannot load `MODEL/1_Pooling/config.json`: No such file or directory (os error 2)");
    assert_snapshot!(damaged(remove("2_Dense/config.json")), @"cannot load `MODEL/2_Dense/config.json`: No such file or directory (os error 2)");
    assert_snapshot!(damaged(remove("3_Dense/model.safetensors")), @"cannot load `MODEL/3_Dense/model.safetensors`: neither it nor `model.safetensors.index.json` is there; convert weights of another format to safetensors");
    assert_snapshot!(damaged(remove("model.safetensors")), @"cannot load `MODEL/model.safetensors`: neither it nor `model.safetensors.index.json` is there; convert weights of another format to safetensors");
    assert_snapshot!(damaged(replace("modules.json", "[", "{")), @"`MODEL/modules.json`: not valid JSON: key must be a string at line 2 column 2");
    assert_snapshot!(damaged(replace("modules.json", "\"path\"", "\"way\"")), @"`MODEL/modules.json`: missing field `path`");
}

#[test]
fn modules_that_we_cannot_compute_are_refused() {
    let modules = |from, to| damaged(replace("modules.json", from, to));
    assert_snapshot!(modules("models.Dense", "models.LayerNorm"), @"`MODEL/modules.json`: module `2_Dense` is a `sentence_transformers.models.LayerNorm`; only Dense and Normalize of sentence-transformers are implemented after the pooling");
    assert_snapshot!(modules("sentence_transformers.models.Normalize", "mine.Normalize"), @"`MODEL/modules.json`: module `4_Normalize` is a `mine.Normalize`; only Dense and Normalize of sentence-transformers are implemented after the pooling");
    assert_snapshot!(modules("models.Transformer", "models.CLIPModel"), @r#"`MODEL/modules.json`: the modules are ["sentence_transformers.models.CLIPModel", "sentence_transformers.models.Pooling", "sentence_transformers.models.Dense", "sentence_transformers.models.Dense", "sentence_transformers.models.Normalize"]; expected a Transformer and a Pooling of sentence-transformers first"#);
    let pooling = |from, to| damaged(replace("1_Pooling/config.json", from, to));
    assert_snapshot!(pooling("tokens\": true", "tokens\": false"), @"`MODEL/1_Pooling/config.json`: no pooling mode is on; expected one of cls, max, mean, lasttoken");
    assert_snapshot!(pooling("lasttoken\": false", "lasttoken\": true"), @"`MODEL/1_Pooling/config.json`: the pooling mode is `mean` and `lasttoken`; expected one of cls, max, mean, lasttoken");
    let dense = |from, to| damaged(replace("2_Dense/config.json", from, to));
    assert_snapshot!(dense("linear.Identity", "activation.Softmax"), @"`MODEL/2_Dense/config.json`: `activation_function` is `torch.nn.modules.activation.Softmax`; the implemented torch activations are Identity, Tanh, ReLU, GELU, SiLU, Sigmoid");
    assert_snapshot!(dense("\"in_features\": 48", "\"in_features\": 64"), @"`MODEL/2_Dense/config.json`: `in_features` is 64, but the input width is 48");
    assert_snapshot!(dense("\"out_features\": 96", "\"out_features\": 64"), @"`MODEL/2_Dense/model.safetensors`: tensor `linear.weight` has shape [96, 48], but `config.json` implies [64, 48]");
    assert_snapshot!(dense("\"bias\": false", "\"bias\": true"), @"`MODEL/2_Dense` has no tensor `linear.bias` (needed with shape [96]); check that `config.json` belongs to these weights");
    let texts = |from, to| damaged(replace("sentence_bert_config.json", from, to));
    assert_snapshot!(texts("512", "0"), @"`MODEL/sentence_bert_config.json`: `max_seq_length` is 0");
    assert_snapshot!(texts("false", "true"), @"`MODEL/sentence_bert_config.json`: `do_lower_case` is true, which is not implemented");
}

#[test]
fn weights_that_do_not_fit_are_named() {
    assert_snapshot!(damaged(replace("config.json", "\"num_hidden_layers\": 4", "\"num_hidden_layers\": 5")), @"`MODEL/config.json`: `layer_types` has 4 entries for 5 layers");
    let widened = |folder: &Path| {
        replace("2_Dense/config.json", "\"out_features\": 96", "\"out_features\": 95")(folder);
        replace("3_Dense/config.json", "\"in_features\": 96", "\"in_features\": 95")(folder);
    };
    assert_snapshot!(damaged(widened), @"`MODEL/2_Dense/model.safetensors`: tensor `linear.weight` has shape [96, 48], but `config.json` implies [95, 48]");
}

#[test]
fn requests_that_cannot_be_embedded_are_declined_by_their_number() {
    let embedder = Embedder::load(&config()).unwrap();
    let declined = |tokens: Vec<u32>, overlong| {
        let fine = EmbedRequest { tokens: vec![1], overlong: Overlong::Refuse };
        let bad = EmbedRequest { tokens, overlong };
        embedder.embed(&[fine, bad]).unwrap_err().to_string()
    };
    assert_snapshot!(declined(vec![], Overlong::KeepHead), @"input 1: it is empty; give it at least one token");
    assert_snapshot!(declined(vec![1000], Overlong::Refuse), @"input 1: token 1000 is outside the vocabulary of 1000; ids are below that number");
    assert_snapshot!(declined(vec![1; 17], Overlong::Refuse), @"input 1: it has 17 tokens, but at most 16 are read; shorten it or ask for truncation");
}

#[test]
fn numbers_beyond_the_dtype_are_an_error_and_no_vector() {
    let overflow = |folder: &Path| {
        let path = folder.join("2_Dense/model.safetensors");
        let tensors = candle_core::safetensors::load(&path, &candle_core::Device::Cpu).unwrap();
        let infinite = (tensors["linear.weight"].clone() * f64::INFINITY).unwrap();
        fs::remove_file(&path).unwrap();
        infinite.save_safetensors("linear.weight", path).unwrap();
    };
    let message = asked("golden_embeddings/embeddinggemma", overflow, |model| {
        let embedder = Embedder::load(&EmbedderConfig { model, ..config() }).unwrap();
        let request = EmbedRequest { tokens: vec![5, 6], overlong: Overlong::Refuse };
        embedder.embed(&[request]).unwrap_err().to_string()
    });
    assert_snapshot!(message, @"input 0: the model produced a vector that is not finite; choose a dtype of wider range (`f32` or `bf16`), or check its weights");
}

#[test]
fn texts_without_a_tokenizer_and_unknown_prompts_are_declined() {
    let embedder = Embedder::load(&config()).unwrap();
    assert_snapshot!(embedder.reader().err().unwrap(), @"preset `tiny-embeddinggemma` has no tokenizer; send token ids, or open a model folder that holds `tokenizer.json`");
    let read = |damage: fn(&Path), prompt: &'static str| {
        asked("golden_embeddings/embeddinggemma", damage, |model| {
            let embedder = Embedder::load(&EmbedderConfig { model, ..config() }).unwrap();
            let read = |reader: windtunnel_engine::embedding::Reader| {
                reader.read("t5", Prompt::Named(prompt), Overlong::Refuse)
            };
            embedder.reader().and_then(read).unwrap_err().to_string()
        })
    };
    assert_snapshot!(read(|folder| remove("tokenizer.json")(folder), "query"), @"`MODEL` has no tokenizer; send token ids, or open a model folder that holds `tokenizer.json`");
    assert_snapshot!(read(|_| {}, "clustering"), @r#"no prompt `clustering` in `config_sentence_transformers.json`; choose one of ["document", "query"], or use none"#);
    let default = |folder: &Path| {
        replace("config_sentence_transformers.json", "null", "\"clustering\"")(folder);
    };
    assert_snapshot!(read(default, "query"), @"`MODEL/config_sentence_transformers.json`: `default_prompt_name` is `clustering`, which is not in `prompts`");
}
