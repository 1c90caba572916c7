#!/usr/bin/env python3
"""Has a change made it slower? Runs our program with its kernels beside --kernels off, in turn, and holds the ratios against the stored ones.

A ratio of two sides that meet the same minutes says more than a rate does, but only on the same kind of machine: on another one the
ratios are printed and nothing is judged. Slower is a test whose better quartile lies below the stored worse one by more than --margin.
"""
import argparse
import json
import os
import sys

import compare
import machine
import report

STORED = os.path.join(compare.ROOT, "docs", "benchmarks", "check.json")
TESTS = "load,pp512,tg16,b8,turn2"


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    work = os.path.join(compare.ROOT, "build", "peers")
    p.add_argument("--sizes", default="embedded", help="embedded, and any NAME with NAME-b-int4-prune in a --models folder")
    p.add_argument("--tests", default=TESTS)
    p.add_argument("--pairs", type=int, default=7)
    p.add_argument("--models", action="append", help="a folder with models (repeatable)")
    p.add_argument("--margin", type=float, default=0.03, help="what counts as noise")
    p.add_argument("--update", action="store_true", help="store what is measured, for the sizes that are measured")
    a, more = p.parse_known_args()  # the rest is compare.py's
    models = [f"--models={m}" for m in a.models or [os.path.join(work, "models")]]
    sys.argv = [sys.argv[0], "--peers=runtime", f"--sizes={a.sizes}", f"--tests={a.tests}", f"--pairs={a.pairs}", "--new=64", f"--out={os.path.join(work, 'check')}", *models, *more]
    return a, compare.arguments()


def same_machine(a, b):
    return all(a[key] == b[key] for key in ("cpu", "family", "model", "flags", "cores"))


def key(row):
    return row["size"], row["test"]


def judge(stored, new, margin):
    """A word for a row that is measured now."""
    if "ratio" not in new:
        return "not measured: " + "; ".join(new["errors"])
    if not stored or "ratio" not in stored:
        return "not stored"
    # A time is the better the smaller it is: then the ratio of ours to theirs is too.
    worse, better = (lambda r: r["ratio_low"]), (lambda r: r["ratio_high"])
    if new["lower_is_better"]:
        worse, better = (lambda r: 1 / r["ratio_high"]), (lambda r: 1 / r["ratio_low"])
    if better(new) < worse(stored) * (1 - margin):
        return "SLOWER"
    return "faster" if worse(new) > better(stored) * (1 + margin) else "as before"


def main():
    a, b = arguments()
    try:
        with open(STORED, encoding="utf-8") as f:
            stored = json.load(f)
    except FileNotFoundError:
        stored = None
    comparable = stored and same_machine(stored["machine"], machine.describe())
    data = compare.Comparison(b).run()
    before = {key(r): r for r in stored["rows"]} if comparable else {}
    words = [judge(before.get(key(r)), r, a.margin) for r in data["rows"]]
    table = [[*key(r), r["unit"], report.number(r.get("ours_median")), report.number(r.get("theirs_median")), report.ratio(r),
              report.ratio(before.get(key(r), {})), word] for r, word in zip(data["rows"], words)]
    print("\n".join(report.lines(["model", "test", "unit", "ours", "kernels off", "ratio", "stored ratio", ""], table)))
    if stored and not comparable:
        print(f"\nnot judged: the ratios are stored of {stored['machine']['cpu']} with {stored['machine']['cores']} cores; --update stores this machine's")
    if a.update:
        data["rows"] = [r for r in data["rows"] if "ratio" in r]
        measured = {key(r) for r in data["rows"]}
        data["rows"] += [r for r in before.values() if key(r) not in measured]
        os.makedirs(os.path.dirname(STORED), exist_ok=True)
        with open(STORED + ".new", "w", encoding="utf-8") as f:
            json.dump(data, f, ensure_ascii=False, indent=1)
            f.write("\n")
        os.replace(STORED + ".new", STORED)
        print(f"\nstored in {os.path.relpath(STORED)}")
    if "SLOWER" in words and not a.update or any(w.startswith("not measured") for w in words):
        sys.exit(1)


if __name__ == "__main__":
    main()
