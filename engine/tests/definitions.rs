//! Families without reference outputs, tested against their published definitions.
//!
//! The oracle below shares nothing with the engine but the random weights, which it fetches by
//! their names on the hub: f64 numbers in plain loops, no tensors, no cache, no packing, the whole
//! sequence at once. Each family is written out as its paper and the transformers documentation
//! define it, not as options of a common stack. It proves that we compute what we think the
//! definition says; unlike the golden data it cannot prove that we read the definition correctly.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use serde_json::Value;
use windtunnel_engine::attention::backends_for;
use windtunnel_engine::engine::StepObserver;
use windtunnel_engine::models::MODELS;
use windtunnel_engine::models::config::ConfigFile;
use windtunnel_engine::pass::{Observer, Place};
use windtunnel_engine::scheduler::Grant;
use windtunnel_engine::weights::{Preset, Random, Source};
use windtunnel_engine::{
    Choice, CudaGraphs, Dtype, Engine, EngineConfig, Eos, Event, ModelSource, PrefixCache,
    QuantPlan, Request, Sampling, Topology, Truncation,
};

const SEED: u64 = 11;

/// Logits of every position, by preset.
type Definition = fn(&Model, &[u32]) -> Rows;
const DEFINITIONS: &[(&str, Definition)] = &[
    ("tiny-glm4", glm4),
    ("tiny-granite", granite),
    ("tiny-mixtral", mixtral),
    ("tiny-olmo2", olmo2),
    ("tiny-qwen2-moe", qwen2_moe),
    ("tiny-smollm3", smollm3),
    ("tiny-starcoder2", starcoder2),
];

/// Rows of numbers, one for each token.
type Rows = Vec<Vec<f64>>;

/// Mixtral (Jiang et al. 2024): instead of a feed-forward block, the two experts with the largest
/// router scores, weighted by the softmax over those two scores.
fn mixtral(m: &Model, tokens: &[u32]) -> Rows {
    let (experts, asked) = (m.size("num_local_experts"), m.size("num_experts_per_tok"));
    let width = m.size("intermediate_size");
    let out = stack(m, tokens, 1.0, |at, _, x| {
        let x = add(&x, &self_attention(m, at, &m.rms(&format!("{at}.input_layernorm"), &x)));
        let normed = m.rms(&format!("{at}.post_attention_layernorm"), &x);
        let at = format!("{at}.block_sparse_moe");
        let scores = m.linear(&format!("{at}.gate"), &normed, experts);
        let fed = normed.iter().zip(&scores).map(|(row, scores)| {
            let best = largest(scores, asked);
            let total: f64 = best.iter().map(|&expert| scores[expert].exp()).sum();
            let mut sum = vec![vec![0.0; row.len()]];
            for expert in best {
                let at = format!("{at}.experts.{expert}");
                let output = swiglu(m, &at, ["w1", "w3", "w2"], &vec![row.clone()], width);
                sum = add(&sum, &map(&output, |y| scores[expert].exp() / total * y));
            }
            sum.remove(0)
        });
        add(&x, &fed.collect())
    });
    m.own_head(&m.rms("model.norm", &out))
}

/// Qwen 2 MoE (Qwen team 2024): the experts with the largest scores, weighted by the softmax over
/// all scores, and a shared expert times the sigmoid of its own score; queries, keys and values
/// have biases.
fn qwen2_moe(m: &Model, tokens: &[u32]) -> Rows {
    let [heads, kv_heads, dim] = m.heads();
    let (experts, asked) = (m.size("num_experts"), m.size("num_experts_per_tok"));
    let names = ["gate_proj", "up_proj", "down_proj"];
    let out = stack(m, tokens, 1.0, |at, layer, x| {
        let normed = m.rms(&format!("{at}.input_layernorm"), &x);
        let projected =
            |name: &str, heads| m.biased(&format!("{at}.self_attn.{name}"), &normed, heads * dim);
        let turn = |x: Rows| rotate(&x, dim, dim, m.number("rope_theta"), halves);
        let (q, k) = (turn(projected("q_proj", heads)), turn(projected("k_proj", kv_heads)));
        let (v, scale) = (projected("v_proj", kv_heads), (dim as f64).powf(-0.5));
        let seen = attend(&q, &k, &v, m.heads(), scale, None);
        let seen = m.linear(&format!("{at}.self_attn.o_proj"), &seen, m.size("hidden_size"));
        let x = add(&x, &seen);
        let normed = m.rms(&format!("{at}.post_attention_layernorm"), &x);
        let dense = m.keys["mlp_only_layers"].as_array().unwrap();
        if dense.iter().any(|dense| dense.as_u64() == Some(layer as u64)) {
            return add(&x, &gated(m, at, &normed));
        }
        let at = format!("{at}.mlp");
        let scores = m.linear(&format!("{at}.gate"), &normed, experts);
        let shared = m.linear(&format!("{at}.shared_expert_gate"), &normed, 1);
        let fed = normed.iter().zip(scores.iter().zip(&shared)).map(|(row, (scores, shared))| {
            let row = vec![row.clone()];
            let total: f64 = scores.iter().map(|score| score.exp()).sum();
            let width = m.size("shared_expert_intermediate_size");
            let output = swiglu(m, &format!("{at}.shared_expert"), names, &row, width);
            let mut sum = map(&output, |y| y / (1.0 + (-shared[0]).exp()));
            for expert in largest(scores, asked) {
                let at = format!("{at}.experts.{expert}");
                let output = swiglu(m, &at, names, &row, m.size("moe_intermediate_size"));
                sum = add(&sum, &map(&output, |y| scores[expert].exp() / total * y));
            }
            sum.remove(0)
        });
        add(&x, &fed.collect())
    });
    m.own_head(&m.rms("model.norm", &out))
}

/// The indices of the `count` largest numbers.
fn largest(numbers: &[f64], count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..numbers.len()).collect();
    order.sort_by(|&a, &b| numbers[b].total_cmp(&numbers[a]));
    order.truncate(count);
    order
}

/// OLMo 2 (Team OLMo 2024): blocks read the residual stream as it is, and their outputs are
/// normalised before they are added; queries and keys are normalised over all heads together.
fn olmo2(m: &Model, tokens: &[u32]) -> Rows {
    let [heads, kv_heads, dim] = m.heads();
    let out = stack(m, tokens, 1.0, |at, _, x| {
        let projected =
            |name: &str, heads| m.linear(&format!("{at}.self_attn.{name}"), &x, heads * dim);
        let q = m.rms(&format!("{at}.self_attn.q_norm"), &projected("q_proj", heads));
        let k = m.rms(&format!("{at}.self_attn.k_norm"), &projected("k_proj", kv_heads));
        let turn = |x: &Rows| rotate(x, dim, dim, m.number("rope_theta"), halves);
        let scale = (dim as f64).powf(-0.5);
        let seen =
            attend(&turn(&q), &turn(&k), &projected("v_proj", kv_heads), m.heads(), scale, None);
        let seen = m.linear(&format!("{at}.self_attn.o_proj"), &seen, m.size("hidden_size"));
        let x = add(&x, &m.rms(&format!("{at}.post_attention_layernorm"), &seen));
        add(&x, &m.rms(&format!("{at}.post_feedforward_layernorm"), &gated(m, at, &x)))
    });
    m.own_head(&m.rms("model.norm", &out))
}

/// SmolLM 3 (Hugging Face 2025): Llama, but layers marked 0 do not rotate queries and keys.
fn smollm3(m: &Model, tokens: &[u32]) -> Rows {
    let out = stack(m, tokens, 1.0, |at, layer, x| {
        let normed = m.rms(&format!("{at}.input_layernorm"), &x);
        let attended = match m.keys["no_rope_layers"][layer].as_u64().unwrap() {
            0 => projected_attention(m, at, &normed, Rows::clone),
            _ => self_attention(m, at, &normed),
        };
        let x = add(&x, &attended);
        add(&x, &gated(m, at, &m.rms(&format!("{at}.post_attention_layernorm"), &x)))
    });
    m.tied_head(&m.rms("model.norm", &out))
}

/// Granite 3 (IBM 2024): Llama with factors on the embeddings, on the scores and on the output of
/// each block, and a divisor of the logits.
fn granite(m: &Model, tokens: &[u32]) -> Rows {
    let factor = m.number("residual_multiplier");
    let [heads, kv_heads, dim] = m.heads();
    let out = stack(m, tokens, m.number("embedding_multiplier"), |at, _, x| {
        let normed = m.rms(&format!("{at}.input_layernorm"), &x);
        let projected =
            |name: &str, heads| m.linear(&format!("{at}.self_attn.{name}"), &normed, heads * dim);
        let turn = |x: Rows| rotate(&x, dim, dim, m.number("rope_theta"), halves);
        let (q, k) = (turn(projected("q_proj", heads)), turn(projected("k_proj", kv_heads)));
        let v = projected("v_proj", kv_heads);
        let seen = attend(&q, &k, &v, m.heads(), m.number("attention_multiplier"), None);
        let seen = m.linear(&format!("{at}.self_attn.o_proj"), &seen, m.size("hidden_size"));
        let x = add(&x, &map(&seen, |number| factor * number));
        let normed = m.rms(&format!("{at}.post_attention_layernorm"), &x);
        let wide = |name: &str| {
            let name = format!("{at}.mlp.{name}");
            m.biased(&name, &normed, m.size("intermediate_size"))
        };
        let inside = times(&map(&wide("gate_proj"), silu), &wide("up_proj"));
        let fed = m.biased(&format!("{at}.mlp.down_proj"), &inside, m.size("hidden_size"));
        add(&x, &map(&fed, |number| factor * number))
    });
    let logits = m.own_head(&m.rms("model.norm", &out));
    map(&logits, |logit| logit / m.number("logits_scaling"))
}

/// StarCoder 2 (Lozhkov et al. 2024): layer norms, biases everywhere, a window in every layer, and
/// a feed-forward block of two matrices with GELU between them.
fn starcoder2(m: &Model, tokens: &[u32]) -> Rows {
    let [heads, kv_heads, dim] = m.heads();
    let hidden = m.size("hidden_size");
    let out = stack(m, tokens, 1.0, |at, _, x| {
        let normed = m.layer_norm(&format!("{at}.input_layernorm"), &x);
        let projected =
            |name: &str, heads| m.biased(&format!("{at}.self_attn.{name}"), &normed, heads * dim);
        let turn = |x: Rows| rotate(&x, dim, dim, m.number("rope_theta"), halves);
        let (q, k) = (turn(projected("q_proj", heads)), turn(projected("k_proj", kv_heads)));
        let (v, scale) = (projected("v_proj", kv_heads), (dim as f64).powf(-0.5));
        let seen = attend(&q, &k, &v, m.heads(), scale, Some(m.size("sliding_window")));
        let x = add(&x, &m.biased(&format!("{at}.self_attn.o_proj"), &seen, hidden));
        let normed = m.layer_norm(&format!("{at}.post_attention_layernorm"), &x);
        let wide = m.biased(&format!("{at}.mlp.c_fc"), &normed, m.size("intermediate_size"));
        add(&x, &m.biased(&format!("{at}.mlp.c_proj"), &map(&wide, gelu), hidden))
    });
    m.own_head(&m.layer_norm("model.norm", &out))
}

/// GLM 4 (GLM team 2025, the 0414 models): half of each head rotates, in pairs of neighbouring
/// dims; a norm before each block and one on its output; gate and up are one matrix.
fn glm4(m: &Model, tokens: &[u32]) -> Rows {
    let [heads, kv_heads, dim] = m.heads();
    let (hidden, width) = (m.size("hidden_size"), m.size("intermediate_size"));
    let out = stack(m, tokens, 1.0, |at, _, x| {
        let normed = m.rms(&format!("{at}.input_layernorm"), &x);
        let projected =
            |name: &str, heads| m.biased(&format!("{at}.self_attn.{name}"), &normed, heads * dim);
        let turn =
            |x: Rows| rotate(&x, dim, dim / 2, m.number("rope_theta"), |i, _| (2 * i, 2 * i + 1));
        let (q, k) = (turn(projected("q_proj", heads)), turn(projected("k_proj", kv_heads)));
        let (v, scale) = (projected("v_proj", kv_heads), (dim as f64).powf(-0.5));
        let seen = attend(&q, &k, &v, m.heads(), scale, None);
        let seen = m.linear(&format!("{at}.self_attn.o_proj"), &seen, hidden);
        let x = add(&x, &m.rms(&format!("{at}.post_self_attn_layernorm"), &seen));
        let normed = m.rms(&format!("{at}.post_attention_layernorm"), &x);
        let both = m.linear(&format!("{at}.mlp.gate_up_proj"), &normed, 2 * width);
        let inside = both.iter().map(|row| {
            let (gate, up) = row.split_at(width);
            gate.iter().zip(up).map(|(gate, up)| silu(*gate) * up).collect()
        });
        let fed = m.linear(&format!("{at}.mlp.down_proj"), &inside.collect(), hidden);
        add(&x, &m.rms(&format!("{at}.post_mlp_layernorm"), &fed))
    });
    m.own_head(&m.rms("model.norm", &out))
}

/// The attention of Llama and its kin, before the first residual sum.
fn self_attention(m: &Model, at: &str, normed: &Rows) -> Rows {
    let dim = m.heads()[2];
    projected_attention(m, at, normed, |x| rotate(x, dim, dim, m.number("rope_theta"), halves))
}

fn projected_attention(m: &Model, at: &str, x: &Rows, turn: impl Fn(&Rows) -> Rows) -> Rows {
    let [heads, kv_heads, dim] = m.heads();
    let projected = |name: &str, heads| m.linear(&format!("{at}.self_attn.{name}"), x, heads * dim);
    let (q, k) = (turn(&projected("q_proj", heads)), turn(&projected("k_proj", kv_heads)));
    let (v, scale) = (projected("v_proj", kv_heads), (dim as f64).powf(-0.5));
    let seen = attend(&q, &k, &v, m.heads(), scale, None);
    m.linear(&format!("{at}.self_attn.o_proj"), &seen, x[0].len())
}

/// The feed-forward block of Llama and its kin, before the second residual sum.
fn gated(m: &Model, at: &str, x: &Rows) -> Rows {
    let names = ["gate_proj", "up_proj", "down_proj"];
    swiglu(m, &format!("{at}.mlp"), names, x, m.size("intermediate_size"))
}

/// `down(silu(gate(x)) · up(x))`.
fn swiglu(m: &Model, at: &str, [gate, up, down]: [&str; 3], x: &Rows, width: usize) -> Rows {
    let wide = |name: &str| m.linear(&format!("{at}.{name}"), x, width);
    let inside = times(&map(&wide(gate), silu), &wide(up));
    m.linear(&format!("{at}.{down}"), &inside, x[0].len())
}

/// The embeddings times `scale`, passed through `layer(name, index, stream)` for each layer.
fn stack(m: &Model, tokens: &[u32], scale: f64, layer: impl Fn(&str, usize, Rows) -> Rows) -> Rows {
    let table = m.embedding();
    let mut x: Rows = tokens.iter().map(|&token| table[token as usize].clone()).collect();
    x = map(&x, |number| scale * number);
    for index in 0..m.size("num_hidden_layers") {
        x = layer(&format!("model.layers.{index}"), index, x);
    }
    x
}

/// Token `i` sees `j ≤ i`, with a window `i − j < window`; query heads share key heads in turn.
fn attend(
    q: &Rows,
    k: &Rows,
    v: &Rows,
    [heads, kv_heads, dim]: [usize; 3],
    scale: f64,
    window: Option<usize>,
) -> Rows {
    let mut out = vec![vec![0.0; heads * dim]; q.len()];
    for i in 0..q.len() {
        for head in 0..heads {
            let (mine, theirs) = (head * dim, head / (heads / kv_heads) * dim);
            let seen = (0..=i).filter(|j| window.is_none_or(|window| i - j < window));
            let score = |j: usize| -> f64 {
                (0..dim).map(|d| q[i][mine + d] * k[j][theirs + d]).sum::<f64>() * scale
            };
            let weights: Vec<(usize, f64)> = seen.map(|j| (j, score(j).exp())).collect();
            let total: f64 = weights.iter().map(|(_, weight)| weight).sum();
            for (j, weight) in weights {
                for d in 0..dim {
                    out[i][mine + d] += weight / total * v[j][theirs + d];
                }
            }
        }
    }
    out
}

/// Rotates the first `part` dims of each head of `dim` by the position of its row. `pair(i, part)`
/// returns the two dims that angle `i` rotates.
fn rotate(
    x: &Rows,
    dim: usize,
    part: usize,
    theta: f64,
    pair: impl Fn(usize, usize) -> (usize, usize),
) -> Rows {
    let mut out = x.clone();
    for (position, row) in out.iter_mut().enumerate() {
        for head in row.chunks_mut(dim) {
            for i in 0..part / 2 {
                let angle = position as f64 * theta.powf(-2.0 * i as f64 / part as f64);
                let (a, b) = pair(i, part);
                let (x, y) = (head[a], head[b]);
                head[a] = x * angle.cos() - y * angle.sin();
                head[b] = y * angle.cos() + x * angle.sin();
            }
        }
    }
    out
}

fn halves(i: usize, part: usize) -> (usize, usize) {
    (i, i + part / 2)
}

fn silu(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

fn gelu(x: f64) -> f64 {
    let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
    0.5 * x * (1.0 + u.tanh())
}

fn map(x: &Rows, f: impl Fn(f64) -> f64) -> Rows {
    x.iter().map(|row| row.iter().map(|number| f(*number)).collect()).collect()
}

fn zip(a: &Rows, b: &Rows, f: impl Fn(f64, f64) -> f64) -> Rows {
    let row = |(a, b): (&Vec<f64>, &Vec<f64>)| a.iter().zip(b).map(|(a, b)| f(*a, *b)).collect();
    a.iter().zip(b).map(row).collect()
}

fn add(a: &Rows, b: &Rows) -> Rows {
    zip(a, b, |a, b| a + b)
}

fn times(a: &Rows, b: &Rows) -> Rows {
    zip(a, b, |a, b| a * b)
}

/// The weights and the configuration of a preset.
struct Model {
    weights: Random,
    /// The weights are rounded to it.
    dtype: DType,
    keys: Value,
}

impl Model {
    fn number(&self, key: &str) -> f64 {
        self.keys[key].as_f64().unwrap_or_else(|| panic!("no number `{key}`"))
    }

    fn size(&self, key: &str) -> usize {
        self.number(key) as usize
    }

    /// Query heads, key heads, head dim.
    fn heads(&self) -> [usize; 3] {
        let heads = self.size("num_attention_heads");
        let dim = match self.keys.get("head_dim") {
            Some(_) => self.size("head_dim"),
            None => self.size("hidden_size") / heads,
        };
        [heads, self.size("num_key_value_heads"), dim]
    }

    fn numbers(&self, name: &str, shape: &[usize]) -> Vec<f64> {
        let tensor = self.weights.tensor(name, shape, self.dtype, &Device::Cpu).unwrap();
        tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    fn embedding(&self) -> Rows {
        let [vocabulary, hidden] = [self.size("vocab_size"), self.size("hidden_size")];
        let numbers = self.numbers("model.embed_tokens.weight", &[vocabulary, hidden]);
        numbers.chunks(hidden).map(<[f64]>::to_vec).collect()
    }

    fn linear(&self, name: &str, x: &Rows, outputs: usize) -> Rows {
        let inputs = x[0].len();
        product(&self.numbers(&format!("{name}.weight"), &[outputs, inputs]), x)
    }

    fn biased(&self, name: &str, x: &Rows, outputs: usize) -> Rows {
        let bias = self.numbers(&format!("{name}.bias"), &[outputs]);
        add(&self.linear(name, x, outputs), &vec![bias; x.len()])
    }

    fn rms(&self, name: &str, x: &Rows) -> Rows {
        let weight = self.numbers(&format!("{name}.weight"), &[x[0].len()]);
        let normed = x.iter().map(|row| {
            let mean = row.iter().map(|x| x * x).sum::<f64>() / row.len() as f64;
            let size = (mean + self.number("rms_norm_eps")).sqrt();
            row.iter().zip(&weight).map(|(x, weight)| x / size * weight).collect()
        });
        normed.collect()
    }

    fn layer_norm(&self, name: &str, x: &Rows) -> Rows {
        let weight = self.numbers(&format!("{name}.weight"), &[x[0].len()]);
        let bias = self.numbers(&format!("{name}.bias"), &[x[0].len()]);
        let normed = x.iter().map(|row| {
            let mean = row.iter().sum::<f64>() / row.len() as f64;
            let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / row.len() as f64;
            let size = (variance + self.number("norm_epsilon")).sqrt();
            let parts = row.iter().zip(weight.iter().zip(&bias));
            parts.map(|(x, (weight, bias))| (x - mean) / size * weight + bias).collect()
        });
        normed.collect()
    }

    fn own_head(&self, x: &Rows) -> Rows {
        self.linear("lm_head", x, self.size("vocab_size"))
    }

    fn tied_head(&self, x: &Rows) -> Rows {
        product(&self.embedding().concat(), x)
    }
}

/// `x · wᵀ`.
fn product(w: &[f64], x: &Rows) -> Rows {
    let dot = |row: &[f64], w: &[f64]| row.iter().zip(w).map(|(x, w)| x * w).sum();
    x.iter().map(|row| w.chunks(row.len()).map(|w| dot(row, w)).collect()).collect()
}

/// The engine's output for `prompt` and eight more tokens: all tokens, and the logits of all
/// positions but the last.
fn engine(
    preset: &str,
    dtype: Dtype,
    backend: &str,
    step_tokens: usize,
    prompt: &[u32],
) -> (Vec<u32>, Rows) {
    let mut engine = Engine::load(&EngineConfig {
        model: ModelSource::Preset { name: preset.into(), seed: SEED },
        dtype,
        quant: QuantPlan::DENSE,
        devices: "cpu:0".parse().unwrap(),
        topology: Topology::NONE,
        kv: "paged-16".parse().unwrap(),
        attention: Choice::Named(backend.into()),
        prefix_cache: PrefixCache::Off,
        cuda_graphs: CudaGraphs::On,
        kv_tokens: 128,
        max_step_tokens: step_tokens,
        max_sequences: 1,
        max_sequence_length: Some(128),
    })
    .unwrap();
    let request = Request {
        prompt: prompt.into(),
        max_tokens: Some(8),
        sampling: Sampling::GREEDY,
        stop: Vec::new(),
        eos: Eos::Ignore,
        truncation: Truncation::Refuse,
        choices: 1,
        prefix_cache: PrefixCache::Off,
    };
    engine.submit(request).unwrap();
    let (mut tokens, mut logits) = (prompt.to_vec(), Logits::default());
    while !engine.is_idle() {
        for event in engine.step_observed(&mut logits).events {
            if let Event::Token { token, .. } = event {
                tokens.push(token);
            }
        }
    }
    (tokens, logits.0)
}

/// Logits in the order of the positions of the only sequence.
#[derive(Default)]
struct Logits(Rows);

impl Observer for Logits {
    fn observe(&mut self, place: Place, x: &Tensor) {
        if place == Place::Logits {
            self.0.extend(x.to_dtype(DType::F64).unwrap().to_vec2::<f64>().unwrap());
        }
    }
}

impl StepObserver for Logits {
    fn rows(&mut self, _: &[Grant]) {}
}

#[test]
fn families_without_reference_data_compute_their_definitions() {
    // Longer than any window or block.
    let prompt: Vec<u32> = (0..45).map(|at| (at * 37 + 5) % 1000).collect();
    for (preset, definition) in DEFINITIONS {
        let keys = Preset::named(preset).unwrap().config().unwrap().keys().unwrap();
        let model = Model { weights: Random::new(SEED), dtype: DType::F32, keys };
        for backend in backends_for(&Device::Cpu).map(|backend| backend.name()) {
            for step_tokens in [7, 512] {
                let (tokens, found) = engine(preset, Dtype::F32, backend, step_tokens, &prompt);
                let expected = definition(&model, &tokens[..tokens.len() - 1]);
                assert_eq!(found.len(), expected.len(), "{preset}");
                let largest = expected.iter().flatten().fold(0.0, |max: f64, x| max.max(x.abs()));
                assert!(largest > 1.0, "{preset}: logits of {largest} prove nothing");
                for (position, (found, expected)) in found.iter().zip(&expected).enumerate() {
                    for (found, expected) in found.iter().zip(expected) {
                        // Phrased so that a NaN fails.
                        assert!(
                            (found - expected).abs() <= 2e-5 * largest,
                            "{preset} {backend} step={step_tokens}, position {position}: {found} instead of {expected}"
                        );
                    }
                }
            }
        }
    }
}

/// Half precision rounds every sum, and a rounded score may choose another expert: the test bounds
/// the root mean square of all differences, relative to that of all logits.
#[test]
fn halves_compute_the_definitions_as_well_as_their_digits_allow() {
    let prompt: Vec<u32> = (0..45).map(|at| (at * 37 + 5) % 1000).collect();
    for (dtype, halves, allowed) in
        [(Dtype::F16, DType::F16, 1e-2), (Dtype::Bf16, DType::BF16, 1e-1)]
    {
        for (preset, definition) in DEFINITIONS {
            let keys = Preset::named(preset).unwrap().config().unwrap().keys().unwrap();
            let model = Model { weights: Random::new(SEED), dtype: halves, keys };
            let (tokens, found) = engine(preset, dtype, "cpu-flash", 512, &prompt);
            let expected = definition(&model, &tokens[..tokens.len() - 1]);
            let size = |x: &Rows| x.iter().flatten().map(|x| x * x).sum::<f64>().sqrt();
            let error = size(&zip(&found, &expected, |a, b| a - b)) / size(&expected);
            // Phrased so that a NaN fails.
            assert!(error <= allowed, "{preset} {halves:?}: {error}");
        }
    }
}

#[test]
fn every_family_is_held_to_reference_data_or_to_its_definition() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut held: Vec<String> = Vec::new();
    for entry in std::fs::read_dir(golden).unwrap() {
        let path = entry.unwrap().path().join("config.json");
        if let Ok(text) = std::fs::read_to_string(&path) {
            let config = ConfigFile::parse(path.display().to_string(), &text).unwrap();
            held.extend(config.architectures().unwrap());
        }
    }
    for (preset, _) in DEFINITIONS {
        held.push(Preset::named(preset).unwrap().architecture().unwrap().into());
    }
    for entry in MODELS {
        assert!(held.iter().any(|name| name == entry.architecture), "{}", entry.architecture);
    }
}
