#!/usr/bin/env python3
"""Makes a reference that `windtunnel run guards/parity --models FOLDER` compares the engine with.

The folder has the model (config.json, model.safetensors, tokenizer if there is one) and
golden.safetensors: the prompt, the logits of Hugging Face transformers for each of its tokens,
hidden states, and the greedy continuation. Everything is computed in f32 on the CPU with eager
attention.

    pip install torch transformers safetensors
    tools/dump_reference.py Qwen/Qwen3-0.6B references/qwen3-0.6b
    tools/dump_reference.py --config config.json references/mine        # random weights for these shapes
    windtunnel run guards/parity --models references/mine

For an embedding model (--embeds), the file has a padded batch, and what sentence-transformers makes
of it, module by module:

    pip install sentence-transformers
    tools/dump_reference.py --embeds Qwen/Qwen3-Embedding-0.6B references/qwen3-embedding-0.6b

Weights are stored as the checkpoint has them, so that the engine reads what it would read; the
reference computes with them in f32.
"""

import argparse
import json
import pathlib
import sys

import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

TEXT = (
    "A wind tunnel shows what the air does to a thing that stands still. "
    "Nothing is proven by one run: the same wing is measured again, and again tomorrow."
)


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", help="a hub id or a local folder")
    parser.add_argument("out", type=pathlib.Path, help="the folder to write")
    parser.add_argument("--config", type=pathlib.Path, help="a config.json; weights are random")
    parser.add_argument("--embeds", action="store_true", help="it is an embedding model")
    parser.add_argument("--revision", help="a branch, tag or commit of the hub repository")
    parser.add_argument("--text", default=TEXT, help="the prompt, if there is a tokenizer")
    parser.add_argument("--tokens", type=int, default=64, help="most tokens of the prompt")
    parser.add_argument("--new", type=int, default=16, help="tokens of the continuation")
    parser.add_argument("--seed", type=int, default=1, help="for random weights and prompts")
    chosen = parser.parse_args()
    if (chosen.model is None) == (chosen.config is None):
        parser.error("name either a model or --config")
    if chosen.embeds and chosen.config is not None:
        parser.error("--embeds needs a model: pooling and tokenizer are no part of a config.json")
    return chosen


def load(chosen):
    """The model in f32, and its tokenizer or None."""
    if chosen.config is not None:
        config = AutoConfig.for_model(**json.loads(chosen.config.read_text()))
        model = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
        spread(model)
        return model.float().eval(), None
    model = AutoModelForCausalLM.from_pretrained(
        chosen.model, revision=chosen.revision, dtype="auto", attn_implementation="eager"
    )
    try:
        tokenizer = AutoTokenizer.from_pretrained(chosen.model, revision=chosen.revision)
    except (OSError, ValueError) as error:
        print(f"no tokenizer ({error}): the prompt is random", file=sys.stderr)
        tokenizer = None
    return model.eval(), tokenizer


def spread(model):
    """Widens random weights: freshly initialised ones give logits too flat to reveal errors."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() >= 2:
                parameter.normal_(std=1.6 / parameter.shape[-1] ** 0.5)
            else:
                parameter.add_(torch.randn_like(parameter) * 0.2)


def prompt(chosen, model, tokenizer):
    if tokenizer is not None:
        return tokenizer(chosen.text, return_tensors="pt").input_ids[:, : chosen.tokens]
    # The first few ids are often special tokens.
    low = min(4, model.config.get_text_config().vocab_size - 1)
    return torch.randint(low, model.config.get_text_config().vocab_size, (1, chosen.tokens))


def continuation(model, ids, new):
    """Greedy, with one full pass for each token: no cache that could be wrong."""
    start = ids.shape[1]
    for _ in range(new):
        logits = model(ids, use_cache=False).logits[:, -1]
        ids = torch.cat([ids, logits.argmax(-1, keepdim=True)], dim=1)
    return ids[0, start:]


def hidden_states(model, ids):
    """The hidden states before and after the first layer, and after the final norm."""
    states = model(ids, use_cache=False, output_hidden_states=True).hidden_states
    names = {"hidden_embed": 0, "hidden_norm": -1}
    # transformers shows the output of the last layer only after the norm.
    if len(states) > 2:
        names["hidden_layer0"] = 1
    return {name: states[index].float() for name, index in names.items()}


def dump_embedding(chosen):
    """A batch of texts of unequal length, and what each module makes of it."""
    from sentence_transformers import SentenceTransformer

    loaded = SentenceTransformer(
        chosen.model,
        revision=chosen.revision,
        device="cpu",
        model_kwargs={"dtype": "auto", "attn_implementation": "eager"},
    )
    loaded.save_pretrained(str(chosen.out), safe_serialization=True, create_model_card=False)
    # Only the body is saved, under another name; the engine knows the published one.
    published = AutoConfig.from_pretrained(chosen.model, revision=chosen.revision).architectures
    path = chosen.out / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "architectures": published}, indent=2))
    loaded = loaded.float().eval()
    loaded.tokenizer.padding_side = "right"
    words = chosen.text.split()
    texts = [chosen.text, " ".join(words[: len(words) // 2]), words[0]]
    # Older versions have another name for it.
    read = getattr(loaded, "preprocess", None) or loaded.tokenize
    features = dict(read(texts))
    tensors = {name: features[name] for name in ("input_ids", "attention_mask")}
    dense = 0
    for module in loaded:
        features = module(features)
        kind = type(module).__name__
        if kind == "Transformer":
            mask = features["attention_mask"].unsqueeze(-1)
            tensors["last_hidden_state"] = features["token_embeddings"].float() * mask
        elif kind == "Pooling":
            tensors["pooled"] = features["sentence_embedding"]
        elif kind == "Dense":
            dense += 1
            tensors[f"dense{dense}"] = features["sentence_embedding"]
    tensors["embedding"] = features["sentence_embedding"]
    save(chosen, tensors)
    print(f"{chosen.out}: {len(texts)} texts, vectors of {tensors['embedding'].shape[1]}")


def save(chosen, tensors):
    # Copies, because some of them are one tensor under two names.
    tensors = {name: tensor.contiguous().clone() for name, tensor in tensors.items()}
    save_file(tensors, chosen.out / "golden.safetensors")


@torch.no_grad()
def main():
    chosen = arguments()
    torch.manual_seed(chosen.seed)
    if chosen.embeds:
        dump_embedding(chosen)
        return
    model, tokenizer = load(chosen)
    chosen.out.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(chosen.out, safe_serialization=True)
    if tokenizer is not None:
        tokenizer.save_pretrained(chosen.out)
    model = model.float()
    ids = prompt(chosen, model, tokenizer)
    tensors = {
        "input_ids": ids,
        "logits": model(ids, use_cache=False).logits.float(),
        "greedy_ids": continuation(model, ids, chosen.new),
        **hidden_states(model, ids),
    }
    save(chosen, tensors)
    print(f"{chosen.out}: {ids.shape[1]} tokens, then {chosen.new} more")


if __name__ == "__main__":
    main()
