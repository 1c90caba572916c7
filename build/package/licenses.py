#!/usr/bin/env python3
"""Collects the licence files of every Go module and Rust crate that is linked into the program.

    licenses.py [--go go] [--tags tags] folder

A dependency without a licence file is named in MISSING.txt with the licence that its manifest declares.
"""

import argparse
import json
import pathlib
import re
import shutil
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
LICENCE = re.compile(r"(licen[cs]e|copying|notice|copyright|unlicense)", re.IGNORECASE)


def go_modules(go, tags):
    """Name, version, folder and declared licence of each module that the program is compiled from."""
    form = "{{with .Module}}{{if not .Main}}{{.Path}}\t{{.Version}}\t{{.Dir}}{{end}}{{end}}"
    command = [go, "list", "-deps", "-tags", tags, "-f", form, "./cmd/shammah-engine"]
    lines = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    for line in sorted(set(filter(None, lines))):
        path, version, folder = line.split("\t")
        yield f"go/{path}@{version}", pathlib.Path(folder), ""
    goroot = subprocess.run([go, "env", "GOROOT"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    yield "go/std", pathlib.Path(goroot), ""


def rust_crates():
    """The same for each crate that the static library is compiled from (not the build-time ones)."""
    manifest = ROOT / "third_party/text/Cargo.toml"
    host = re.search(r"host: (\S+)", subprocess.run(["rustc", "-vV"], check=True, stdout=subprocess.PIPE, text=True).stdout)
    command = ["cargo", "metadata", "--format-version=1", "--locked", "--filter-platform", host.group(1)]
    said = subprocess.run(command + ["--manifest-path", str(manifest)], check=True, stdout=subprocess.PIPE, text=True)
    metadata = json.loads(said.stdout)
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    todo, linked = [metadata["resolve"]["root"]], set()
    while todo:
        identity = todo.pop()
        if identity in linked:
            continue
        linked.add(identity)
        for dep in nodes[identity]["deps"]:
            if any(kind["kind"] is None for kind in dep["dep_kinds"]):
                todo.append(dep["pkg"])
    for package in sorted(metadata["packages"], key=lambda p: p["name"]):
        if package["id"] in linked and package["source"]:
            folder = pathlib.Path(package["manifest_path"]).parent
            yield f"rust/{package['name']}@{package['version']}", folder, package.get("license") or ""


def main():
    """Copies what is found into the folder, one subfolder for each dependency."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--go", default="go")
    parser.add_argument("--tags", default="")
    parser.add_argument("folder", type=pathlib.Path)
    args = parser.parse_args()

    missing = []
    for name, source, declared in [*go_modules(args.go, args.tags), *rust_crates()]:
        files = [f for f in source.iterdir() if f.is_file() and LICENCE.search(f.name)]
        target = args.folder / name
        target.mkdir(parents=True, exist_ok=True)
        for file in files:
            shutil.copyfile(file, target / file.name)
        if not files:
            target.rmdir()
            missing.append(f"{name}\t{declared or 'no licence declared'}")
    if missing:
        (args.folder / "MISSING.txt").write_text(
            "Dependencies that ship no licence file, with the licence that they declare:\n" + "\n".join(missing) + "\n")


if __name__ == "__main__":
    main()
