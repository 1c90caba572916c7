#!/usr/bin/env python3
"""Writes a Qwen2 or Llama checkpoint as a GGUF file with Q4_0 matrices, embedding included: blocks of 32 with one float16 scale, as int4 in ONNX has them.

usage: gguf_q4.py CHECKPOINT OUT.gguf
llama.cpp's own Q4_0 keeps a tied embedding in Q6_K; here it is Q4_0 too, so that all sides read the same number of bytes for a token.
"""
import json
import os
import sys

import gguf
import numpy as np

import checkpoint

NAMES = {
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}


def rename(name):
    if name == "model.embed_tokens.weight":
        return "token_embd.weight"
    if name == "model.norm.weight":
        return "output_norm.weight"
    _, _, layer, rest = name.split(".", 3)
    part, kind = rest.rsplit(".", 1)
    return f"blk.{layer}.{NAMES[part]}.{kind}"


def vocabulary(w, folder, c):
    with open(os.path.join(folder, "tokenizer.json"), encoding="utf-8") as f:
        t = json.load(f)
    tokens, types = [f"[PAD{i}]" for i in range(c["vocab_size"])], [gguf.TokenType.UNUSED] * c["vocab_size"]
    for token, i in t["model"]["vocab"].items():
        tokens[i], types[i] = token, gguf.TokenType.NORMAL
    for a in t["added_tokens"]:
        tokens[a["id"]], types[a["id"]] = a["content"], gguf.TokenType.CONTROL if a["special"] else gguf.TokenType.USER_DEFINED
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre({"qwen2": "qwen2", "llama": "smollm"}[c["model_type"]])  # of Llama's kind only SmolLM is made here
    w.add_token_list(tokens)
    w.add_token_types(types)
    w.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in t["model"]["merges"]])
    w.add_bos_token_id(c["bos_token_id"])
    w.add_eos_token_id(c["eos_token_id"])
    w.add_pad_token_id(c.get("pad_token_id", c["bos_token_id"]))
    w.add_add_bos_token(False)
    template = os.path.join(folder, "chat_template.jinja")
    if os.path.exists(template):
        with open(template, encoding="utf-8") as f:
            w.add_chat_template(f.read())


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    folder, out = sys.argv[1:]
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as f:
        c = json.load(f)
    heads, kv = c["num_attention_heads"], c["num_key_value_heads"]
    w = gguf.GGUFWriter(out + ".part", c["model_type"])
    w.add_name(os.path.basename(out))
    w.add_block_count(c["num_hidden_layers"])
    w.add_context_length(c["max_position_embeddings"])
    w.add_embedding_length(c["hidden_size"])
    w.add_feed_forward_length(c["intermediate_size"])
    w.add_head_count(heads)
    w.add_head_count_kv(kv)
    w.add_vocab_size(c["vocab_size"])
    w.add_rope_dimension_count(c["hidden_size"] // heads)
    w.add_rope_freq_base(c["rope_theta"])
    w.add_layer_norm_rms_eps(c["rms_norm_eps"])
    w.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_0)
    w.add_quantization_version(gguf.GGML_QUANT_VERSION)
    vocabulary(w, folder, c)
    for name, tensor in checkpoint.read(folder).items():
        x = tensor()
        if c["model_type"] == "llama" and ("q_proj" in name or "k_proj" in name):  # llama.cpp's rotary turns neighbours, not halves
            x = x.reshape(heads if "q_proj" in name else kv, 2, -1, x.shape[1]).swapaxes(1, 2).reshape(x.shape)
        if x.ndim == 2:
            q = gguf.GGMLQuantizationType.Q4_0
            w.add_tensor(rename(name), gguf.quants.quantize(x, q), raw_dtype=q)
        else:
            w.add_tensor(rename(name), np.ascontiguousarray(x, np.float32))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    os.replace(out + ".part", out)


if __name__ == "__main__":
    main()
