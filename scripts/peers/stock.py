"""What the comparison needs before it can measure: virtual environments with the peers and the exporters, and the models."""
import os
import shutil
import subprocess
import sys
import venv

from machine import ENVIRONMENT, Failure

HERE = os.path.dirname(os.path.abspath(__file__))
REQUIREMENTS = {
    "onnxruntime": "requirements/onnxruntime.txt", "openvino": "requirements/openvino.txt", "llama": "requirements/llama.txt",
    "gguf": "requirements/gguf.txt", "export": "requirements/export.txt", "export-a": "../fixtures/requirements-a.txt",
}
INT4 = ["--weight-format", "int4", "--sym", "--group-size", "128", "--group-size-fallback", "adjust", "--ratio", "1.0", "--all-layers"]
EMBEDDED = os.path.join(HERE, "..", "..", "engine", "tiny", "model")  # the size "embedded": our program's own model
SIZES = ("tiny", "0.5b", "1.5b")
FILES = {"q4_0.gguf": "", "ov-int4": "openvino_model.xml", "b-int4": "genai_config.json", "b-int4-prune": "genai_config.json"}  # others: config.json


class Stock:
    """Environments under work, models found in any of the folders or made in the first; every failure is remembered and told again."""

    def __init__(self, work, folders, tokenizer):
        self.work, self.folders, self.tokenizer = work, folders, tokenizer
        self.failed = {}

    def once(self, what, make):
        if what in self.failed:
            raise Failure(self.failed[what])
        try:
            return make()
        except (Failure, OSError, ValueError) as e:
            self.failed[what] = f"{what}: {e}"
            raise Failure(self.failed[what]) from e

    def command(self, log, *command):
        """Runs a command with its output in a log; the last line of it is the error."""
        path = os.path.join(self.work, log + ".log")
        with open(path, "a+", encoding="utf-8", errors="replace") as f:
            if subprocess.run([str(c) for c in command], stdout=f, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                              env=ENVIRONMENT).returncode:
                f.seek(0)
                lines = [line.strip() for line in f if line.strip()]
                raise Failure(f"{lines[-1][:160] if lines else 'failed'} (log: {os.path.relpath(path)})")

    def python(self, name):
        """The Python of an environment, which is made the first time and again when its requirements change."""
        return self.once("environment " + name, lambda: self.environment(name))

    def environment(self, name):
        folder, source = os.path.join(self.work, "env-" + name), os.path.join(HERE, REQUIREMENTS[name])
        python, done = os.path.join(folder, "bin", "python"), os.path.join(folder, "requirements.txt")
        with open(source) as f:
            wanted = f.read()
        if os.path.exists(done):
            with open(done) as f:
                if f.read() == wanted:
                    return python
        print(f"installing {name} into {os.path.relpath(folder)}", file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        self.command("env-" + name, python, "-m", "pip", "install", "--disable-pip-version-check", "-r", source)
        with open(done, "w") as f:  # last: it says that the environment is complete
            f.write(wanted)
        return python

    def model(self, size, kind):
        """The file or folder of a model, made from a checkpoint with random weights if it is nowhere."""
        return self.once(f"model {size}-{kind}", lambda: self.find(size, kind) or self.make(size, kind))

    def find(self, size, kind):
        if size == "embedded" and kind.startswith("b-int4"):
            return os.path.normpath(EMBEDDED)
        for folder in self.folders:
            path = os.path.join(folder, f"{size}-{kind}")
            if os.path.exists(os.path.join(path, FILES.get(kind, "config.json")) if FILES.get(kind) != "" else path):
                return path
        return None

    def make(self, size, kind):
        out = os.path.join(self.folders[0], f"{size}-{kind}")
        part = out + ".part"
        shutil.rmtree(part, ignore_errors=True)
        graph = self.find(size, "b-int4-prune") or self.find(size, "b-int4")
        if kind == "hf" and size not in SIZES and not graph:
            raise Failure(f"no {size}-hf and no {size}-b-int4-prune in {' or '.join(self.folders)}, and only {', '.join(SIZES)} can be made up")
        source = {"hf": None, "a-q4": "a-fp32", "a-q4-tied": "a-fp32"}.get(kind, "hf")
        source = source and self.model(size, source)
        print(f"making {os.path.relpath(out)}", file=sys.stderr)
        if kind == "hf" and size not in SIZES:
            self.command("models", self.python("export"), os.path.join(HERE, "unpack_b.py"), graph, part)
        elif kind == "hf":
            self.command("models", self.python("gguf"), os.path.join(HERE, "checkpoint.py"), size, part, *([self.tokenizer] if self.tokenizer else []))
        elif kind == "q4_0.gguf":
            self.command("models", self.python("gguf"), os.path.join(HERE, "gguf_q4.py"), source, part)
        elif kind == "ov-int4":
            self.command("models", self.python("export"), "-m", "optimum.commands.optimum_cli", "export", "openvino", "-m", source,
                         "--task", "text-generation-with-past", *INT4, part)
        elif kind in ("b-int4", "b-int4-prune"):
            self.command("models", self.python("export"), "-m", "onnxruntime_genai.models.builder", "-i", source, "-o", part, "-p", "int4", "-e", "cpu",
                         "-c", os.path.join(self.work, "cache"), "--extra_options", "accuracy_level=4", "block_size=32",
                         *(["prune_lm_head=true"] if kind.endswith("prune") else []))
        elif kind in ("a-fp32", "a-q4", "a-q4-tied"):
            self.command("models", self.python("export-a"), os.path.join(HERE, "export_a.py"), kind[2:], source, part)
        else:
            raise Failure("no such kind of model")
        os.replace(part, out)
        return out
