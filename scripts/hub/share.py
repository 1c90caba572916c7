"""Shares a cache with the program: Python's own client of the Hub must accept what we wrote, and we what it wrote.

The Go test TestPython (internal/hub) starts a hub on this machine and calls this script, once to read and once to write.
HF_ENDPOINT and HF_HUB_CACHE say where hub and cache are.

  share.py read REPO COMMIT NAME=BLOB...   the cache holds these files, whole, and nothing in it is wrong
  share.py write REPO NAME...              download these files
"""

import os
import sys

from huggingface_hub import HfApi, hf_hub_download, scan_cache_dir, snapshot_download


def read(repo: str, commit: str, *files: str) -> None:
    expected = dict(f.split("=") for f in files)
    report = scan_cache_dir()
    assert not report.warnings, f"scan_cache_dir warns: {report.warnings}"
    (found,) = [r for r in report.repos if r.repo_id == repo]
    (revision,) = found.revisions
    assert revision.commit_hash == commit, f"the revision is {revision.commit_hash}, expected {commit}"
    assert revision.refs == frozenset({"main"}), f"its references are {set(revision.refs)}, expected main"
    names = {str(f.file_path.relative_to(revision.snapshot_path)): f.blob_path.name for f in revision.files}
    assert names == expected, f"the files are {names}, expected {expected}"

    # Without a network first, then with one: neither may write a blob.
    blobs = os.path.join(found.repo_path, "blobs")
    before = {b.name: b.stat().st_mtime_ns for b in os.scandir(blobs)}
    for name in expected:
        hf_hub_download(repo, name, local_files_only=True)
        hf_hub_download(repo, name)
    folder = snapshot_download(repo, allow_patterns=list(expected))
    assert folder == str(revision.snapshot_path), f"the snapshot is {folder}, expected {revision.snapshot_path}"
    after = {b.name: b.stat().st_mtime_ns for b in os.scandir(blobs)}
    assert before == after, f"blobs were written: {set(after.items()) - set(before.items())}"
    report = scan_cache_dir()
    assert not report.warnings, f"scan_cache_dir warns afterwards: {report.warnings}"
    checked = HfApi().verify_repo_checksums(repo)
    assert checked.checked_count == len(expected) and not checked.mismatches, f"`hf cache verify` says {checked}"


def write(repo: str, *names: str) -> None:
    snapshot_download(repo, allow_patterns=list(names))


if __name__ == "__main__":
    {"read": read, "write": write}[sys.argv[1]](*sys.argv[2:])
