#!/usr/bin/env python3
"""Converts a model folder to GGUF, with the writer of the `gguf` package.

    pip install gguf safetensors numpy torch
    tools/make_gguf.py engine/tests/golden/phi3 phi3.gguf
    tools/make_gguf.py engine/tests/golden/phi3 phi3.gguf --type q8_0
    tools/make_gguf.py engine/tests/golden/phi3 phi3.gguf --split 3    # phi3-00001-of-00003.gguf …

It writes what llama.cpp's converter writes for these architectures: llama (with or without
experts), qwen2, qwen3, qwen3moe, gemma2, gemma3, phi3, starcoder2. What the tests need beyond that
(windows of single layers, a layer without experts, a scale of the scores) is written under the keys
that other architectures use for it.

The engine's tests read files made with it, so that reader and writer have different authors.
"""

import argparse
import json
import math
import pathlib
import sys

import gguf
import numpy as np
from safetensors import safe_open

TYPES = {
    "f32": gguf.GGMLQuantizationType.F32,
    "f16": gguf.GGMLQuantizationType.F16,
    "bf16": gguf.GGMLQuantizationType.BF16,
    "q8_0": gguf.GGMLQuantizationType.Q8_0,
    "q4_0": gguf.GGMLQuantizationType.Q4_0,
}
ARCHITECTURES = {
    "LlamaForCausalLM": "llama",
    "MistralForCausalLM": "llama",
    "MixtralForCausalLM": "llama",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
    "Qwen3MoeForCausalLM": "qwen3moe",
    "Gemma2ForCausalLM": "gemma2",
    "Gemma3ForCausalLM": "gemma3",
    "Phi3ForCausalLM": "phi3",
    "Starcoder2ForCausalLM": "starcoder2",
}


def tensors(folder):
    """Every tensor of the folder as float32, by name."""
    import torch  # reads bf16, which numpy does not know

    found = {}
    for path in sorted(folder.glob("model*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():
                found[name] = file.get_tensor(name).to(torch.float32).numpy()
    return found


def interleave(rows, heads):
    """Puts the rows that are rotated together side by side, head by head."""
    shape = rows.shape
    return rows.reshape(heads, 2, shape[0] // heads // 2, *shape[1:]).swapaxes(1, 2).reshape(shape)


def merged(found):
    """Stacks the experts of each layer."""
    out, experts = {}, {}
    for name, tensor in found.items():
        if ".experts." not in name:
            out[name] = tensor
            continue
        before, rest = name.split(".experts.")
        index, after = rest.split(".", 1)
        experts.setdefault((before, after), {})[int(index)] = tensor
    for (before, after), slices in experts.items():
        out[f"{before}.experts.{after}"] = np.stack([slices[i] for i in range(len(slices))])
    return out


def renamed(name, architecture):
    tops = {
        "model.embed_tokens": "token_embd",
        "model.norm": "output_norm",
        "lm_head": "output",
    }
    inside = {
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.qkv_proj": "attn_qkv",
        "self_attn.o_proj": "attn_output",
        "self_attn.q_norm": "attn_q_norm",
        "self_attn.k_norm": "attn_k_norm",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": (
            "post_attention_norm" if architecture.startswith("gemma") else "ffn_norm"
        ),
        "pre_feedforward_layernorm": "ffn_norm",
        "post_feedforward_layernorm": "post_ffw_norm",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
        "mlp.gate_up_proj": "ffn_up",
        "mlp.c_fc": "ffn_up",
        "mlp.c_proj": "ffn_down",
        "mlp.gate": "ffn_gate_inp",
        "mlp.experts.gate_proj": "ffn_gate_exps",
        "mlp.experts.up_proj": "ffn_up_exps",
        "mlp.experts.down_proj": "ffn_down_exps",
        "block_sparse_moe.gate": "ffn_gate_inp",
        "block_sparse_moe.experts.w1": "ffn_gate_exps",
        "block_sparse_moe.experts.w3": "ffn_up_exps",
        "block_sparse_moe.experts.w2": "ffn_down_exps",
    }
    module, end = name.rsplit(".", 1)
    if module in tops:
        return f"{tops[module]}.{end}"
    layer, module = module.removeprefix("model.layers.").split(".", 1)
    return f"blk.{layer}.{inside[module]}.{end}"


def changed(name, tensor, architecture, config):
    if architecture.startswith("gemma") and name.endswith("norm.weight"):
        return tensor + 1
    if architecture == "llama" and ".q_proj." in name:
        return interleave(tensor, config["num_attention_heads"])
    if architecture == "llama" and ".k_proj." in name:
        return interleave(tensor, config["num_key_value_heads"])
    return tensor


def llama3_divisors(rope, theta, dim):
    """What the frequencies of a head are divided by, as `rope_freqs.weight` has it."""
    low = rope["original_max_position_embeddings"] / rope["low_freq_factor"]
    high = rope["original_max_position_embeddings"] / rope["high_freq_factor"]
    divisors = []
    for frequency in theta ** (-np.arange(0, dim, 2) / dim):
        wavelength = 2 * math.pi / frequency
        if wavelength < high:
            divisors.append(1)
        elif wavelength > low:
            divisors.append(rope["factor"])
        else:
            smooth = (rope["original_max_position_embeddings"] / wavelength) - rope["low_freq_factor"]
            smooth /= rope["high_freq_factor"] - rope["low_freq_factor"]
            divisors.append(1 / ((1 - smooth) / rope["factor"] + smooth))
    return np.array(divisors, dtype=np.float32)


def stretched(writer, config, dim):
    """Writes how positions are stretched; gives the tensors that belong to it."""
    rope = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    kind = rope.get("rope_type", rope.get("type"))
    theta = config.get("rope_theta", rope.get("rope_theta"))
    writer.add_rope_freq_base(theta)
    original = rope.get("original_max_position_embeddings") or config.get(
        "original_max_position_embeddings"
    )
    if kind == "llama3":
        return {"rope_freqs.weight": llama3_divisors(rope, theta, dim)}
    if kind == "longrope":
        writer.add_rope_scaling_orig_ctx_len(original)
        scale = config["max_position_embeddings"] / original
        writer.add_rope_scaling_attn_factors(math.sqrt(1 + math.log(scale) / math.log(original)))
        return {
            "rope_factors_long.weight": np.array(rope["long_factor"], dtype=np.float32),
            "rope_factors_short.weight": np.array(rope["short_factor"], dtype=np.float32),
        }
    if kind == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])
    elif kind == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(rope["factor"])
        writer.add_rope_scaling_orig_ctx_len(original)
    elif kind not in (None, "default"):
        sys.exit(f"GGUF has no representation of rope scaling {kind}")
    return {}


def windows(writer, config, architecture, layers):
    window = config.get("sliding_window")
    if architecture == "qwen2" or architecture.startswith("qwen3"):
        window = window if config.get("use_sliding_window") else None
    if not window:
        return
    writer.add_sliding_window(window)
    if architecture == "qwen2":
        first = config.get("max_window_layers", 28)
        writer.add_sliding_window_pattern([layer >= first for layer in range(layers)])
    elif architecture == "gemma2":
        writer.add_sliding_window_pattern(2)
    elif architecture == "gemma3":
        writer.add_sliding_window_pattern(config["sliding_window_pattern"])


def describe(writer, config, architecture):
    layers, heads = config["num_hidden_layers"], config["num_attention_heads"]
    dim = config.get("head_dim") or config["hidden_size"] // heads
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(layers)
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(dim)
    writer.add_value_length(dim)
    turning = int(dim * config.get("partial_rotary_factor", 1.0))
    writer.add_rope_dimension_count(turning)
    if architecture == "starcoder2":
        writer.add_layer_norm_eps(config["norm_epsilon"])
    else:
        writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    if architecture.startswith("gemma"):
        writer.add_attention_scale(config["query_pre_attn_scalar"] ** -0.5)
        if config.get("attn_logit_softcapping"):
            writer.add_attn_logit_softcapping(config["attn_logit_softcapping"])
        if config.get("final_logit_softcapping"):
            writer.add_final_logit_softcapping(config["final_logit_softcapping"])
    experts = config.get("num_experts") or config.get("num_local_experts")
    if experts:
        writer.add_expert_count(experts)
        writer.add_expert_used_count(config["num_experts_per_tok"])
    if config.get("moe_intermediate_size"):
        writer.add_expert_feed_forward_length(config["moe_intermediate_size"])
    windows(writer, config, architecture, layers)
    return stretched(writer, config, turning)


def toy_tokenizer(writer, config):
    """The tokens of the golden models: `<pad> <bos> <eos> <unk>`, then `t4`, `t5` and so on."""
    tokens = ["<pad>", "<bos>", "<eos>", "<unk>"]
    tokens += [f"t{i}" for i in range(len(tokens), config["vocab_size"])]
    types = [gguf.TokenType.CONTROL] * 3 + [gguf.TokenType.UNKNOWN]
    types += [gguf.TokenType.NORMAL] * (len(tokens) - len(types))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(3)
    writer.add_pad_token_id(0)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=pathlib.Path, help="with config.json and safetensors")
    parser.add_argument("out", type=pathlib.Path, help="the file to write")
    parser.add_argument(
        "--type", choices=TYPES, default="f32", help="for matrices whose rows are whole blocks"
    )
    parser.add_argument("--split", type=int, default=1, help="the number of files")
    chosen = parser.parse_args()

    config = json.loads((chosen.folder / "config.json").read_text())
    architecture = ARCHITECTURES[config["architectures"][0]]
    found = tensors(chosen.folder)
    if config.get("tie_word_embeddings", architecture == "starcoder2"):
        found.pop("lm_head.weight", None)
    most = 0 if chosen.split == 1 else -(-(len(merged(found)) + 3) // chosen.split)
    writer = gguf.GGUFWriter(chosen.out, architecture, split_max_tensors=most)
    extra = describe(writer, config, architecture)
    toy_tokenizer(writer, config)
    kind = TYPES[chosen.type]
    block, _ = gguf.GGML_QUANT_SIZES[kind]
    for name, tensor in merged(found).items():
        tensor = changed(name, tensor, architecture, config)
        name = renamed(name, architecture)
        # Norms, biases and routers stay as they are, and so do rows that are not whole blocks.
        dense = tensor.ndim == 1 or "ffn_gate_inp" in name or tensor.shape[-1] % block
        own = TYPES["f32"] if dense else kind
        tensor = np.ascontiguousarray(tensor)
        writer.add_tensor(name, gguf.quants.quantize(tensor, own), raw_dtype=own)
    for name, tensor in extra.items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
