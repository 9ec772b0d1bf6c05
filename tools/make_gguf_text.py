#!/usr/bin/env python3
"""Makes GGUF files with only a tokenizer, and the ids that its authors' code gives to some texts.

    pip install gguf numpy regex sentencepiece tokenizers transformers
    tools/make_gguf_text.py scenarios/quality.txt engine/tests/gguf_text

Byte-level merges are trained once and written under the name of every pre-tokenizer that the engine
knows. The ids come from a deliberately simple encoder, on the `regex` package; where `transformers`
has a tokenizer of that kind, it must agree. Pieces are trained and encoded by SentencePiece.
"""

import argparse
import io
import json
import pathlib
import unicodedata

import gguf
import regex
import sentencepiece
import tokenizers
import transformers

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace("{1,3}", "")
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
CAPITALS = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+SHORT|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*SHORT"
    r"|DIGITS| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEKKEN = CAPITALS.replace("SHORT", "").replace("DIGITS", r"\p{N}")
GPT4O = CAPITALS.replace("SHORT", r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?").replace("DIGITS", r"\p{N}{1,3}")

# Name, cuts one after the other, whether texts are composed, whether known words are taken whole.
KINDS = {
    "gpt-2": ([GPT2], False, False),
    "llama-bpe": ([LLAMA3], False, True),
    "dbrx": ([LLAMA3], False, False),
    "qwen2": ([QWEN2], True, False),
    "starcoder": ([r"\p{N}", GPT2], False, False),
    "tekken": ([TEKKEN], False, True),
    "gpt-4o": ([GPT4O], False, False),
}

BOS, EOS, TOOL = "<|begin|>", "<|end|>", "<|tool|>"
# A word that no merges lead to.
WHOLE = "windtunnel"

TEXTS = [
    "The wind tunnel stood at the end of the valley.",
    " leading, trailing and   inner    spaces  ",
    "tabs\tand\nlines\n\n  indented\r\n\r\nWindows\n",
    "I'll say it's DON'T, we'VE, they're and l'été; ’tis",
    "1 22 333 4444 55555 3.14159 1,000,000 ½ ٣٤",
    "CamelCase HTTPServer iPhone McDonald ÉCOLE ǅungla",
    "naïve cafe\u0301 — “quotes” … ﬁ ligature",
    "Übung macht den Meister, Größe 38",
    "Привет, мир! Καλημέρα κόσμε",
    "你好，世界。こんにちは 세계",
    "मानक हिन्दी اللغة العربية",
    "🙂👩‍👩‍👧 family 🇩🇪",
    "fn main() { let x = a[i] += 1; } // path/to/file",
    "windtunnel windtunnels a windtunnel",
    f"before{TOOL}after {TOOL} end",
    f"{BOS}spelled out",
    "\u00a0non-breaking\u3000wide\u200bzero",
    "a",
    " ",
]


def letters():
    """The letter that stands for each byte."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table, extra = {}, 256
    for byte in range(256):
        table[byte] = chr(byte) if byte in plain else chr(extra)
        extra += byte not in plain
    return table


class Pairs:
    """Merges of bytes, learnt from a text and applied in the order in which they were learnt.

    They are learnt from lines that were not cut up, so that many of them reach over what some
    pattern cuts: then it can be seen which pattern is used.
    """

    def __init__(self, text, count=400):
        self.letters = letters()
        trainer = tokenizers.trainers.BpeTrainer(
            vocab_size=256 + count,
            initial_alphabet=list(self.letters.values()),
            show_progress=False,
        )
        learner = tokenizers.Tokenizer(tokenizers.models.BPE())
        learner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(
            add_prefix_space=False, use_regex=False
        )
        marks = regex.compile("|".join(map(regex.escape, [BOS, EOS, TOOL, WHOLE])))
        learnt = [*text.splitlines(keepends=True), *TEXTS * 3]
        learner.train_from_iterator([marks.sub(" ", line) for line in learnt], trainer)
        model = json.loads(learner.to_str())["model"]
        self.merges = [tuple(pair) for pair in model["merges"]]
        ordered = sorted(model["vocab"], key=model["vocab"].get)
        self.tokens = [*ordered, WHOLE, BOS, EOS, TOOL]
        self.ids = {token: id for id, token in enumerate(self.tokens)}
        self.ranks = {pair: rank for rank, pair in enumerate(self.merges)}

    def word(self, word, whole):
        parts = [self.letters[byte] for byte in word.encode()]
        if whole and "".join(parts) in self.ids:
            return [self.ids["".join(parts)]]
        while len(parts) > 1:
            pairs = list(zip(parts, parts[1:]))
            best = min(pairs, key=lambda pair: self.ranks.get(pair, len(self.ranks)))
            if best not in self.ranks:
                break
            merged, at = [], 0
            while at < len(parts):
                pair = tuple(parts[at : at + 2])
                merged.append("".join(pair) if pair == best else parts[at])
                at += 2 if pair == best else 1
            parts = merged
        return [self.ids[part] for part in parts]

    def encode(self, text, cuts, composed, whole):
        ids = []
        for part in regex.split("(" + "|".join(map(regex.escape, [BOS, EOS, TOOL])) + ")", text):
            if part in (BOS, EOS, TOOL):
                ids.append(self.ids[part])
                continue
            words = [unicodedata.normalize("NFC", part) if composed else part]
            for cut in cuts:
                words = [piece for word in words for piece in pieces(cut, word)]
            ids += [id for word in words for id in self.word(word, whole)]
        return ids

    def reference(self, name):
        """The tokenizer of `transformers` for this kind, if it has one."""
        vocabulary = {token: id for token, id in self.ids.items() if token not in (BOS, EOS, TOOL)}
        own = dict(vocab=vocabulary, merges=self.merges)
        if name == "gpt-2":
            made = transformers.GPT2Tokenizer(**own, bos_token=BOS, eos_token=EOS, unk_token=EOS)
        elif name == "qwen2":
            made = transformers.Qwen2Tokenizer(**own, eos_token=EOS, pad_token=EOS, unk_token=EOS)
        else:
            return None
        inner = made.backend_tokenizer
        inner.add_tokens([tokenizers.AddedToken(text, normalized=False) for text in (BOS, EOS, TOOL)])
        return lambda text: inner.encode(text, add_special_tokens=False).tokens


def pieces(cut, text):
    """The matches of `cut` and what lies between them."""
    found, at = [], 0
    for match in regex.finditer(cut, text):
        found += [text[at : match.start()], match.group()]
        at = match.end()
    return [piece for piece in [*found, text[at:]] if piece]


def write(path, model, tokens, types, **more):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model(model)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    for key, value in more.items():
        getattr(writer, f"add_{key}")(value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def all_pairs(text, folder, vectors):
    pairs = Pairs(text)
    types = [gguf.TokenType.NORMAL] * (len(pairs.tokens) - 3)
    types += [gguf.TokenType.CONTROL] * 2 + [gguf.TokenType.USER_DEFINED]
    for name, (cuts, composed, whole) in KINDS.items():
        write(
            folder / f"{name}.gguf",
            "gpt2",
            pairs.tokens,
            types,
            tokenizer_pre=name,
            token_merges=[" ".join(pair) for pair in pairs.merges],
            bos_token_id=pairs.ids[BOS],
            eos_token_id=pairs.ids[EOS],
        )
        begin = [pairs.ids[BOS]] if name in ("llama-bpe", "tekken") else []
        reference = pairs.reference(name)
        for text in TEXTS:
            bare = pairs.encode(text, cuts, composed, whole)
            if reference is not None:
                found = [pairs.ids[token] for token in reference(text)]
                assert found == bare, (name, text, found, bare)
            full = bare if bare[: len(begin)] == begin else begin + bare
            back = unicodedata.normalize("NFC", text) if composed else text
            back = back.replace(BOS, "").replace(EOS, "")
            vectors.append(dict(file=f"{name}.gguf", text=text, bare=bare, ids=full, decoded=back))


def all_pieces(text, folder, vectors):
    for name, spaced in [("pieces", True), ("pieces-bare", False)]:
        made = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(text.splitlines()),
            model_writer=made,
            model_type="bpe",
            vocab_size=600,
            byte_fallback=True,
            character_coverage=0.999,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            add_dummy_prefix=spaced,
            user_defined_symbols=[] if spaced else [TOOL],
            hard_vocab_limit=False,
            minloglevel=2,
        )
        model = sentencepiece.SentencePieceProcessor(model_proto=made.getvalue())
        count = model.get_piece_size()
        kind = lambda id: (
            gguf.TokenType.UNKNOWN if model.is_unknown(id)
            else gguf.TokenType.CONTROL if model.is_control(id)
            else gguf.TokenType.BYTE if model.is_byte(id)
            else gguf.TokenType.USER_DEFINED if model.id_to_piece(id) == TOOL
            else gguf.TokenType.NORMAL
        )
        write(
            folder / f"{name}.gguf",
            "llama",
            [model.id_to_piece(id) for id in range(count)],
            [kind(id) for id in range(count)],
            token_scores=[model.get_score(id) for id in range(count)],
            bos_token_id=model.bos_id(),
            eos_token_id=model.eos_id(),
            unk_token_id=model.unk_id(),
            add_bos_token=True,
            add_space_prefix=spaced,
        )
        for text_ in TEXTS:
            if spaced and TOOL in text_:
                continue
            bare = model.encode(text_)
            back = model.decode(bare)
            ids = [model.bos_id(), *bare]
            vectors.append(dict(file=f"{name}.gguf", text=text_, bare=bare, ids=ids, decoded=back))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("text", type=pathlib.Path, help="the text to train the tokenizers on")
    parser.add_argument("folder", type=pathlib.Path, help="the folder for the files")
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    text = chosen.text.read_text()
    vectors = []
    all_pairs(text, chosen.folder, vectors)
    all_pieces(text, chosen.folder, vectors)
    lines = ",\n".join(json.dumps(vector, ensure_ascii=False) for vector in vectors)
    (chosen.folder / "vectors.json").write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
