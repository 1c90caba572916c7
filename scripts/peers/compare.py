#!/usr/bin/env python3
"""Hold the program against its peers: installs them, makes the models, runs every test on all sides in turn, prints a table.

Tests: ppN reads a prompt of N tokens; tgN writes --new tokens after a prompt of N; bN writes them for N rows after prompts of 16 (all rows' tokens a
second); load is seconds until model and tokenizer are ready; peak is MB resident at most, with a prompt of 2,048 tokens read.
A size is one of the shapes that can be made up (tiny, 0.5b, 1.5b), "embedded", our program's own model (for the runtime's side alone), or any NAME for which a --models folder has NAME-hf, NAME-b-int4-prune and so on.
"""
import argparse
import collections
import json
import os
import re
import signal
import sys

import machine
import report
from machine import Failure
from stock import Stock

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
HERE = os.path.dirname(os.path.abspath(__file__))

# One process: what it reads, what it writes, for how many rows, and how much a second turn adds to the conversation.
Spec = collections.namedtuple("Spec", "prompt new rows more", defaults=(0,))
TURN = Spec(1000, 16, 1, 32)  # as our bench's turn2
Test = collections.namedtuple("Test", "label unit lower spec field")
Peer = collections.namedtuple("Peer", "script environment model ours note")  # ours is the model that our program runs beside it

BUILDER = "Graph of its own builder: int4, block 32, accuracy level 4"
GENAI = "Shared cache of the length needed, batch in one generator"
PEERS = {
    "runtime": Peer(None, None, "b-int4-prune", "b-int4-prune", "Our own program with --kernels off: ONNX Runtime computes the graph as it is, in the same loop."),
    "runtime-a": Peer(None, None, "a-q4", "a-q4", "The same on layout A."),
    "genai": Peer("run_genai.py", "onnxruntime", "b-int4-prune", "b-int4-prune", f"{BUILDER}, prune_lm_head. {GENAI}. Ours runs the same file."),
    "genai-full": Peer("run_genai.py", "onnxruntime", "b-int4", "b-int4", f"{BUILDER}, logits of all rows (the builder's default). {GENAI}. Ours runs the same file."),
    "openvino": Peer("run_openvino.py", "openvino", "ov-int4", "b-int4-prune",
                     "optimum-cli export openvino --weight-format int4 --sym --group-size 128 --ratio 1.0 --all-layers; PERFORMANCE_HINT LATENCY, "
                     "DYNAMIC_QUANTIZATION_GROUP_SIZE 128 (prefill a quarter faster than by default), paged attention; batch by ContinuousBatchingPipeline."),
    "openvino-gguf": Peer("run_openvino.py", "openvino", "q4_0.gguf", "b-int4-prune", "The same from the Q4_0 GGUF, default dynamic quantisation."),
    "llama": Peer("run_llama.py", "llama", "q4_0.gguf", "b-int4-prune",
                  "llama.cpp compiled on this machine for its own CPU. Q4_0 for all matrices (the embedding too), flash attention auto, ubatch 512, "
                  "weights mapped and repacked, all rows in one llama_batch."),
    "iobinding": Peer("run_iobinding.py", "onnxruntime", "a-q4", "a-q4",
                      "Layout A, MatMulNBits block 32 accuracy level 4, lm_head quantised too; presents bound as the next pasts. Ours runs the same file."),
    "iobinding-tied": Peer("run_iobinding.py", "onnxruntime", "a-q4-tied", "a-q4-tied", "The same as exported: the tied lm_head stays in float32."),
}


def parse_test(name, new):
    """pp512, tg16 (also tg@16, tg@d16), b8, turn2, load, peak."""
    if m := re.fullmatch(r"pp(\d+)", name):
        return Test(name, "tok/s", False, Spec(int(m[1]), 0, 1), "rate")
    if m := re.fullmatch(r"tg@?d?(\d+)", name):
        return Test(f"tg{new} @ d{m[1]}", "tok/s", False, Spec(int(m[1]), new, 1), "rate")
    if m := re.fullmatch(r"b(\d+)", name):
        return Test(f"tg{new} b{m[1]} @ d16", "tok/s", False, Spec(16, new, int(m[1])), "rate")
    if name == "turn2":
        return Test("turn2 @ d1000", "s", True, TURN, "turn_s")
    if name == "load":
        return Test("load", "s", True, Spec(16, 0, 1), "load_s")
    if name == "peak":
        return Test("peak, pp2048", "MB", True, Spec(2048, 0, 1), "peak_mb")
    raise argparse.ArgumentTypeError(f"{name!r} is no test: expected ppN, tgN, bN, turn2, load or peak")


class Comparison:
    def __init__(self, a):
        self.a = a
        self.stock = Stock(a.work, a.models, a.tokenizer)
        self.data = {"machine": machine.describe(), "threads": a.threads, "pairs": a.pairs, "new": a.new, "others": a.others, "flags": a.flags,
                     "versions": {}, "notes": {p: PEERS[p].note for p in a.peers}, "rows": []}

    def ours(self, model, spec, flags=()):
        """Our program's figures for one process, as peer.py gives a peer's."""
        if spec == TURN:
            want = ["--test", "turn2"]
        elif spec.new:
            want = ["-p", 0, "-n", spec.new, "-d", spec.prompt, "-b", spec.rows]
        else:
            want = ["-p", spec.prompt, "-n", 0]
        command = [self.a.program, "bench", "--model", model, "-t", self.a.threads, "-r", 1, "-o", "json", *want, *self.a.flags, *flags]
        text, others = machine.run([str(c) for c in command], self.a.timeout)
        r = json.loads(text)
        self.data["versions"]["ours"] = f"shammah-engine {r['version']}, {r['provider']}, {r['cpu']}"
        result = r["results"][0]
        value = {"turn_s": result["median"] / 1e3, "rate": 0} if spec == TURN else {"rate": result["median"]}
        return {**value, "load_s": r["load_ms"] / 1e3, "peak_mb": result["peak_memory"] / 2**20}, others

    def theirs(self, name, python, model, below, spec):
        if not PEERS[name].script:
            return self.ours(model, spec, ["--kernels", "off"])
        command = [python, os.path.join(HERE, PEERS[name].script), model, "--prompt", spec.prompt, "--new", spec.new, "--rows", spec.rows, "--more", spec.more,
                   "--threads", self.a.threads, "--below", below]
        text, others = machine.run([str(c) for c in command], self.a.timeout)
        r = json.loads(text.splitlines()[-1])
        self.data["versions"][name] = r["version"]
        return r, others

    def sides(self, size):
        """A function for each side that measures a spec, or the line that says why it cannot; ours stands before the peers that it is held against."""
        sides = {}
        for name in self.a.peers:
            p = PEERS[name]
            mine = "ours " + p.ours
            if mine not in sides:
                sides[mine] = self.side(lambda: self.stock.model(size, p.ours), lambda model: lambda spec: self.ours(model, spec))
            sides[name] = self.side(
                lambda: (p.environment and self.stock.python(p.environment), self.stock.model(size, p.model), below(self.stock.model(size, p.ours))),
                lambda have, name=name: lambda spec: self.theirs(name, *have, spec))
        return sides

    def side(self, have, measure):
        try:
            found = have()
            for path in found[1:2] if isinstance(found, tuple) else [found]:
                machine.warm(path)
            return measure(found)
        except (Failure, OSError) as e:
            return str(e)

    def undisturbed(self, measure, spec):
        """The figures of a run beside which others computed little; after --tries the least disturbed one."""
        best = None
        for _ in range(self.a.tries):
            machine.wait_quiet(self.a.others, self.a.patience)
            r, others = measure(spec)
            if best is None or others < best[1]:
                best = r, others
            if others <= self.a.others:
                break
        return best

    def measure(self, size, sides, spec):
        """All rounds of one spec: for each side the list of (figures, others' share), or the line that says why there is none."""
        got = {name: m if isinstance(m, str) else [] for name, m in sides.items()}
        for i in range(self.a.pairs):
            for name, m in sides.items():
                if isinstance(got[name], str):
                    continue
                try:
                    got[name].append(self.undisturbed(m, spec))
                except (Failure, ValueError, KeyError, IndexError) as e:
                    got[name] = str(e) or type(e).__name__
            done = ", ".join(f"{name} {v if isinstance(v, str) else format(v[-1][0].get('turn_s') or v[-1][0]['rate'], '.3g')}" for name, v in got.items())
            print(f"{size} {spec.prompt}+{spec.new}x{spec.rows}, round {i + 1} of {self.a.pairs}: {done}", file=sys.stderr, flush=True)
        return got

    def run(self):
        for size in self.a.sizes:
            sides = self.sides(size)
            for spec in dict.fromkeys(t.spec for t in self.a.tests):
                got = self.measure(size, sides, spec)
                for test in (t for t in self.a.tests if t.spec == spec):
                    for name in self.a.peers:
                        pair = [got["ours " + PEERS[name].ours], got[name]]
                        values = [v if isinstance(v, str) else [figures[test.field] for figures, _ in v] for v in pair]
                        disturbed = any(others > self.a.others for v in pair if not isinstance(v, str) for _, others in v)
                        self.data["rows"].append(report.row(size, test, name, *values, disturbed))
                report.save(self.a.out, self.data)  # what is known so far stays if the rest is cut off
        return self.data


def below(model):
    """Prompts have ids below this: the vocabulary, special tokens of Qwen2's left out."""
    for name, keys in (("genai_config.json", ("model", "vocab_size")), ("config.json", ("vocab_size",))):
        path = os.path.join(model, name)
        if os.path.exists(path):
            with open(path, encoding="utf-8") as f:
                value = json.load(f)
            for key in keys:
                value = value[key]
            return min(value, 151643)
    raise Failure(f"{model} has neither genai_config.json nor config.json")


def names(known, what):
    def parse(text):
        for name in text.split(","):
            if known and name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is no {what}: expected {', '.join(known)}")
        return text.split(",")
    return parse


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    work = os.path.join(ROOT, "build", "peers")
    tokenizer = os.path.join(ROOT, "..", "shared", "data", "tokenizers", "qwen2.5-0.5b-instruct")
    p.add_argument("--peers", type=names(PEERS, "peer"), default="genai,openvino,openvino-gguf,llama,iobinding", help="which of " + ", ".join(PEERS))
    p.add_argument("--tests", default="load,pp16,pp512,pp2048,peak,tg16,tg1024,tg4096,b4,b8,turn2")
    p.add_argument("--sizes", type=names((), "size"), default="0.5b,1.5b")
    p.add_argument("--pairs", type=int, default=5, help="rounds that count, at least 5 for a table to show")
    p.add_argument("--new", type=int, default=128, help="tokens that tg and b write after the first one")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--models", action="append", help="a folder with models (repeatable); what none has is made in the first (default: build/peers/models)")
    p.add_argument("--tokenizer", default=tokenizer if os.path.isdir(tokenizer) else None, help="a folder with Qwen2's for models that are made up")
    p.add_argument("--work", default=work, help="where environments and logs go")
    p.add_argument("--out", default=os.path.join(work, "result"), help="OUT.json and OUT.md are written, after each test")
    p.add_argument("--program", default=os.path.join(ROOT, "build", "bin", "shammah-engine"))
    p.add_argument("--flags", type=str.split, default=[], help="more flags for our bench, in one string")
    p.add_argument("--others", type=float, default=0.05, help="share of the cores that others may use before a run is repeated")
    p.add_argument("--tries", type=int, default=4, help="runs at most, until one is undisturbed")
    p.add_argument("--patience", type=float, default=120, help="seconds to wait at most for others to be quiet before a run")
    p.add_argument("--timeout", type=float, default=1800, help="seconds that one run may take")
    p.add_argument("--prepare", action="store_true", help="only install and make what the comparison needs")
    a = p.parse_args()
    a.models = [os.path.abspath(m) for m in a.models or [os.path.join(a.work, "models")]]
    try:
        a.tests = [parse_test(name, a.new) for name in a.tests.split(",")]
    except argparse.ArgumentTypeError as e:
        p.error(str(e))
    if min(a.pairs, a.new, a.threads, a.tries) < 1:
        p.error("--pairs, --new, --threads and --tries must be at least 1")
    os.makedirs(a.models[0], exist_ok=True)
    os.makedirs(a.work, exist_ok=True)
    return a


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what runs is ended too
    a = arguments()
    c = Comparison(a)
    if a.prepare:
        said = [f"{size} {name}: {'ready' if callable(side) else side}" for size in a.sizes for name, side in c.sides(size).items()]
        print("\n".join(said))
        sys.exit(any(not line.endswith(": ready") for line in said))
    print(report.markdown(c.run()), end="")
    print(f"\nwritten to {os.path.relpath(a.out)}.json and .md", file=sys.stderr)


if __name__ == "__main__":
    main()
