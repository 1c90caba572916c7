"""All tests of one peer in one process: what all run_*.py share. Import it before the peer, so that it sees the interpreter alone."""
import argparse
import json
import time

import tests


def memory(key):
    """VmRSS or VmHWM (the peak) of this process in MB (2^20 bytes)."""
    with open("/proc/self/status") as f:
        for line in f:
            if line.startswith(key + ":"):
                return int(line.split()[1]) / 1024
    return 0.0


BASE = memory("VmRSS")


def warmup(t):
    """What is run before a test: its timed part at full length, because kernels are made for a shape when it first comes, the rest in brief."""
    timed = not t.new and not t.more
    return t._replace(prompt=t.prompt if timed else min(t.prompt, 16), new=min(t.new, 4))


def main(load, version):
    """Loads, then runs each test once to warm up and once to be timed, peak first; prints a JSON line for each as soon as it is known.

    load(model, threads) gives measure(ids, new, more, lookup), which reads the prompts ids (rows, n), writes new tokens more than the first
    one for each row, and gives the seconds of both; with ids (rows, m) in more, it goes on with those after what it wrote, as a second turn
    does, and gives the seconds until the first token of the second answer as well; with lookup it may guess from the prompt.
    """
    p = argparse.ArgumentParser()
    p.add_argument("model")
    p.add_argument("tests", nargs="+", type=tests.parse)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--below", type=int, default=151643, help="random ids are below this: Qwen2's special tokens, or the vocabulary")
    p.add_argument("--passage", type=lambda s: [int(x) for x in s.split(",")], default=[], help="the ids that copy reads")
    a = p.parse_args()
    if not a.passage and any(t.name == "copy" for t in a.tests):
        p.error("copy needs --passage")
    begin = time.perf_counter()
    measure = load(a.model, a.threads)
    loaded = time.perf_counter() - begin
    import numpy as np
    random = np.random.default_rng(1)  # no prompt twice: OpenVINO keeps prefixes

    def run(t):
        ids = np.array([a.passage]) if t.name == "copy" else random.integers(0, a.below, (t.rows, t.prompt))
        return measure(ids, t.new, random.integers(0, a.below, (t.rows, t.more)) if t.more else None, t.name == "copy")

    def figure(t):
        if t.name == "load":
            return loaded
        prefill, decode, *turn = run(t)
        if t.name == "peak":  # it comes first: nothing deeper was read
            return memory("VmHWM") - BASE
        return turn[0] if turn else t.rows * t.new / decode if t.new else t.rows * t.prompt / prefill

    warm = set()
    for t in sorted(a.tests, key=lambda t: (t.name != "load", t.name != "peak")):
        if t.name == "peak":  # it is the first run of its length
            warm.add(t[3:])
        elif t.name != "load" and (brief := warmup(t))[3:] not in warm:
            run(brief)
            warm.add(brief[3:])
        print(json.dumps({"test": t.name, "value": figure(t), "version": version}), flush=True)
