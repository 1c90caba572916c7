"""One measurement of one peer in a fresh process: what all run_*.py share. Import it before the peer, so that it sees the interpreter alone."""
import argparse
import json
import time


def memory(key):
    """VmRSS or VmHWM (the peak) of this process in MB (2^20 bytes)."""
    with open("/proc/self/status") as f:
        for line in f:
            if line.startswith(key + ":"):
                return int(line.split()[1]) / 1024
    return 0.0


BASE = memory("VmRSS")


def prompts(rows, n, seed):
    """Rows of n random ids below Qwen2's special tokens, or below the vocabulary that is given."""
    import numpy as np
    return np.random.default_rng(seed).integers(0, prompts.below, (rows, n))


prompts.below = 151643


def main(load, version):
    """Loads, warms up with other prompts, measures once, prints one JSON line.

    load(model, threads, rows, tokens) gives measure(ids, new, more), which reads the prompts ids (rows, n), writes new tokens more than the
    first one for each row, and gives the seconds of both; with ids (rows, m) in more, it goes on with those after what it wrote, as a second
    turn does, and gives the seconds until the first token of the second answer as well.
    """
    p = argparse.ArgumentParser()
    p.add_argument("model")
    for name, value in (("prompt", 16), ("new", 0), ("rows", 1), ("more", 0), ("threads", 2), ("below", prompts.below)):
        p.add_argument("--" + name, type=int, default=value)
    a = p.parse_args()
    prompts.below = a.below
    begin = time.perf_counter()
    measure = load(a.model, a.threads, a.rows, a.prompt + a.new + a.more + 2)
    loaded = time.perf_counter() - begin
    figures = {}
    for seed in (1, 2):  # the first is to warm up
        more = prompts(a.rows, a.more, seed + 2) if a.more else None
        prefill, decode, *turn = measure(prompts(a.rows, a.prompt, seed), a.new, more)
        figures = {"rate": a.rows * a.new / decode if a.new else a.rows * a.prompt / prefill, **({"turn_s": turn[0]} if turn else {})}
    print(json.dumps({**figures, "load_s": loaded, "peak_mb": memory("VmHWM") - BASE, "interpreter_mb": BASE, "version": version}))
