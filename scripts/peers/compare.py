#!/usr/bin/env python3
"""Hold the program against its peers: installs them, makes the models, runs all tests on all sides in turn, prints a table.

Tests: ppN reads a prompt of N tokens; tgN@dD writes N tokens after a prompt of D, tgNbR@dD for R rows at once (all rows' tokens a second); turn2 is
seconds until the second answer begins in a conversation of 1,000 tokens; copy writes what a prompt of 336 tokens repeats, for a trained model;
load is seconds until model and tokenizer are ready; peak is MB resident at most when a prompt of 2,048 tokens was read.
A size is one of the shapes that can be made up (tiny, 0.5b, 1.5b), "embedded", our program's own model (for our own sides alone), or any NAME for which a --models folder has NAME-hf, NAME-b-int4-prune and so on.
"""
import argparse
import collections
import json
import os
import signal
import sys
import time

import machine
import report
import tests
from machine import Failure
from stock import Stock

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
HERE = os.path.dirname(os.path.abspath(__file__))
PREPARE = ["pp512", "tg8@d16"]  # what ours remembers of a model and a machine is found out before it is measured

Side = collections.namedtuple("Side", "script environment model note flags", defaults=((),))  # without a script it is our own program
BUILDER = "Graph of its own builder: int4, block 32, accuracy level 4"
GENAI = "Shared cache of the length needed, batch in one generator; it has no prompt lookup"
OFF = ("--kernels", "off")
SIDES = {
    "ours": Side(None, None, "b-int4-prune", "Layout B: the graph of onnxruntime-genai's builder, the file that genai runs."),
    "ours-a": Side(None, None, "a-q4", "Layout A: Optimum's export in int4, the file that iobinding runs."),
    "runtime": Side(None, None, "b-int4-prune", "Our own program with --kernels off: ONNX Runtime computes the graph as it is, in the same loop.", OFF),
    "runtime-a": Side(None, None, "a-q4", "The same on layout A.", OFF),
    "genai": Side("run_genai.py", "onnxruntime", "b-int4-prune", f"{BUILDER}, prune_lm_head. {GENAI}."),
    "genai-full": Side("run_genai.py", "onnxruntime", "b-int4", f"{BUILDER}, logits of all rows (the builder's default). {GENAI}."),
    "openvino": Side("run_openvino.py", "openvino", "ov-int4",
                     "optimum-cli export openvino --weight-format int4 --sym --group-size 128 --ratio 1.0 --all-layers; PERFORMANCE_HINT LATENCY, "
                     "DYNAMIC_QUANTIZATION_GROUP_SIZE 128 (prefill a quarter faster than by default), paged attention; batch by ContinuousBatchingPipeline; "
                     "copy with prompt_lookup, 10 tokens after 3 that match."),
    "openvino-gguf": Side("run_openvino.py", "openvino", "q4_0.gguf", "The same from the Q4_0 GGUF, default dynamic quantisation."),
    "llama": Side("run_llama.py", "llama", "q4_0.gguf",
                  "llama.cpp compiled on this machine for its own CPU. Q4_0 for all matrices (the embedding too), flash attention auto, ubatch 512, "
                  "weights mapped and repacked, all rows in one llama_batch; copy with LlamaPromptLookupDecoding, 2 tokens, as it advises for a CPU."),
    "iobinding": Side("run_iobinding.py", "onnxruntime", "a-q4",
                      "onnxruntime on layout A: MatMulNBits block 32 accuracy level 4, lm_head quantised too; presents bound as the next pasts; no tokenizer, no prompt lookup."),
    "iobinding-tied": Side("run_iobinding.py", "onnxruntime", "a-q4-tied", "The same as exported: the tied lm_head stays in float32."),
}


def ours(lines):
    """Our bench's lines as a peer's: load stands in each of them, peak in the first, which read 2,048 tokens."""
    for i, r in enumerate(lines):
        version = f"shammah-engine {r['version']}, {r['provider']}, {r['cpu']}"
        extra = [("load", r["load_ms"] / 1e3), ("peak", r["peak_memory"] / 2**20)] if i == 0 else []
        for test, value in [*extra, (r["test"], r["median"] / (1e3 if r["unit"] == "ms" else 1))]:
            yield {"test": test, "value": value, "version": version, "ids": r.get("copied_ids")}


class Comparison:
    def __init__(self, a):
        self.a = a
        self.stock = Stock(a.work, a.models, a.tokenizer)
        self.data = {"machine": machine.describe(), "threads": a.threads, "pairs": a.pairs, "others": a.others, "flags": a.flags,
                     "versions": {}, "notes": {s: SIDES[s].note for s in a.sides}, "rows": [], "problems": []}

    def bench(self, model, names, flags=()):
        """Our program's command for these tests."""
        # The first result is of 2,048 tokens if peak is wanted: the peak is that of the process so far.
        first = ["pp2048"] if "peak" in names else []
        names = first + [n for n in names if n not in ("load", "peak", *first)] or ["pp16"]
        command = [self.a.program, "bench", "--model", model, "-t", self.a.threads, "-r", 1, "-o", "jsonl", "--tokenizer", *(x for n in names for x in ("--test", n))]
        return [str(c) for c in (*command, *self.a.flags, *flags)]

    def side(self, size, name):
        """A function that gives a side's command for a list of tests."""
        s = SIDES[name]
        model = self.stock.model(size, s.model)
        machine.warm(model)
        if not s.script:
            text, _, failed = machine.run(self.bench(model, [*PREPARE, *(["copy"] if "copy" in self.names else [])], s.flags), self.a.timeout)
            if failed:
                raise Failure(failed)
            self.passage = json.loads(text.splitlines()[-1]).get("copied_ids") or self.passage
            return lambda names: self.bench(model, names, s.flags)
        python, limit = self.stock.python(s.environment), below(self.stock.model(size, "b-int4-prune"))
        passage = ["--passage", ",".join(map(str, self.passage))] if self.passage else []
        return lambda names: [python, os.path.join(HERE, s.script), model, *names, "--threads", str(self.a.threads), "--below", str(limit), *passage]

    def prepare(self, size):
        """Of each side its function; a problem for each that cannot be measured."""
        found, self.passage = {}, []
        self.names = [t.name for t in self.a.tests]
        for name in self.a.sides:
            try:
                found[name] = self.side(size, name)
            except (Failure, OSError, ValueError) as e:
                self.problem(size, name, str(e))
        return found

    def problem(self, size, side, text):
        self.data["problems"].append({"size": size, "side": side, "text": text})
        print(f"{size} {side}: {text}", file=sys.stderr, flush=True)

    def once(self, size, name, command):
        """One process: the value of each test, and why it failed. It is repeated where others computed beside it, at most --tries times."""
        best = None
        for _ in range(self.a.tries):
            machine.wait_quiet(self.a.others, self.a.patience)
            text, others, failed = machine.run(command, self.a.timeout)
            lines = [json.loads(line) for line in text.splitlines() if line.startswith("{") and line.endswith("}")]
            got = {r["test"]: r for r in (lines if SIDES[name].script else ours(lines))}
            if best is None or others < best[1]:
                best = got, others, failed
            if failed or others <= self.a.others:
                break
        got, others, failed = best
        if others > self.a.others:
            self.problem(size, name, f"others used {others:.0%} of the cores beside a round")
        self.data["versions"].update({name: r["version"] for r in got.values()})
        return {test: r["value"] for test, r in got.items()}, failed

    def round(self, size, number, sides, rows):
        """Every side once, another one first in each round. A test that a side fails at is not tried again."""
        order = list(sides)
        for name in order[number % len(order):] + order[:number % len(order)]:
            names = [r["test"] for r in rows if name not in r["failed"] and r["test"] in self.a.part.get(name, [r["test"]])]
            names.sort(key=lambda n: (n != "load", n != "peak"))  # the order in which they run
            begin = time.monotonic()
            got, failed = self.once(size, name, sides[name](names)) if names else ({}, "")
            lost = [n for n in names if n not in got]
            if lost:
                self.problem(size, name, f"round {number + 1}: {lost[0]}: {failed or 'it gave no figure'}" + (f"; lost with it: {', '.join(lost[1:])}" if lost[1:] else ""))
            for r in rows:
                r["values"].setdefault(name, []).append(got.get(r["test"]))
                if lost and r["test"] == lost[0]:
                    r["failed"].append(name)
            print(f"{size}, round {number + 1} of {self.a.pairs}, {name}: {time.monotonic() - begin:.0f} s, "
                  + ", ".join(f"{t} {v:.3g}" for t, v in got.items() if t in names), file=sys.stderr, flush=True)

    def run(self):
        for size in self.a.sizes:
            sides = self.prepare(size)
            rows = [{"size": size, "test": t.name, "unit": t.unit, "lower_is_better": t.lower, "values": {}, "failed": []} for t in self.a.tests]
            self.data["rows"] += rows
            for i in range(self.a.pairs):
                self.round(size, i, sides, rows)
                report.save(self.a.out, self.data)  # what is known so far stays if the rest is cut off
        return self.data


def below(model):
    """Prompts have ids below this: the vocabulary, special tokens of Qwen2's left out."""
    path = os.path.join(model, "genai_config.json")
    with open(path, encoding="utf-8") as f:
        return min(json.load(f)["model"]["vocab_size"], 151643)


def names(known, what):
    def parse(text):
        for name in text.split(","):
            if known and name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is no {what}: expected {', '.join(known)}")
        return list(dict.fromkeys(text.split(",")))
    return parse


def test_list(text):
    try:
        return list(dict.fromkeys(tests.parse(name) for name in text.split(",")))
    except ValueError as e:
        raise argparse.ArgumentTypeError(str(e)) from e


def part(text):
    side, _, some = text.partition("=")
    return names(SIDES, "side")(side)[0], [t.name for t in test_list(some)]


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    work = os.path.join(ROOT, "build", "peers")
    tokenizer = os.path.join(ROOT, "..", "shared", "data", "tokenizers", "qwen2.5-0.5b-instruct")
    p.add_argument("--sides", type=names(SIDES, "side"), default="ours,ours-a,genai,openvino,llama,iobinding", help="which of " + ", ".join(SIDES))
    p.add_argument("--tests", type=test_list, default="load,peak,pp16,pp512,pp2048,tg128@d16,tg128@d1024,tg128@d4096,tg64b4@d16,tg64b8@d16,turn2")
    p.add_argument("--part", type=part, action="append", default=[], metavar="SIDE=TESTS", help="run no more than these of the tests on this side (repeatable)")
    p.add_argument("--sizes", type=names((), "size"), default="0.5b,1.5b")
    p.add_argument("--pairs", type=int, default=5, help="rounds, at least 5 for a table to show")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--models", action="append", help="a folder with models (repeatable); what none has is made in the first (default: build/peers/models)")
    p.add_argument("--tokenizer", default=tokenizer if os.path.isdir(tokenizer) else None, help="a folder with Qwen2's for models that are made up")
    p.add_argument("--work", default=work, help="where environments and logs go")
    p.add_argument("--out", help="OUT.json and OUT.md are written, after each round (default: result in --work)")
    p.add_argument("--program", default=os.path.join(ROOT, "build", "bin", "shammah-engine"))
    p.add_argument("--flags", type=str.split, default=[], help="more flags for our bench, in one string")
    p.add_argument("--others", type=float, default=0.05, help="share of the cores that others may use before a process is repeated")
    p.add_argument("--tries", type=int, default=2, help="processes at most, until one is undisturbed")
    p.add_argument("--patience", type=float, default=60, help="seconds to wait at most for others to be quiet before a process")
    p.add_argument("--timeout", type=float, default=900, help="seconds that one process may take")
    p.add_argument("--prepare", action="store_true", help="only install and make what the comparison needs")
    a = p.parse_args()
    a.models = [os.path.abspath(m) for m in a.models or [os.path.join(a.work, "models")]]
    a.part = dict(a.part)
    if any(t.name == "copy" for t in a.tests) and SIDES[a.sides[0]].script:
        p.error("copy needs one of our own sides first: the peers read the ids of its tokenizer")
    a.out = a.out or os.path.join(a.work, "result")
    if min(a.pairs, a.threads, a.tries) < 1:
        p.error("--pairs, --threads and --tries must be at least 1")
    os.makedirs(a.models[0], exist_ok=True)
    os.makedirs(a.work, exist_ok=True)
    return a


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what runs is ended too
    a = arguments()
    c = Comparison(a)
    if a.prepare:
        for size in a.sizes:
            print("\n".join(f"{size} {name}: ready" for name in c.prepare(size)))
        sys.exit(bool(c.data["problems"]))
    print(report.markdown(c.run()), end="")
    print(f"\nwritten to {os.path.relpath(a.out)}.json and .md", file=sys.stderr)


if __name__ == "__main__":
    main()
