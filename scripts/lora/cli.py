"""What every script here does alike: errors of one line, Ctrl-C, and folders that appear whole or not at all."""
import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import warnings


class Failure(Exception):
    """An error for the user: one line."""


class Stopped(BaseException):
    """A signal that asks the script to end."""


def run(name: str, main) -> None:
    """Runs main with signals and errors turned into one line and an exit code: 1, or 128 and the signal's number."""
    def stop(number, _):
        raise Stopped(number)

    for s in (signal.SIGINT, signal.SIGTERM):
        signal.signal(s, stop)
    try:
        main()
    except Stopped as stopped:
        print(f"{name}: stopped, nothing was written", file=sys.stderr)
        code = 128 + stopped.args[0]
    except Failure as failure:
        print(f"{name}: {failure}", file=sys.stderr)
        code = 1
    except ModuleNotFoundError as missing:
        print(f"{name}: {missing.name} is not installed: pip install --require-hashes --no-deps -r scripts/lora/requirements.txt", file=sys.stderr)
        code = 1
    except BrokenPipeError:
        print(f"{name}: nobody reads the progress any more: stopped, nothing was written", file=sys.stderr)
        code = 1
    except (OSError, MemoryError) as error:
        print(f"{name}: {error or 'not enough memory'}", file=sys.stderr)
        code = 1
    except RuntimeError as error:
        if "alloc" not in str(error):  # torch's word for no memory
            raise
        print(f"{name}: not enough memory: train with fewer lines (--batch) or tokens (--length)", file=sys.stderr)
        code = 1
    else:
        sys.stdout.flush()
        return
    sys.stderr.flush()
    os._exit(code)  # not through the threads of torch and whatever else was interrupted


def read_json(path: str) -> dict:
    try:
        with open(path, encoding="utf-8") as f:
            value = json.load(f)
    except (ValueError, RecursionError) as error:
        raise Failure(f"{path}: not JSON: {error}") from None
    if not isinstance(value, dict):
        raise Failure(f"{path}: expected an object, found {type(value).__name__}")
    return value


def seed(number: int, threads: int) -> None:
    """The same numbers on every run with as many threads, which wait for each other without burning what others could use."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(number % 2**63)
    torch.use_deterministic_algorithms(True)


def quiet() -> None:
    """Keeps the libraries from the network and from talking."""
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error", HF_HUB_DISABLE_PROGRESS_BARS="1", TOKENIZERS_PARALLELISM="false")
    import transformers

    transformers.logging.disable_progress_bar()
    warnings.filterwarnings("ignore")  # of these libraries about each other


def absent(path: str) -> None:
    """Fails while nothing is lost, where a result would have no place."""
    if os.path.lexists(path):
        raise Failure(f"{path} exists: remove it, or choose another place")
    parent = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(parent):
        raise Failure(f"{parent}: no such folder")


@contextlib.contextmanager
def folder(path: str):
    """A folder to fill, which gets its name when all of it is there."""
    absent(path)
    made = tempfile.mkdtemp(prefix="." + os.path.basename(os.path.abspath(path)) + ".", dir=os.path.dirname(os.path.abspath(path)))
    try:
        yield made
        for directory, _, names in os.walk(made):
            for name in names:
                os.chmod(os.path.join(directory, name), 0o644)
                with open(os.path.join(directory, name), "rb") as f:
                    os.fsync(f.fileno())
        os.chmod(made, 0o755)
        os.rename(made, path)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
