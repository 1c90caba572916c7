#!/usr/bin/env python3
"""Hold the program against a bare C loop over the same graph: decode rate, load time, peak memory.

usage: compare.py MODEL [BARE.C] [--rounds 5] [--prompt 16] [--new 128] [--threads 2]

MODEL is a folder in onnxruntime-genai's layout. BARE.C is the loop's source (default: ../shared/tools/bare.c beside the repository).
Both run in turn in fresh processes, so that what else the machine does meets both; medians and the ratio are printed as a table.
"""
import argparse, json, os, re, statistics, subprocess, sys, tempfile

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))


def build(source, folder):
    out = os.path.join(folder, "bare")
    subprocess.run(["cc", "-O3", "-march=native", source, "-I", os.path.join(ROOT, "build/include"), "-o", out, "-ldl", "-lm"], check=True)
    return out


def bare(program, model, a):
    with open(os.path.join(model, "genai_config.json")) as f:
        config = json.load(f)["model"]
    decoder = config["decoder"]
    command = [program, os.path.join(ROOT, "build/lib/libonnxruntime.so"), os.path.join(model, decoder["filename"]), decoder["num_hidden_layers"],
               decoder["num_key_value_heads"], decoder["head_size"], config["vocab_size"], a.prompt, a.new, a.threads, 0]
    text = subprocess.run([str(c) for c in command], check=True, capture_output=True, text=True).stdout
    # the first pass is the warm-up that our bench has too; the peak is that of both
    found = re.findall(r"load ([\d.]+)s prefill \d+: ([\d.]+) tok/s decode: ([\d.]+) tok/s .* peak (\d+) MB", text)
    load, prefill, decode, peak = found[-1]
    return {"decode tok/s": float(decode), "prefill tok/s": float(prefill), "load s": float(load), "peak MB": float(peak)}


def ours(model, a):
    command = [os.path.join(ROOT, "build/bin/shammah-engine"), "bench", "--model", model, "-p", a.prompt, "-n", a.new, "-d", a.prompt, "-r", 1, "-t", a.threads, "-o", "json"]
    report = json.loads(subprocess.run([str(c) for c in command], check=True, capture_output=True, text=True).stdout)
    by = {("prefill" if r["test"].startswith("pp") else "decode"): r for r in report["results"]}
    return {"decode tok/s": by["decode"]["median"], "prefill tok/s": by["prefill"]["median"], "load s": report["load_ms"] / 1e3,
            "peak MB": max(r["peak_memory"] for r in report["results"]) / 2**20}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("source", nargs="?", default=os.path.join(ROOT, "..", "shared", "tools", "bare.c"))
    for name, value in (("rounds", 5), ("prompt", 16), ("new", 128), ("threads", 2)):
        p.add_argument("--" + name, type=int, default=value)
    a = p.parse_args()
    if not os.path.exists(a.source):
        sys.exit(f"compare: no bare loop at {a.source}: give its source as the second argument")
    sides = {"bare": [], "ours": []}
    with tempfile.TemporaryDirectory() as folder:
        program = build(a.source, folder)
        for i in range(a.rounds):
            sides["bare"].append(bare(program, a.model, a))
            sides["ours"].append(ours(a.model, a))
            print(f"round {i + 1} of {a.rounds}: " + ", ".join(f"{k} {v[-1]['decode tok/s']:.1f} tok/s" for k, v in sides.items()), file=sys.stderr)
    print(f"{os.path.basename(os.path.abspath(a.model))}, prompt {a.prompt}, {a.new} new tokens, {a.threads} threads, medians of {a.rounds}\n")
    print("| | bare C loop | shammah-engine | ratio, median of pairs |\n|---|---:|---:|---:|")
    for key in sides["bare"][0]:
        b, o = ([r[key] for r in sides[s]] for s in ("bare", "ours"))
        ratio = statistics.median(y / x for x, y in zip(b, o) if x)
        print(f"| {key} | {statistics.median(b):.2f} | {statistics.median(o):.2f} | {ratio:.3f} |")


if __name__ == "__main__":
    main()
