#!/usr/bin/env python3
"""Makes docs/benchmarks from what compare.py wrote: data.json, the tables of README.md, and the chart of the project's README.

    publish.py build/peers/result.json [MORE.json ...]    # rows of later files take the place of earlier ones
    publish.py                                            # tables and chart anew from data.json
"""
import argparse
import json
import os
import re

import report

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "docs", "benchmarks")
TESTS = {"pp512": "read 512 tokens", "pp2048": "read 2,048", "tg @ d16": "write", "tg @ d1024": "write after 1,024", "tg b8 @ d16": "write, 8 rows at once"}
SIZES = {"0.5b": "0.5B", "1.5b": "1.5B", "smollm2": "135M"}  # as they are published
SIDES = {"ours": ("shammah-engine", "#1f7a8c"), "openvino": ("OpenVINO GenAI", "#b0b7c3"), "llama": ("llama.cpp", "#c9b79c"), "genai": ("onnxruntime-genai", "#a7bfa5")}
HEAD = """# Beside the peers

Made by `scripts/peers/publish.py` from `data.json`, which `make peers` measures; do not edit. The commands are in [scripts/peers](../../scripts/peers/README.md).
`check.json` holds the ratios of our kernels to the runtime's that `make bench-check` compares with.

"""


def merge(files):
    """The rows of all files, the last of each kind; a file's machine, versions and rounds go with the others'."""
    data = {}
    for name in files:
        with open(name, encoding="utf-8") as f:
            new = json.load(f)
        if not data:
            data = new
            continue
        for part in ("cpu", "family", "model", "flags", "cores"):
            if data["machine"][part] != new["machine"][part]:
                raise SystemExit(f"publish.py: {name} is of another machine: {part} {new['machine'][part]}, expected {data['machine'][part]}")
        kinds = {(r["size"], r["test"]) for r in new["rows"]}
        kept = [r for r in data["rows"] if (r["size"], r["test"]) not in kinds]
        new["rows"] = kept + new["rows"]
        new["problems"] = [p for p in data["problems"] if any(r["size"] == p["size"] for r in kept)] + new["problems"]
        new["pairs"] = min(data["pairs"], new["pairs"])
        for part in ("versions", "notes"):
            new[part] = {**data[part], **new[part]}
        data = new
    data["rows"].sort(key=lambda r: list(SIZES).index(r["size"]) if r["size"] in SIZES else len(SIZES))
    return data


def values(data, size, test):
    """Median tok/s of each side."""
    row = next((r for r in data["rows"] if r["size"] == size and re.sub(r"^tg\d+", "tg", r["test"]) == test), {"values": {}})
    return {s: v for s in SIDES if (v := report.median(row, s))}


def chart(data):
    """Small multiples: a row of panels for each size, a bar for each side, each panel on a scale of its own."""
    sizes = [s for s in SIZES if any(values(data, s, t) for t in TESTS)]
    tests = [t for t in TESTS if any(values(data, s, t) for s in sizes)]
    left, panel, wide, bar, top = 56, 178, 120, 15, 56
    height = len(SIDES) * bar + 34
    w, h = left + panel * len(tests), top + height * len(sizes) + 8
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {w} {h}" font-family="sans-serif" font-size="11" fill="#57606a">',
           "<title>Tokens a second, beside peers on the same machine</title>"]
    x = left
    for name, (label, color) in SIDES.items():
        out.append(f'<rect x="{x}" y="8" width="11" height="11" fill="{color}"/><text x="{x + 16}" y="18">{label}</text>')
        x += 34 + 7 * len(label)
    out += [f'<text x="{left + panel * i}" y="{top - 10}" font-weight="bold">{TESTS[t]}</text>' for i, t in enumerate(tests)]
    for row, size in enumerate(sizes):
        y0 = top + height * row
        out.append(f'<text x="4" y="{y0 + height / 2 - 12}" font-weight="bold">{SIZES[size]}</text>')
        for i, t in enumerate(tests):
            got = values(data, size, t)
            if not got:
                out.append(f'<text x="{left + panel * i}" y="{y0 + 10}">not measured</text>')
            for k, name in enumerate(s for s in SIDES if s in got):
                length = wide * got[name] / max(got.values())
                y = y0 + k * bar
                out.append(f'<rect x="{left + panel * i}" y="{y}" width="{length:.1f}" height="{bar - 3}" fill="{SIDES[name][1]}"/>'
                           f'<text x="{left + panel * i + length + 4:.1f}" y="{y + 10}">{report.number(got[name])}</text>')
    return "\n".join([*out, "</svg>"]) + "\n"


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("files", nargs="*")
    a = p.parse_args()
    folder = os.path.normpath(FOLDER)
    data = merge(a.files or [os.path.join(folder, "data.json")])
    os.makedirs(folder, exist_ok=True)
    for name, text in (("data.json", report.text(data)), ("README.md", HEAD + report.markdown(data)), ("rates.svg", chart(data))):
        path = os.path.join(folder, name)
        report.write(path, text)
        print(os.path.relpath(path))


if __name__ == "__main__":
    main()
