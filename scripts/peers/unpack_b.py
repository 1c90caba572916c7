#!/usr/bin/env python3
"""A checkpoint of an int4 graph by onnxruntime-genai's builder: what the graph's weights stand for, so that peers that read no ONNX run the same model.

usage: unpack_b.py FOLDER OUT        (Llama's names, no biases, embedding tied)
"""
import json
import math
import os
import re
import shutil
import sys

import numpy as np
import onnx
from onnx import numpy_helper

import checkpoint

PARTS = {"attn.o_proj": "self_attn.o_proj", "mlp.gate_proj": "mlp.gate_proj", "mlp.up_proj": "mlp.up_proj", "mlp.down_proj": "mlp.down_proj"}


def weights(node, stored):
    """The matrix (N, K) of a MatMulNBits node: four bits, low half first, a scale and perhaps a zero point for each block."""
    a = {x.name: onnx.helper.get_attribute_value(x) for x in node.attribute}
    if a["bits"] != 4 or a["K"] % a["block_size"]:
        raise ValueError(f"{node.name}: {a['bits']} bits, K {a['K']}, block {a['block_size']}: expected 4 bits and whole blocks")
    n, blocks = a["N"], a["K"] // a["block_size"]

    def halves(x):
        x = numpy_helper.to_array(stored[x]).reshape(n, -1)
        return np.stack([x & 15, x >> 4], -1).reshape(n, -1)

    q = halves(node.input[1])[:, :a["K"]].reshape(n, blocks, -1).astype(np.float32)
    zero = halves(node.input[3])[:, :blocks, None] if len(node.input) > 3 and node.input[3] else np.float32(8)
    return ((q - zero) * numpy_helper.to_array(stored[node.input[2]]).reshape(n, blocks, 1)).reshape(n, -1).astype(np.float32)


def tensors(folder, c):
    graph = onnx.load(os.path.join(folder, c["decoder"]["filename"])).graph
    stored = {i.name: i for i in graph.initializer}
    d = c["decoder"]
    rows = [d["head_size"] * d["num_attention_heads"], d["head_size"] * d["num_key_value_heads"]]
    found = {"rope": numpy_helper.to_array(stored["sin_cache"])[1, -1]}
    for node in graph.node:
        if node.op_type == "SimplifiedLayerNormalization":
            found["eps"] = next(a.f for a in node.attribute if a.name == "epsilon")
        if node.op_type != "MatMulNBits":
            continue
        w = weights(node, stored)
        if node.name.startswith("/lm_head/"):
            found["model.embed_tokens.weight"] = w
            continue
        number, group, part = re.match(r"/model/layers\.(\d+)/(\w+)/(\w+)/", node.name).groups()
        layer = f"model.layers.{number}."
        if part == "qkv_proj":
            for name, x in zip("qkv", np.split(w, [rows[0], rows[0] + rows[1]])):
                found[f"{layer}self_attn.{name}_proj.weight"] = x
        else:
            found[f"{layer}{PARTS[group + '.' + part]}.weight"] = w
    for name in [n for n in stored if n.endswith("layernorm.weight")]:
        mine = "model.norm.weight" if "final_norm" in name else name
        found[mine] = numpy_helper.to_array(stored[name]).astype(np.float32)
    if any(name.endswith(".bias") for name in stored):
        raise ValueError("the graph has biases, expected none")
    return found


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    folder, out = sys.argv[1:]
    with open(os.path.join(folder, "genai_config.json"), encoding="utf-8") as f:
        c = json.load(f)["model"]
    if c["type"] != "llama":
        raise ValueError(f"{folder} is a {c['type']} model, expected llama")
    found, d = tensors(folder, c), c["decoder"]
    eps, half = found.pop("eps"), d["head_size"] // 2
    theta = math.asin(found.pop("rope")) ** (-half / (half - 1))
    os.makedirs(out, exist_ok=True)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        if os.path.exists(os.path.join(folder, name)):
            shutil.copy(os.path.join(folder, name), out)
    checkpoint.store(out, {name: (x.shape, lambda x=x: x) for name, x in found.items()})
    checkpoint.save(os.path.join(out, "config.json"), {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": c["vocab_size"], "hidden_size": d["hidden_size"],
        "intermediate_size": found["model.layers.0.mlp.up_proj.weight"].shape[0], "num_hidden_layers": d["num_hidden_layers"],
        "num_attention_heads": d["num_attention_heads"], "num_key_value_heads": d["num_key_value_heads"], "head_dim": d["head_size"],
        "max_position_embeddings": c["context_length"], "rope_theta": round(theta, -2), "rms_norm_eps": float(f"{eps:.3g}"), "hidden_act": "silu",
        "tie_word_embeddings": True, "attention_bias": False, "mlp_bias": False, "bos_token_id": c["bos_token_id"], "eos_token_id": c["eos_token_id"][0],
        "pad_token_id": c["pad_token_id"], "torch_dtype": "bfloat16"})


if __name__ == "__main__":
    main()
