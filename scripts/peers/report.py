"""Rows of ours beside theirs, as data and as Markdown."""
import json
import os
import statistics


def row(size, test, peer, ours, theirs, disturbed):
    """One row. ours and theirs are a value for each round or a line that says why there is none."""
    r = {"size": size, "test": test.label, "peer": peer, "unit": test.unit, "lower_is_better": test.lower, "disturbed": disturbed}
    for side, values in (("ours", ours), ("theirs", theirs)):
        if isinstance(values, str):
            r.setdefault("errors", []).append(f"{side}: {values}")
        else:
            r[side], r[side + "_median"] = values, statistics.median(values)
    if "errors" not in r:
        ratios = [a / b for a, b in zip(ours, theirs)]
        low, _, high = statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
        r.update(ratio=statistics.median(ratios), ratio_low=low, ratio_high=high)
    return r


def number(x):
    return "–" if x is None else f"{x:.2f}" if x < 10 else f"{x:.1f}" if x < 100 else f"{x:.0f}"


def ratio(r):
    return f"{r['ratio']:.2f} ({r['ratio_low']:.2f}–{r['ratio_high']:.2f})" if "ratio" in r else "–"


def lines(head, rows):
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * 2 + "---:|" * (len(head) - 2)
    for cells in rows:
        yield "| " + " | ".join(str(c).replace("|", "/") for c in cells) + " |"


def markdown(data):
    m = data["machine"]
    out = [f"{m['cpu']} (family {m['family']}, model {m['model']}: {' '.join(m['flags'])}), {m['cores']} cores, {m['memory_gib']} GiB, {m['system']}, {m['date']}",
           "", f"{data['threads']} threads, greedy, ends of text ignored, each run in a fresh process, {data['pairs']} rounds of all sides in turn. Medians; "
           "the ratio is the median over the rounds of ours / theirs, its quartiles in brackets. tok/s: more is better; s and MB: less is better. A peer's MB are without those of the Python interpreter, its seconds without Python's imports.", ""]
    for size in dict.fromkeys(r["size"] for r in data["rows"]):
        rows = [r for r in data["rows"] if r["size"] == size]
        peers, tests = (list(dict.fromkeys(r[key] for r in rows)) for key in ("peer", "test"))
        by = {(r["test"], r["peer"]): r for r in rows}
        units = {r["test"]: r["unit"] for r in rows}
        out += [f"## {size}: ours / theirs", ""]
        out += lines(["test", "unit", *peers], [[t, units[t], *(number(by[t, p].get("ratio")) if (t, p) in by else "" for p in peers)] for t in tests])
        out += ["", f"## {size}: measured", ""]
        out += lines(["test", "peer", "unit", "ours", "theirs", "ratio"],
                     [[r["test"], r["peer"] + (" *" if r["disturbed"] else ""), r["unit"], number(r.get("ours_median")), number(r.get("theirs_median")),
                       ratio(r)] for r in rows])
        out.append("")
    if any(r["disturbed"] for r in data["rows"]):
        out += [f"\\* others used more than {data['others']:.0%} of the cores in one of the runs, however often it was repeated.", ""]
    errors = {}
    for r in data["rows"]:
        for e in r.get("errors", ()):
            errors.setdefault(e, {}).setdefault(r["peer"], []).append(f"{r['size']} {r['test']}")
    if errors:
        out += ["What could not be measured:", ""]
        for e, peers in errors.items():
            tests = dict.fromkeys(t for list_ in peers.values() for t in list_)
            out.append(f"- {', '.join(tests)} ({', '.join(peers)}): {e}")
        out.append("")
    out += ["Sides:", "", f"- ours: {data['versions'].get('ours', '?')}{' ' + ' '.join(data['flags']) if data['flags'] else ''}"]
    out += [f"- {p}: {data['versions'].get(p, 'not run')}. {note}" for p, note in data["notes"].items()]
    return "\n".join(out) + "\n"


def save(prefix, data):
    os.makedirs(os.path.dirname(os.path.abspath(prefix)), exist_ok=True)
    with open(prefix + ".json", "w", encoding="utf-8") as f:
        json.dump(data, f, ensure_ascii=False, indent=1)
        f.write("\n")
    with open(prefix + ".md", "w", encoding="utf-8") as f:
        f.write(markdown(data))
