//! Every refusal, word for word: what, where, and what to do next.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;

use insta::assert_snapshot;
use windtunnel_engine::models::MODELS;
use windtunnel_engine::weights::{embedder_presets, presets};
use windtunnel_engine::{
    Choice, CudaGraphs, Dry, Dtype, Engine, EngineConfig, Eos, Event, Finish, KvLayout, LayerQuant,
    ModelSource, PrefixCache, Quant, QuantPlan, Request, Sampling, Topology, Truncation, Usage,
};

fn config() -> EngineConfig {
    EngineConfig {
        model: ModelSource::Preset { name: "tiny-llama".into(), seed: 1 },
        dtype: Dtype::F32,
        quant: QuantPlan::DENSE,
        devices: "cpu:0".parse().unwrap(),
        topology: Topology::NONE,
        kv: KvLayout::Paged { block: NonZeroUsize::new(16).unwrap() },
        attention: Choice::Auto,
        prefix_cache: PrefixCache::Off,
        cuda_graphs: CudaGraphs::On,
        kv_tokens: 64,
        max_step_tokens: 64,
        max_sequences: 4,
        max_sequence_length: Some(100),
    }
}

fn request() -> Request {
    Request {
        prompt: vec![5, 6, 7],
        max_tokens: Some(4),
        sampling: Sampling::GREEDY,
        stop: Vec::new(),
        eos: Eos::Ignore,
        truncation: Truncation::Refuse,
        choices: 1,
        prefix_cache: PrefixCache::Off,
    }
}

/// The message with which `config` is refused.
fn refused(config: &EngineConfig) -> String {
    match Engine::load(config) {
        Ok(_) => panic!("{config:?} was meant to be refused"),
        Err(refusal) => refusal.to_string(),
    }
}

/// The message with which `request` is refused.
fn declined(request: Request) -> String {
    Engine::load(&config()).unwrap().submit(request).unwrap_err().to_string()
}

/// The message about a copy of the golden case `case`, changed by `damage`.
fn damaged(case: &str, damage: impl FnOnce(&Path)) -> String {
    let folder = tempfile::tempdir().unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(case);
    for file in fs::read_dir(golden).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
    }
    damage(folder.path());
    let model = ModelSource::Folder { path: folder.path().into() };
    let message = refused(&EngineConfig { model, ..config() });
    message.replace(&folder.path().display().to_string(), "MODEL")
}

/// As [`damaged`], with `from` replaced by `to` in `config.json`.
fn configured(case: &str, from: &str, to: &str) -> String {
    damaged(case, |folder| {
        let path = folder.join("config.json");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(path, text.replace(from, to)).unwrap();
    })
}

#[test]
fn unknown_names_are_answered_with_the_known_ones() {
    // The registries are replaced as a whole, so a new entry changes no test.
    let presets = presets().iter().chain(embedder_presets());
    let presets: Vec<_> = presets.map(|preset| preset.name).collect();
    let families: Vec<_> = MODELS.iter().map(|entry| entry.architecture).collect();
    let named = |message: String, known: &[&str]| message.replace(&known.join(", "), "ALL");
    let model = ModelSource::Preset { name: "llama-9".into(), seed: 1 };
    assert_snapshot!(named(refused(&EngineConfig { model, ..config() }), &presets), @"no preset `llama-9`; choose one of ALL");
    let attention = Choice::Named("flash".into());
    assert_snapshot!(refused(&EngineConfig { attention, ..config() }), @"no attention backend `flash`; choose one of cuda-flash, cpu-flash, naive");
    assert_snapshot!(named(configured("llama_gqa", "LlamaForCausalLM", "LlamaForAll"), &families), @r#"`MODEL/config.json`: no loader for architectures ["LlamaForAll"]; supported: ALL"#);
    assert_snapshot!("paged-0".parse::<KvLayout>().unwrap_err(), @"`paged-0` is not a cache layout; write `contiguous` or `paged-N` with N of at least 1, such as `paged-16`");
    assert_snapshot!("f64".parse::<Dtype>().unwrap_err(), @"`f64` is not a dtype; write `auto`, `f32`, `f16` or `bf16`");
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    assert_snapshot!(refused(&EngineConfig { kv_tokens: 15, ..config() }), @"`kv_tokens` is 15, less than the 16 tokens of a single block of the paged-16 cache; raise it or choose a smaller block");
    let kv = KvLayout::Contiguous;
    assert_snapshot!(refused(&EngineConfig { kv, ..config() }), @"`kv_tokens` is 64, less than the 100 tokens of a single block of the contiguous cache; raise it or lower `max_sequence_length`");
    assert_snapshot!(refused(&EngineConfig { max_sequences: 0, ..config() }), @"`max_sequences` is 0, but nothing runs without at least 1");
    assert_snapshot!(refused(&EngineConfig { max_step_tokens: 3, ..config() }), @"`max_step_tokens` is 3, less than `max_sequences` (4): some sequences would stall while others decode; raise it or lower `max_sequences`");
    assert_snapshot!(refused(&EngineConfig { max_sequence_length: Some(1), ..config() }), @"`max_sequence_length` is 1, but a prompt token and a new token need 2");
    assert_snapshot!(refused(&EngineConfig { kv_tokens: 1 << 40, ..config() }), @"`kv_tokens` is 1099511627776, more than the 4294967295 slots that can be addressed; lower it");
}

#[test]
fn a_cache_that_no_memory_can_hold_is_refused_before_a_weight_is_read() {
    // A petabyte, which is more than a process can address.
    let model = ModelSource::Preset { name: "mixtral-8x7b".into(), seed: 1 };
    let huge = EngineConfig { model, kv_tokens: u32::MAX as usize, ..config() };
    assert_snapshot!(refused(&huge), @"out of memory for the cache; lower `kv_tokens`, or leave layers to another device, as in `cuda:0=20,cpu:0`");
}

#[test]
fn layers_that_the_model_does_not_have_get_no_quantisation() {
    let of = |layers| {
        let own = LayerQuant { layers, quant: Quant::Dense };
        EngineConfig { quant: QuantPlan { layers: vec![own], ..QuantPlan::DENSE }, ..config() }
    };
    assert!(Engine::load(&of(1..4)).is_ok());
    assert_snapshot!(refused(&of(1..5)), @"`quant.layers` is 1..5, but the model has 4 layers, counted from 0; end it at 4");
    assert_snapshot!(refused(&of(2..2)), @"`quant.layers` is 2..2, which names no layer; its end is the layer after the last one");
}

#[test]
fn an_unknown_key_of_the_configuration_is_named() {
    let mut json = serde_json::to_value(config()).unwrap();
    json["kv_token"] = 3.into();
    assert_snapshot!(serde_json::from_value::<EngineConfig>(json).unwrap_err(), @"unknown field `kv_token`, expected one of `model`, `dtype`, `quant`, `devices`, `topology`, `kv`, `attention`, `prefix_cache`, `cuda_graphs`, `kv_tokens`, `max_step_tokens`, `max_sequences`, `max_sequence_length`");
}

#[test]
fn requests_that_cannot_be_answered_are_declined() {
    assert_snapshot!(declined(Request { prompt: vec![], ..request() }), @"the prompt is empty; give it at least one token");
    assert_snapshot!(declined(Request { prompt: vec![1, 1000], ..request() }), @"prompt token 1000 is outside the vocabulary of 1000; ids are below that number");
    assert_snapshot!(declined(Request { prompt: vec![1; 100], ..request() }), @"the prompt has 100 tokens, but at most 99 fit beside one new token; shorten it or ask for truncation");
    assert_snapshot!(declined(Request { max_tokens: Some(0), ..request() }), @"`max_tokens` is 0; ask for at least one token");
    assert_snapshot!(declined(Request { choices: 0, ..request() }), @"`choices` is 0; ask for at least one");
    assert_snapshot!(declined(Request { choices: usize::MAX, ..request() }), @"`choices` is 18446744073709551615, but a request has at most 128; send several requests");
    assert_snapshot!(declined(Request { max_tokens: Some(80), ..request() }), @"the request needs 82 cached tokens (6 blocks of 16), but the cache has 4 blocks; set `max_tokens` lower, lower `max_sequence_length`, or raise `kv_tokens`");
    assert_snapshot!(declined(Request { max_tokens: None, ..request() }), @"the request needs 99 cached tokens (7 blocks of 16), but the cache has 4 blocks; set `max_tokens` lower, lower `max_sequence_length`, or raise `kv_tokens`");
}

#[test]
fn sampling_without_a_meaning_is_declined() {
    let declined = |sampling| declined(Request { sampling, ..request() });
    let off = Sampling::GREEDY;
    for temperature in [-1.0, f32::NAN, f32::INFINITY] {
        assert!(declined(Sampling { temperature, ..off.clone() }).starts_with("`temperature`"));
    }
    for top_p in [0.0, -0.1, 1.1, f32::NAN] {
        assert!(declined(Sampling { top_p, ..off.clone() }).starts_with("`top_p`"));
    }
    for min_p in [-0.1, 1.1, f32::NAN] {
        assert!(declined(Sampling { min_p, ..off.clone() }).starts_with("`min_p`"));
    }
    for penalty in [f32::NAN, f32::INFINITY] {
        let sampling = Sampling { frequency_penalty: penalty, ..off.clone() };
        assert!(declined(sampling).starts_with("`frequency_penalty`"));
        let sampling = Sampling { repetition_penalty: penalty, ..off.clone() };
        assert!(declined(sampling).starts_with("`repetition_penalty`"));
    }
    assert_snapshot!(declined(Sampling { temperature: -1.0, ..off.clone() }), @"`temperature` is -1, but must be a number of at least 0; use 0 for greedy decoding");
    assert_snapshot!(declined(Sampling { top_k: Some(0), ..off.clone() }), @"`top_k` is 0, but one token must stay; leave it out");
    assert_snapshot!(declined(Sampling { top_p: 0.0, ..off.clone() }), @"`top_p` is 0, but must be above 0 and at most 1; use 1 to turn it off");
    assert_snapshot!(declined(Sampling { min_p: 2.0, ..off.clone() }), @"`min_p` is 2, but must be between 0 and 1; use 0 to turn it off");
    assert_snapshot!(declined(Sampling { presence_penalty: f32::NAN, ..off.clone() }), @"`presence_penalty` is NaN, but must be a number; use 0 to turn it off");
    assert_snapshot!(declined(Sampling { repetition_penalty: 0.0, ..off.clone() }), @"`repetition_penalty` is 0, but must be a number above 0; use 1 to turn it off");
    assert_snapshot!(declined(Sampling { dry: Dry { multiplier: -1.0, ..Dry::OFF }, ..off.clone() }), @"`dry.multiplier` is -1, but must be a number of at least 0; use 0 to turn it off");
    assert_snapshot!(declined(Sampling { dry: Dry { base: 0.5, ..Dry::OFF }, ..off.clone() }), @"`dry.base` is 0.5, but must be a number of at least 1; 1.75 is usual");
    assert_snapshot!(declined(Sampling { dry: Dry { range: Some(0), ..Dry::OFF }, ..off.clone() }), @"`dry.range` is 0, but at least one token must be searched; leave it out to search all");
    assert_snapshot!(declined(Sampling { logit_bias: vec![(1000, 1.0)], ..off.clone() }), @"`logit_bias` is 1 for token 1000, outside the vocabulary of 1000; ids are below that number");
    assert_snapshot!(declined(Sampling { logit_bias: vec![(3, f32::INFINITY)], ..off }), @"`logit_bias` is inf for token 3, but must be a number; use -inf to ban a token");
}

#[test]
fn a_bias_that_bans_every_token_ends_the_request() {
    let mut engine = Engine::load(&config()).unwrap();
    let logit_bias = (0..1000).map(|id| (id, f32::NEG_INFINITY)).collect();
    let sampling = Sampling { logit_bias, ..Sampling::GREEDY };
    engine.submit(Request { sampling, ..request() }).unwrap();
    let events = engine.step().events;
    let [Event::Finished { finish: Finish::Error(why), .. }] = &events[..] else {
        panic!("{events:?}")
    };
    assert_snapshot!(why, @"penalties and bias leave no token to choose; weaken them");
}

#[test]
fn files_that_are_missing_or_damaged_are_named() {
    let remove =
        |name: &'static str| move |folder: &Path| fs::remove_file(folder.join(name)).unwrap();
    assert_snapshot!(damaged("llama_gqa", remove("config.json")), @"cannot load `MODEL/config.json`: No such file or directory (os error 2)");
    assert_snapshot!(damaged("llama_gqa", remove("model.safetensors")), @"cannot load `MODEL/model.safetensors`: neither it nor `model.safetensors.index.json` is there; convert weights of another format to safetensors");
    assert_snapshot!(damaged("qwen2_untied_sharded", remove("model-00002-of-00002.safetensors")), @"cannot load `MODEL/model-00002-of-00002.safetensors`: No such file or directory (os error 2)");
    let truncate = |folder: &Path| {
        let path = folder.join("model.safetensors");
        let bytes = fs::read(&path).unwrap();
        fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
    };
    assert_snapshot!(damaged("llama_gqa", truncate), @"cannot load `MODEL/model.safetensors`: not a complete safetensors file: incomplete metadata, file not fully covered");
    let generation = |folder: &Path| fs::write(folder.join("generation_config.json"), "{").unwrap();
    assert_snapshot!(damaged("llama_gqa", generation), @"`MODEL/generation_config.json`: not valid JSON: EOF while parsing an object at line 1 column 1");
    assert_snapshot!(configured("llama_gqa", "{", "["), @"`MODEL/config.json`: not valid JSON: expected `,` or `]` at line 2 column 17");
    let index =
        |folder: &Path| fs::write(folder.join("model.safetensors.index.json"), "{}").unwrap();
    assert_snapshot!(damaged("qwen2_untied_sharded", index), @"cannot load `MODEL/model.safetensors.index.json`: missing field `weight_map` at line 1 column 2");
}

#[test]
fn weights_that_do_not_fit_the_configuration_are_named() {
    assert_snapshot!(configured("llama_gqa", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3"), @"`MODEL` has no tensor `model.layers.2.input_layernorm.weight` (needed with shape [64]); check that `config.json` belongs to these weights");
    assert_snapshot!(configured("llama_gqa", "\"intermediate_size\": 96", "\"intermediate_size\": 95"), @"`MODEL/model.safetensors`: tensor `model.layers.0.mlp.gate_proj.weight` has shape [96, 64], but `config.json` implies [95, 64]");
    let integers = |folder: &Path| {
        let path = folder.join("model.safetensors");
        let device = candle_core::Device::Cpu;
        let mut tensors = candle_core::safetensors::load(&path, &device).unwrap();
        let norm = tensors["model.norm.weight"].to_dtype(candle_core::DType::U32).unwrap();
        tensors.insert("model.norm.weight".into(), norm);
        fs::remove_file(&path).unwrap();
        candle_core::safetensors::save(&tensors, path).unwrap();
    };
    assert_snapshot!(damaged("llama_gqa", integers), @"`MODEL/model.safetensors`: tensor `model.norm.weight` has dtype U32, expected one of F64, F32, F16, BF16; convert the checkpoint first");
}

#[test]
fn configurations_that_we_cannot_compute_are_refused() {
    let llama = |from, to| configured("llama_gqa", from, to);
    assert_snapshot!(llama("\"hidden_size\": 64,", ""), @"`MODEL/config.json`: missing field `hidden_size`");
    assert_snapshot!(llama("\"hidden_size\": 64", "\"hidden_size\": \"64\""), @r#"`MODEL/config.json`: `hidden_size` cannot be read: invalid type: string "64", expected usize"#);
    assert_snapshot!(llama("\"max_position_embeddings\": 512", "\"max_position_embeddings\": 512.5"), @"`MODEL/config.json`: `max_position_embeddings` cannot be read: invalid type: floating point `512.5`, expected usize");
    assert_snapshot!(llama("\"vocab_size\": 256", "\"vocab_size\": 0"), @"`MODEL/config.json`: `vocab_size` is 0");
    assert_snapshot!(llama("\"silu\"", "\"gelu\""), @"`MODEL/config.json`: `hidden_act` is `gelu`; only `silu` and `gelu_pytorch_tanh` are implemented");
    assert_snapshot!(llama("\"num_key_value_heads\": 2", "\"num_key_value_heads\": 3"), @"`MODEL/config.json`: 4 attention heads cannot share 3 key-value heads evenly");
    assert_snapshot!(llama("\"head_dim\": 16", "\"head_dim\": 15"), @"`MODEL/config.json`: 15 of 15 dims cannot be rotated; the number must be even and fit a head");
    assert_snapshot!(llama("\"eos_token_id\": 2", "\"eos_token_id\": \"two\""), @"`MODEL/config.json`: `eos_token_id` is neither a token id nor a list of token ids");
    assert_snapshot!(llama("\"rope_scaling\": null", "\"rope_scaling\": {\"type\": \"dynamic\", \"factor\": 2.0}"), @"`MODEL/config.json`: rope scaling `dynamic` is not implemented (default, linear, llama3, yarn and longrope are); without it long contexts would be wrong");
    assert_snapshot!(llama("\"rope_scaling\": null", "\"rope_scaling\": {\"type\": \"linear\"}"), @"`MODEL/config.json`: rope scaling `linear` needs the key `factor`");
    assert_snapshot!(llama("\"rope_theta\"", "\"layer_types\": [\"chunked_attention\"], \"rope_theta\""), @"`MODEL/config.json`: `layer_types` has `chunked_attention` for layer 0; expected `full_attention` or `sliding_attention`");
    for silent in ["\"quantization_config\": null", "\"is_causal\": null", "\"is_causal\": true"] {
        // A different refusal, about another key.
        let to = format!("{silent}, \"vocab_size\": 255");
        let told = configured("llama_gqa", "\"vocab_size\": 256", &to);
        assert!(told.contains("has shape [256, 64]"), "{silent}: {told}");
    }
    assert_snapshot!(llama("\"vocab_size\"", "\"is_causal\": false, \"vocab_size\""), @"`MODEL/config.json`: `is_causal` is false: bidirectional attention is not implemented for this family");
    assert_snapshot!(llama("\"vocab_size\"", "\"is_causal\": 0, \"vocab_size\""), @"`MODEL/config.json`: `is_causal` is 0; expected `true` or `false`");
    assert_snapshot!(configured("mistral_window8", "\"sliding_window\": 8", "\"sliding_window\": 0"), @"`MODEL/config.json`: `sliding_window` is 0; a token must see at least itself");
}

#[test]
fn weights_that_others_have_quantised_are_refused_with_a_way_out() {
    let llama =
        |keys: &str| configured("llama_gqa", "\"vocab_size\"", &format!("{keys}, \"vocab_size\""));
    assert_snapshot!(llama("\"quantization_config\": {\"quant_method\": \"gptq\", \"bits\": 4}"), @"`MODEL/config.json`: `quantization_config`: the weights are quantised by `gptq`, which is not implemented; load the model in floats (and ask for `quant`), or a GGUF file of it");
    assert_snapshot!(llama("\"quantization_config\": null, \"quantization\": {\"group_size\": 64, \"bits\": 4}"), @"`MODEL/config.json`: `quantization`: the weights are quantised, which is not implemented; load the model in floats (and ask for `quant`), or a GGUF file of it");
}

#[test]
fn configurations_of_families_that_make_no_sense_are_refused() {
    let gemma3n = |from, to| configured("gemma3n_text", from, to);
    assert_snapshot!(gemma3n("\"tie_word_embeddings\": true", "\"tie_word_embeddings\": false"), @"`MODEL/config.json`: `tie_word_embeddings` is false, which is not implemented here");
    assert_snapshot!(gemma3n("\"rope_local_base_freq\": 10000.0", "\"rope_local_base_freq\": 0"), @"`MODEL/config.json`: `rope_local_base_freq` is 0, but must be above 0");
    assert_snapshot!(gemma3n("\"laurel_rank\": 8", "\"laurel_rank\": 0"), @"`MODEL/config.json`: `laurel_rank` is 0");
    assert_snapshot!(gemma3n("\"altup_active_idx\": 0", "\"altup_active_idx\": 4"), @"`MODEL/config.json`: `altup_active_idx` is 4, but there are 4 streams");
    assert_snapshot!(gemma3n("\"num_kv_shared_layers\": 2", "\"num_kv_shared_layers\": 5"), @"`MODEL/config.json`: `num_kv_shared_layers` is 5, which leaves none of 5 layers");
    assert_snapshot!(gemma3n("\"num_kv_shared_layers\": 2", "\"num_kv_shared_layers\": 3"), @"`MODEL/config.json`: layer 2 reads the keys of a lower layer, but none has its mask");
    assert_snapshot!(gemma3n("  0.9,\n", "  1.5,\n"), @"`MODEL/config.json`: `activation_sparsity_pattern` is [1.5, 0.5, 0.0, 0.0, 0.0]; expected a fraction below 1 for each of 5 layers");
    assert_snapshot!(configured("gemma3_text", "\"attention_bias\"", "\"use_bidirectional_attention\": true, \"attention_bias\""), @"`MODEL/config.json`: `use_bidirectional_attention` is set: this model embeds text and cannot generate it");
    assert_snapshot!(configured("qwen3_moe", "\"num_experts_per_tok\": 2", "\"num_experts_per_tok\": 9"), @"`MODEL/config.json`: a token cannot be routed to 9 of 8 experts");
    assert_snapshot!(configured("phi3_longrope", "  1.7\n", "  1.7, 1.8\n"), @"`MODEL/config.json`: `short_factor` has 7 numbers for 6 frequencies");
}

#[test]
fn a_model_that_produces_no_numbers_ends_its_requests_and_the_engine_lives_on() {
    let folder = tempfile::tempdir().unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/llama_gqa");
    fs::copy(golden.join("config.json"), folder.path().join("config.json")).unwrap();
    let device = candle_core::Device::Cpu;
    let mut tensors =
        candle_core::safetensors::load(golden.join("model.safetensors"), &device).unwrap();
    let head = tensors["lm_head.weight"].affine(0.0, f64::NAN).unwrap();
    tensors.insert("lm_head.weight".into(), head);
    candle_core::safetensors::save(&tensors, folder.path().join("model.safetensors")).unwrap();

    let model = ModelSource::Folder { path: folder.path().into() };
    let mut engine = Engine::load(&EngineConfig { model, ..config() }).unwrap();
    for _ in 0..2 {
        let id = engine.submit(request()).unwrap();
        let finish = Finish::Error("the model produced logits that are not finite; choose a dtype of wider range (`f32` or `bf16`), or check its weights".into());
        let usage = Usage { prompt: 3, cached: 0, generated: 0 };
        let end = Event::Finished { request: id, choice: 0, finish, usage };
        assert_eq!(engine.step().events, [end]);
        assert!(engine.is_idle());
        assert_eq!(engine.stats().blocks_used, 0);
        engine.check_integrity().unwrap();
    }
}
