#!/usr/bin/env python3
"""Turns an ONNX model folder into a checkpoint that transformers and PEFT read: weights in float32, configuration, tokenizer.

usage: checkpoint.py --model DIR --out DIR [--questions FILE] [--threads N]

int4 and int8 weights become the numbers they stand for, so that an adapter is trained on what will be run. The checkpoint's logits are
compared with the graph's, whose products are computed in float32 for that. --questions also asks every line of a JSONL of
{"messages", "answer"} of three: the checkpoint, the graph in float32, and the graph as it is. The folder needs the model's config.json.
"""
import argparse
import json
import os
import random
import re
import shutil

import cli

GRAPHS = ["model.onnx", "onnx/model.onnx", "onnx/model_q4.onnx", "onnx/model_quantized.onnx", "onnx/model_int8.onnx"]
KEPT = ["generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"]
LIMIT = 2 << 30  # bytes of a graph with its weights, as protobuf can hold
TOLERANCE = 1e-3  # of a logit, between the checkpoint and the graph in float32
LENGTHS = [1, 2, 17, 64]  # tokens of the prompts that are compared


def graph_path(folder: str) -> str:
    """The graph of a model folder: what genai_config.json names, else the first of the usual places."""
    names = GRAPHS
    config = os.path.join(folder, "genai_config.json")
    if os.path.exists(config):
        try:
            names = [cli.read_json(config)["model"]["decoder"]["filename"]]
        except (KeyError, TypeError):
            raise cli.Failure(f"{config}: names no graph (model.decoder.filename)") from None
    for name in names:
        if os.path.exists(os.path.join(folder, name)):
            return os.path.join(folder, name)
    raise cli.Failure(f"{folder}: no graph: expected {' or '.join(names)}")


def dequantise(codes, scales, zeros, bits: int, block: int, rows: int, columns: int):
    """The float32 matrix (rows, columns) of packed codes with one scale, and perhaps one zero point, for each block of a row."""
    import numpy as np

    def unpack(packed):
        packed = packed.reshape(rows, -1)
        if bits == 4:  # the low half comes first
            packed = np.stack([packed & 15, packed >> 4], -1).reshape(rows, -1)
        return packed.astype(np.float32)

    def spread(values):
        return np.repeat(values, block, 1)[:, :columns]

    if bits not in (4, 8) or codes.dtype != np.uint8:
        raise cli.Failure(f"weights of {bits} bits as {codes.dtype}: expected 4 or 8 bits as uint8")
    blocks = -(-columns // block)
    if zeros is None:
        zeros = np.full((rows, blocks), 1 << (bits - 1), np.float32)
    elif zeros.dtype == np.uint8:
        zeros = unpack(zeros)[:, :blocks]
    return (unpack(codes)[:, :columns] - spread(zeros.astype(np.float32).reshape(rows, blocks))) * spread(scales.astype(np.float32).reshape(rows, blocks))


def own(name: str) -> str:
    """transformers' name of what an exporter calls so."""
    name = name.replace(".attn.", ".self_attn.").replace(".Add.bias", ".bias").replace("_norm.layernorm.", "_norm.")
    return re.sub(r"^model\.layers\.\d+\.final_norm_layernorm\.", "model.norm.", name)


def module(node: str) -> str:
    """transformers' name of what a node computes: /model/layers.0/attn/q_proj/MatMul_Q4 is model.layers.0.self_attn.q_proj."""
    return own(".".join(node.strip("/").split("/")[:-1]) + ".").rstrip(".")


def read(graph) -> dict:
    """The tensors of a graph by transformers' names; products that the exporter fused are still one."""
    import numpy as np
    from onnx import helper, numpy_helper

    held = {t.name: t for t in graph.initializer}

    def array(name):
        return numpy_helper.to_array(held[name]) if name else None

    found = {own(n): array(n).astype(np.float32) for n, t in held.items() if len(t.dims) == 1 and n.endswith((".weight", ".bias"))}
    for node in graph.node:
        attribute = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        inputs = [*node.input, "", ""]
        name = module(node.name) + ".weight"
        if node.op_type == "MatMul" and inputs[1] in held:
            found[name] = array(inputs[1]).astype(np.float32).T
        elif node.op_type == "Gather" and inputs[0] in held and len(held[inputs[0]].dims) == 2:
            found[name] = array(inputs[0]).astype(np.float32)
        elif node.op_type == "MatMulNBits":
            shape = attribute["N"], attribute["K"]
            found[name] = dequantise(array(inputs[1]), array(inputs[2]), array(inputs[3]), attribute.get("bits", 4), attribute["block_size"], *shape)
        elif node.op_type == "GatherBlockQuantized" and inputs[0] in held:
            bits, block, scales = attribute.get("bits", 4), attribute["block_size"], array(inputs[2])
            found[name] = dequantise(array(inputs[0]), scales, array(inputs[3]), bits, block, len(scales), scales[0].size * block)
    return found


def part(found: dict, want: dict, config) -> None:
    """Takes fused products and their biases apart, where the architecture has them apart."""
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    heads, shared = config.num_attention_heads * head, (getattr(config, "num_key_value_heads", None) or config.num_attention_heads) * head
    kinds = {"qkv_proj": (("q_proj", heads), ("k_proj", shared), ("v_proj", shared)),
             "gate_up_proj": (("gate_proj", config.intermediate_size), ("up_proj", config.intermediate_size))}
    for name in list(found):
        parent, kind, leaf = ["", "", *name.rsplit(".", 2)][-3:]
        if name in want or kind not in kinds:
            continue
        whole, at = found.pop(name), 0
        for each, rows in kinds[kind]:
            found[f"{parent}.{each}.{leaf}"] = whole[at:at + rows]
            at += rows


def load(folder: str):
    """The model of an ONNX folder as transformers' own class, in float32, and its graph with float32 products."""
    import numpy as np
    import onnx
    import torch
    import transformers

    path = graph_path(folder)
    size = sum(os.path.getsize(os.path.join(os.path.dirname(path), n)) for n in os.listdir(os.path.dirname(path)) if n.startswith(os.path.basename(path)))
    if size >= LIMIT:
        raise cli.Failure(f"{path}: {size >> 20} MiB of weights, expected less than {LIMIT >> 20}: train on the checkpoint it was exported from")
    if not os.path.exists(os.path.join(folder, "config.json")):
        raise cli.Failure(f"{folder}: no config.json: put that of the original model beside the graph")
    try:
        graph = onnx.load(path)
    except Exception as error:  # protobuf's own, of many types
        raise cli.Failure(f"{path}: not read as ONNX: {str(error).splitlines()[0]}") from None
    config = configuration(folder)
    try:
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    except (ValueError, KeyError, TypeError) as error:
        raise cli.Failure(f"{folder}/config.json: {str(error).splitlines()[0]}") from None
    want = model.state_dict()
    try:
        found = read(graph.graph)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise cli.Failure(f"{path}: its weights are not laid out as expected: {type(error).__name__}: {str(error).splitlines()[0]}") from None
    part(found, want, config)
    if config.tie_word_embeddings:  # whichever of the two the graph names
        names = "model.embed_tokens.weight", "lm_head.weight"
        for name, other in (names, names[::-1]):
            if name not in found and other in found:
                found[name] = found[other]
    for name, tensor in want.items():
        if name not in found:
            raise cli.Failure(f"{path}: no weights for {name}: train on the checkpoint that the graph was exported from")
        if found[name].shape != tuple(tensor.shape):
            raise cli.Failure(f"{path}: {name} is {list(found[name].shape)}, expected {list(tensor.shape)} as config.json says")
        if not np.isfinite(found[name]).all():
            raise cli.Failure(f"{path}: {name} is not finite")
    model.load_state_dict({n: torch.from_numpy(np.ascontiguousarray(found[n])) for n in want})
    for node in graph.graph.node:
        for a in node.attribute:
            if node.op_type == "MatMulNBits" and a.name == "accuracy_level":
                a.i = 1  # float32
    return model, graph


def configuration(folder: str):
    import transformers

    cli.read_json(os.path.join(folder, "config.json"))
    try:
        return transformers.AutoConfig.from_pretrained(folder)
    except (ValueError, KeyError, TypeError) as error:
        raise cli.Failure(f"{folder}/config.json: {str(error).splitlines()[0]}") from None


class Graph:
    """An ONNX model that continues texts."""

    def __init__(self, model: bytes | str, config, threads: int):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.config = config

    def logits(self, ids: list[int]):
        """Of the last token: (vocabulary)."""
        import numpy as np

        types = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(int64)": np.int64, "tensor(int32)": np.int32}
        head = getattr(self.config, "head_dim", None) or self.config.hidden_size // self.config.num_attention_heads
        feed = {}
        for i in self.session.get_inputs():
            if i.name.startswith("past_key_values"):
                feed[i.name] = np.zeros((1, self.config.num_key_value_heads, 0, head), types[i.type])
            else:
                value = {"input_ids": [ids], "attention_mask": [[1] * len(ids)], "position_ids": [list(range(len(ids)))]}.get(i.name, 1)
                feed[i.name] = np.array(value, types[i.type])
        return self.session.run(["logits"], feed)[0][0, -1].astype(np.float32)


def compare(model, graph: Graph) -> float:
    """The greatest difference between two models' logits for prompts of random ids; fails above the tolerance."""
    import numpy as np
    import torch

    pick, worst = random.Random(1), 0.0
    for length in LENGTHS:
        ids = [pick.randrange(model.config.vocab_size) for _ in range(length)]
        with torch.no_grad():
            expected = model(torch.tensor([ids])).logits[0, -1].numpy()
        worst = max(worst, float(np.abs(graph.logits(ids) - expected).max()))
    if not worst <= TOLERANCE:
        raise cli.Failure(f"the checkpoint's logits differ from the graph's by up to {worst:.3g}, expected {TOLERANCE:g}: "
                          "this export computes what config.json does not say: train on the checkpoint it was exported from")
    return worst


def greedy(logits, ids: list[int], ends: list[int], most: int = 64) -> list[int]:
    """What a model continues a prompt with."""
    made: list[int] = []
    while len(made) < most and (not made or made[-1] not in ends):
        made.append(int(logits(ids + made).argmax()))
    return made


def ask(path: str, folder: str, models: dict) -> dict:
    """How many lines of a JSONL of questions each model answers right, and like the first of them."""
    import transformers

    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(folder)
    ends = cli.read_json(os.path.join(folder, "generation_config.json"))["eos_token_id"]
    ends = ends if isinstance(ends, list) else [ends]
    right, alike, asked = {n: 0 for n in models}, {n: 0 for n in models}, 0
    with open(path, encoding="utf-8") as lines:
        for line in map(json.loads, lines):
            text = tokenizer.apply_chat_template(line["messages"], tokenize=False, add_generation_prompt=True)
            ids, first = tokenizer(text, add_special_tokens=False)["input_ids"], None
            asked += 1
            for name, logits in models.items():
                made = greedy(logits, ids, ends)
                first = first or made
                right[name] += tokenizer.decode(made, skip_special_tokens=True).strip() == line["answer"]
                alike[name] += made == first
    return dict(asked=asked, right=right, alike=alike)


def write(model, folder: str, out: str) -> None:
    with cli.folder(out) as made:
        model.save_pretrained(made)
        for name in KEPT:
            if os.path.exists(os.path.join(folder, name)):
                shutil.copyfile(os.path.join(folder, name), os.path.join(made, name))


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--model", required=True, metavar="DIR")
    args.add_argument("--out", required=True, metavar="DIR")
    args.add_argument("--questions", metavar="FILE")
    args.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
    a = args.parse_args()
    cli.absent(a.out)
    cli.seed(1, a.threads)
    cli.quiet()
    import torch

    model, graph = load(a.model)
    exact = Graph(graph.SerializeToString(), model.config, a.threads)
    report = dict(logits=compare(model, exact), tolerance=TOLERANCE)
    if a.questions:
        plain = Graph(graph_path(a.model), model.config, a.threads)
        with torch.no_grad():
            report["questions"] = ask(a.questions, a.model, {
                "checkpoint": lambda ids: model(torch.tensor([ids])).logits[0, -1], "graph": exact.logits, "graph as it is": plain.logits})
    write(model, a.model, a.out)
    print(json.dumps(report | dict(done=a.out)))


if __name__ == "__main__":
    cli.run("checkpoint", main)
