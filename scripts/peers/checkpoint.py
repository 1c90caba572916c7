#!/usr/bin/env python3
"""Checkpoints of true shape with random weights, as transformers saves them: their speed is that of real ones. Needs numpy only.

usage: checkpoint.py tiny|0.5b|1.5b OUT [TOKENIZER]
TOKENIZER is a folder with Qwen2's; without it one of the same size is made up.
"""
import json
import os
import shutil
import sys

import numpy as np

SHAPES = {
    "tiny": dict(hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2),
    "0.5b": dict(hidden_size=896, intermediate_size=4864, num_hidden_layers=24, num_attention_heads=14, num_key_value_heads=2),
    "1.5b": dict(hidden_size=1536, intermediate_size=8960, num_hidden_layers=28, num_attention_heads=12, num_key_value_heads=2),
}
VOCAB = 151936
MERGES = 151387  # with 256 bytes: the ids below the first special token, as Qwen2 has them
SPLIT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt")


def config(shape):
    s = SHAPES[shape]
    return dict(s, architectures=["Qwen2ForCausalLM"], model_type="qwen2", vocab_size=VOCAB, max_position_embeddings=32768, rope_theta=1e6,
                rms_norm_eps=1e-6, hidden_act="silu", initializer_range=0.02, attention_dropout=0.0, tie_word_embeddings=True, use_cache=True,
                use_sliding_window=False, max_window_layers=s["num_hidden_layers"], bos_token_id=151643, eos_token_id=151645, torch_dtype="bfloat16")


def tensors(c):
    """Names, shapes and what fills them, in the order of the file."""
    hidden, kv = c["hidden_size"], c["hidden_size"] // c["num_attention_heads"] * c["num_key_value_heads"]
    yield "model.embed_tokens.weight", (c["vocab_size"], hidden), "normal"
    for i in range(c["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        for name, rows in (("q", hidden), ("k", kv), ("v", kv)):
            yield f"{layer}self_attn.{name}_proj.weight", (rows, hidden), "normal"
            yield f"{layer}self_attn.{name}_proj.bias", (rows,), "normal"
        yield layer + "self_attn.o_proj.weight", (hidden, hidden), "normal"
        yield layer + "mlp.gate_proj.weight", (c["intermediate_size"], hidden), "normal"
        yield layer + "mlp.up_proj.weight", (c["intermediate_size"], hidden), "normal"
        yield layer + "mlp.down_proj.weight", (hidden, c["intermediate_size"]), "normal"
        yield layer + "input_layernorm.weight", (hidden,), "ones"
        yield layer + "post_attention_layernorm.weight", (hidden,), "ones"
    yield "model.norm.weight", (hidden,), "ones"


def bfloat16(x):
    """Float32 rounded to the nearest bfloat16, as its 16 bits."""
    bits = x.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def write(shape, out, tokenizer=None):
    """A checkpoint in the folder out. tokenizer is a folder with a real one; without it one of the same size is made up."""
    os.makedirs(out, exist_ok=True)
    c = config(shape)
    random = np.random.default_rng(0)

    def fill(dims, kind):
        return np.ones(dims, np.float32) if kind == "ones" else random.standard_normal(dims, np.float32) * np.float32(0.02)

    store(out, {name: (dims, lambda dims=dims, kind=kind: fill(dims, kind)) for name, dims, kind in tensors(c)})
    if tokenizer:
        for name in TOKENIZER_FILES:
            shutil.copy(os.path.join(tokenizer, name), out)
    else:
        write_tokenizer(out)
    save(os.path.join(out, "generation_config.json"), {"bos_token_id": 151643, "eos_token_id": [151645, 151643], "pad_token_id": 151643})
    save(os.path.join(out, "config.json"), c)  # last: its presence says that the folder is complete


def store(out, values):
    """Writes model.safetensors: for each name its shape and a function that gives it in float32; stored as bfloat16."""
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, (dims, _) in values.items():
        size = 2 * int(np.prod(dims))
        header[name] = {"dtype": "BF16", "shape": list(dims), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(os.path.join(out, "model.safetensors"), "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text)
        for _, value in values.values():
            f.write(bfloat16(np.ascontiguousarray(value())).tobytes())


def save(path, value):
    with open(path, "w", encoding="utf-8") as f:
        json.dump(value, f, ensure_ascii=False, indent=1)


def byte_letters():
    """The letter that stands for each byte in a byte-level vocabulary (GPT-2's table)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    other = [b for b in range(256) if b not in plain]
    return {**{b: chr(b) for b in plain}, **{b: chr(256 + i) for i, b in enumerate(other)}}


def write_tokenizer(out):
    """A byte-level BPE tokenizer of Qwen2's size whose merges join every pair of bytes and then pairs with a third byte."""
    letters = list(byte_letters().values())
    pairs = [(a, b) for a in letters for b in letters]
    merges = (pairs + [(a + b, c) for a, b in pairs for c in letters[:2]])[:MERGES]
    vocab = {token: i for i, token in enumerate(letters + [a + b for a, b in merges])}
    added = [{"id": len(vocab) + i, "content": s, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
             for i, s in enumerate(SPECIAL)]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    save(os.path.join(out, "tokenizer.json"), {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": SPLIT}, "behavior": "Isolated", "invert": False}, level]},
        "post_processor": level, "decoder": level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "", "end_of_word_suffix": "",
                  "fuse_unk": False, "byte_fallback": False, "vocab": vocab, "merges": [f"{a} {b}" for a, b in merges]}})
    save(os.path.join(out, "tokenizer_config.json"), {
        "tokenizer_class": "Qwen2Tokenizer", "model_max_length": 131072, "eos_token": SPECIAL[2], "pad_token": SPECIAL[0], "bos_token": None,
        "unk_token": None, "add_prefix_space": False, "errors": "replace", "clean_up_tokenization_spaces": False, "split_special_tokens": False,
        "additional_special_tokens": SPECIAL[1:],
        "added_tokens_decoder": {str(a["id"]): {k: v for k, v in a.items() if k != "id"} for a in added},
        "chat_template": "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
                         "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"})
    save(os.path.join(out, "vocab.json"), vocab)
    with open(os.path.join(out, "merges.txt"), "w", encoding="utf-8") as f:
        f.write("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))


def read(folder):
    """The tensors of a checkpoint by name: bfloat16 as float32."""
    with open(os.path.join(folder, "model.safetensors"), "rb") as f:
        start = 8 + int.from_bytes(f.read(8), "little")
        header = json.loads(f.read(start - 8))
    data = np.memmap(os.path.join(folder, "model.safetensors"), np.uint8, "r", offset=start)

    def tensor(name):
        h = header[name]
        if h["dtype"] != "BF16":
            raise ValueError(f"{folder}: tensor {name} is {h['dtype']}, expected BF16")
        begin, end = h["data_offsets"]
        bits = data[begin:end].view(np.uint16)
        return (bits.astype(np.uint32) << 16).view(np.float32).reshape(h["shape"])

    return {name: (lambda n=name: tensor(n)) for name in header if name != "__metadata__"}


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4) or sys.argv[1] not in SHAPES:
        sys.exit(__doc__)
    write(*sys.argv[1:])
