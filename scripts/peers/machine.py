"""Runs one command while nobody else computes, and says so where somebody did. Also what kind of machine this is."""
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time

CORES = len(os.sched_getaffinity(0))
# OpenVINO's telemetry starts a process at import that outlives it, except in CI.
ENVIRONMENT = dict(os.environ, CI="true")


def busy():
    """Seconds that all cores computed so far, what the hypervisor took from them included; waiting for the disk is not computing."""
    with open("/proc/stat") as f:
        ticks = [int(x) for x in f.readline().split()[1:9]]
    user, nice, system, _, _, irq, softirq, steal = ticks
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def wait_quiet(limit, patience):
    """Waits until others use less than the share limit of the cores for a second, at most patience seconds; False if they never did."""
    end = time.monotonic() + patience
    while True:
        before, at = busy(), time.monotonic()
        time.sleep(1)
        if busy() - before <= limit * CORES * (time.monotonic() - at):
            return True
        if time.monotonic() > end:
            return False


class Failure(Exception):
    """Something that could not be had or done, in one line."""


def run(command, timeout):
    """What the command said, the share of the cores that others used while it ran, and in a line why it failed, if it did."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        before, begin = busy(), time.monotonic()
        try:
            p = subprocess.Popen(command, stdout=out, stderr=err, stdin=subprocess.DEVNULL, env=ENVIRONMENT, start_new_session=True)
        except OSError as e:
            return "", 0.0, f"{command[0]}: {e.strerror}"
        usage = wait(p, timeout)
        seconds, total = time.monotonic() - begin, busy() - before
        out.seek(0), err.seek(0)
        text, errors = out.read(), err.read()
    others = max(0.0, total - usage.ru_utime - usage.ru_stime) / (CORES * seconds)
    return text, others, reason(p.returncode, seconds > timeout, errors) if p.returncode else ""


def wait(p, timeout):
    """Waits for the process and gives what it used; it is ended after timeout seconds, and when we are."""
    end = time.monotonic() + timeout
    try:
        while True:
            pid, status, usage = os.wait4(p.pid, os.WNOHANG)
            if pid:
                p.returncode = os.waitstatus_to_exitcode(status)
                return usage
            if time.monotonic() > end:
                os.killpg(p.pid, signal.SIGKILL)
                end = float("inf")
            time.sleep(0.02)
    finally:
        if p.returncode is None:
            os.killpg(p.pid, signal.SIGKILL)
            p.wait()


def reason(code, late, text):
    """The last line of a traceback or of what was said, short enough for a table."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "ended, it took too long" if code == -9 and late else f"exit {code}: {lines[-1][:200] if lines else 'it said nothing'}"


def warm(path):
    """Reads a file or folder once, so that no side reads it from the disk while it is measured."""
    files = [path] if os.path.isfile(path) else [os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names]
    for name in files:
        with open(name, "rb", buffering=0) as f:
            while f.read(1 << 24):
                pass


def describe():
    with open("/proc/cpuinfo") as f:
        info = dict(line.split(":", 1) for line in f if ":" in line)
    info = {k.strip(): v.strip() for k, v in info.items()}
    flags = [f for f in ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8") if f in info.get("flags", "").split()]
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return {"cpu": info.get("model name", platform.machine()), "family": info.get("cpu family", ""), "model": info.get("model", ""), "flags": flags,
            "cores": CORES, "memory_gib": round(memory, 1), "system": f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}, {platform.machine()}", "date": time.strftime("%Y-%m-%d %H:%M", time.gmtime()) + " UTC"}


if __name__ == "__main__":  # for a try by hand: machine.py COMMAND ...
    print("quiet" if wait_quiet(0.05, 300) else "not quiet", file=sys.stderr)
    said, used, failed = run(sys.argv[1:], 900)
    print(said, end="")
    print(f"others {used:.1%} {failed}", file=sys.stderr)
