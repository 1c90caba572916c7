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
TESTS = "load,pp512,tg64@d16,tg64b8@d16,turn2"
SIDES = ("ours", "runtime")


def arguments(stored):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    work = os.path.join(compare.ROOT, "build", "peers")
    p.add_argument("--sizes", help="embedded, and any NAME with NAME-b-int4-prune in a --models folder (default: embedded and those that are stored and at hand)")
    p.add_argument("--tests", default=TESTS)
    p.add_argument("--pairs", type=int, default=7)
    p.add_argument("--models", action="append", help="a folder with models (repeatable)")
    p.add_argument("--margin", type=float, default=0.03, help="what counts as noise")
    p.add_argument("--update", action="store_true", help="store what is measured, for the sizes that are measured")
    a, more = p.parse_known_args()  # the rest is compare.py's
    folders = a.models or [os.path.join(work, "models")]
    if not a.sizes:
        known = list(dict.fromkeys(["embedded", *(r["size"] for r in stored["rows"])]))
        absent = [s for s in known if s != "embedded" and not any(os.path.isdir(os.path.join(f, s + "-b-int4-prune")) for f in folders)]
        a.sizes = ",".join(s for s in known if s not in absent)
        for s in absent:
            print(f"not checked: there is no {s}-b-int4-prune in {' or '.join(folders)}", file=sys.stderr)
    sys.argv = [sys.argv[0], f"--sides={','.join(SIDES)}", f"--sizes={a.sizes}", f"--tests={a.tests}", f"--pairs={a.pairs}", f"--out={os.path.join(work, 'check')}",
                *(f"--models={f}" for f in folders), *more]
    return a, compare.arguments()


def same_machine(a, b):
    return all(a.get(key) == b[key] for key in ("cpu", "family", "model", "flags", "cores"))


def key(row):
    return row["size"], row["test"]


def judge(stored, new, margin):
    """A word for a ratio that is measured now: both are median, worse and better quartile."""
    if not new:
        return "not measured"
    if not stored:
        return "not stored"
    if new[2] < stored[1] * (1 - margin):
        return "SLOWER"
    return "faster" if new[1] > stored[2] * (1 + margin) else "as before"


def main():
    try:
        with open(STORED, encoding="utf-8") as f:
            stored = json.load(f)
    except FileNotFoundError:
        stored = {"rows": [], "machine": {}}
    a, b = arguments(stored)
    comparable = same_machine(stored["machine"], machine.describe())
    data = compare.Comparison(b).run()
    rows = {key(r): r for r in stored["rows"]} if comparable else {}
    table, words = [], []
    for r in data["rows"]:
        before, now = report.ratio(rows[key(r)], *SIDES) if key(r) in rows else None, report.ratio(r, *SIDES)
        words.append(judge(before, now, a.margin))
        table.append([*key(r), r["unit"], *(report.number(report.median(r, s)) for s in SIDES), report.quartiles(now), report.quartiles(before), words[-1]])
    print("\n".join(report.lines(["model", "test", "unit", "ours", "kernels off", "ratio", "stored ratio", ""], table, 3)))
    if stored["rows"] and not comparable:
        print(f"\nnot judged: the ratios are stored of {stored['machine']['cpu']} with {stored['machine']['cores']} cores; --update stores this machine's")
    if a.update:
        data["rows"] = [r for r in data["rows"] if report.ratio(r, *SIDES)]
        measured = {key(r) for r in data["rows"]}
        data["rows"] += [r for k, r in rows.items() if k not in measured]
        report.write(STORED, report.text(data))
        print(f"\nstored in {os.path.relpath(STORED)}")
    if "SLOWER" in words and not a.update or "not measured" in words:
        sys.exit(1)


if __name__ == "__main__":
    main()
