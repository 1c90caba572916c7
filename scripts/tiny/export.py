#!/usr/bin/env python3
"""Exports the trained model with onnxruntime-genai's builder: int4 in blocks of 32, one file, tokenizer beside it.

usage: export.py --model DIR --out DIR

DIR is what train.py wrote. The graph's name table and sizes go to genai_config.json; the weights go into model.onnx
itself, so that the folder can be embedded in a program.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile

import onnx

KEPT = ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"]
LIMIT = 6 << 20  # bytes of the whole folder
OPTIONS = ["accuracy_level=4", "block_size=32", "prune_lm_head=true"]


def build(model: str, out: str, cache: str) -> None:
    done = subprocess.run([sys.executable, "-m", "onnxruntime_genai.models.builder", "-i", model, "-o", out, "-p", "int4", "-e", "cpu",
                           "-c", cache, "--extra_options", *OPTIONS], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise SystemExit(f"export: the builder failed\n{done.stdout}")


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--model", required=True)
    args.add_argument("--out", required=True)
    a = args.parse_args()
    os.makedirs(a.out, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        built = os.path.join(scratch, "built")
        build(os.path.abspath(a.model), built, os.path.join(scratch, "cache"))
        graph = onnx.load(os.path.join(built, "model.onnx"))
        onnx.save(graph, os.path.join(a.out, "model.onnx"))
        shutil.copy(os.path.join(built, "genai_config.json"), a.out)
    for name in KEPT:
        shutil.copy(os.path.join(a.model, name), a.out)
    size = sum(os.path.getsize(os.path.join(a.out, n)) for n in [*KEPT, "model.onnx", "genai_config.json"])
    print(json.dumps(dict(out=a.out, bytes=size)))
    if size > LIMIT:
        raise SystemExit(f"export: {a.out} holds {size} bytes, more than the limit of {LIMIT}")


if __name__ == "__main__":
    main()
