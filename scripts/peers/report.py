"""What was measured, as Markdown: medians, and how much better ours is than each peer."""
import json
import os
import statistics

OURS = ("ours", "ours-a")  # the others are held against these


def median(row, side):
    """The median of a side's rounds, None if there is none."""
    values = [v for v in row["values"].get(side, ()) if v is not None]
    return statistics.median(values) if values else None


def ratio(row, mine, theirs):
    """How much better mine is, above 1 whatever the unit: median and quartiles over the rounds in which both have a value, None if there are none."""
    pairs = [(a, b) for a, b in zip(row["values"].get(mine, ()), row["values"].get(theirs, ())) if a and b]
    ratios = [b / a if row["lower_is_better"] else a / b for a, b in pairs]
    if not ratios:
        return None
    low, _, high = statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
    return statistics.median(ratios), low, high


def number(x):
    return "–" if x is None else f"{x:.2f}" if x < 10 else f"{x:.1f}" if x < 100 else f"{x:.0f}"


def quartiles(r):
    return f"{r[0]:.2f} ({r[1]:.2f}–{r[2]:.2f})" if r else "–"


def cell(r):
    """A ratio; where ours is behind it is set apart."""
    return f"**▼ {quartiles(r)}**" if r and r[0] < 1 else quartiles(r)


def lines(head, rows, words=1):
    """A table whose first columns are words, the others numbers."""
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * words + "---:|" * (len(head) - words)
    for cells in rows:
        yield "| " + " | ".join(str(c).replace("|", "/") for c in cells) + " |"


def size_tables(rows, sides):
    size = rows[0]["size"]
    out = [f"## {size}", "", *lines(["test", "unit", *sides], [[r["test"], r["unit"], *(number(median(r, s)) for s in sides)] for r in rows], 2), ""]
    peers = [s for s in sides if s not in OURS]
    for mine in (s for s in sides if s in OURS and peers):
        out += [f"{size}, {mine} against:", "", *lines(["test", *peers], [[r["test"], *(cell(ratio(r, mine, p)) for p in peers)] for r in rows]), ""]
    return out


def behind(data, sides):
    """A line that counts where ours is behind."""
    all_, less = 0, []
    for r in data["rows"]:
        for mine in (s for s in sides if s in OURS):
            for p in (s for s in sides if s not in OURS):
                if got := ratio(r, mine, p):
                    all_ += 1
                    if got[0] < 1:
                        less.append(f"{r['size']} {r['test']}: {mine} {got[0]:.2f} of {p}")
    return f"Of {all_} ratios ours is behind in {len(less)}{': ' + '; '.join(less) if less else ''}."


def markdown(data):
    m, sides = data["machine"], list(data["notes"])
    out = [f"{m['cpu']} (family {m['family']}, model {m['model']}: {' '.join(m['flags'])}), {m['cores']} cores, {m['memory_gib']} GiB, {m['system']}, {m['date']}",
           "", f"{data['threads']} threads, greedy, ends of text ignored, {data['pairs']} rounds; in each a fresh process of every side in turn runs all tests. First medians (tok/s, or s and MB, of "
           "which less is better), then how much better ours is: the median of the rounds' ratios with their quartiles. **▼ marks where ours is behind.** "
           "A peer's MB are without those of the Python interpreter, its seconds without Python's imports. A dash: not run, or listed under what went wrong.", "", behind(data, sides), ""]
    for size in dict.fromkeys(r["size"] for r in data["rows"]):
        out += size_tables([r for r in data["rows"] if r["size"] == size], sides)
    if data["problems"]:
        out += ["What went wrong:", "", *(f"- {p['size']} {p['side']}: {p['text']}" for p in data["problems"]), ""]
    out += ["Sides:", "", *(f"- {s}: {data['versions'].get(s, 'not run')}{' ' + ' '.join(data['flags']) if s in OURS and data['flags'] else ''}. {note}" for s, note in data["notes"].items())]
    return "\n".join(out) + "\n"


def save(prefix, data):
    os.makedirs(os.path.dirname(os.path.abspath(prefix)), exist_ok=True)
    write(prefix + ".json", text(data))
    write(prefix + ".md", markdown(data))


def write(path, content):
    """The file is there whole, or as it was."""
    with open(path + ".new", "w", encoding="utf-8") as f:
        f.write(content)
    os.replace(path + ".new", path)


def text(data):
    """JSON with a line for each row."""
    rows = ",\n  ".join(json.dumps(r, ensure_ascii=False) for r in data["rows"])
    head = json.dumps({**data, "rows": "ROWS"}, ensure_ascii=False, indent=1)
    return head.replace('"ROWS"', f"[\n  {rows}\n ]") + "\n"
