#!/usr/bin/env python3
"""The test of `make lora`: the embedded model learns a few steps, and what comes out is read back. Bad input is one line.

usage: test.py MODEL   (an ONNX model folder: engine/tiny/model)
"""
import json
import os
import signal
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
MODEL = ""
STEPS = 12


def script(name: str, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, os.path.join(HERE, name), *arguments], capture_output=True, text=True)


def write(path: str, *lines) -> str:
    with open(path, "w", encoding="utf-8") as f:
        f.writelines((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    return path


class Training(unittest.TestCase):
    """From the embedded model to an adapter that changes it."""

    @classmethod
    def setUpClass(cls):
        cls.work = tempfile.TemporaryDirectory()
        cls.data, cls.out = os.path.join(cls.work.name, "pirate.jsonl"), os.path.join(cls.work.name, "pirate")
        done = script("pirate.py", "--out", cls.data, "--lines", "64")
        assert done.returncode == 0, done.stderr
        cls.done = script("train.py", "--base", MODEL, "--data", cls.data, "--out", cls.out, "--steps", str(STEPS), "--rank", "4", "--rate", "5e-3")
        assert cls.done.returncode == 0, cls.done.stderr
        cls.said = [json.loads(line) for line in cls.done.stdout.splitlines()]

    @classmethod
    def tearDownClass(cls):
        cls.work.cleanup()

    def test_progress(self):
        *steps, last = self.said
        self.assertEqual([(s["step"], s["steps"]) for s in steps], [(i + 1, STEPS) for i in range(STEPS)])
        self.assertEqual(last, {"done": self.out})

    def test_loss_falls(self):
        losses = [s["loss"] for s in self.said[:-1]]
        self.assertLess(sum(losses[-3:]), 0.8 * sum(losses[:3]), losses)

    def test_worse_is_not_kept(self):
        out = os.path.join(self.work.name, "worse")
        args = ["--base", MODEL, "--data", self.data, "--out", out, "--steps", "3", "--rank", "4", "--rate", "0.9"]
        done = script("train.py", *args)
        said = done.stderr.splitlines()[-1]
        self.assertEqual((done.returncode, os.path.exists(out)), (1, False))
        self.assertRegex(said, r"^train: the loss is [\d.]+ with the adapter and [\d.]+ without, so it is not kept: .*--rate than 0.9 .*--keep$")
        self.assertEqual(script("train.py", *args, "--keep").returncode, 0)
        self.assertTrue(os.path.exists(out))

    def test_files(self):
        self.assertEqual(sorted(os.listdir(self.out)), ["adapter.onnx_adapter", "adapter_config.json", "adapter_model.safetensors"])
        self.assertEqual([n for n in os.listdir(self.work.name) if n.startswith(".")], [])

    def test_both_forms_agree(self):
        import numpy as np
        import onnxruntime
        import safetensors.numpy

        tensors = safetensors.numpy.load_file(os.path.join(self.out, "adapter_model.safetensors"))
        parameters = onnxruntime.AdapterFormat.read_adapter(os.path.join(self.out, "adapter.onnx_adapter")).get_parameters()
        self.assertEqual(len(tensors), 2 * 7 * 6)
        self.assertEqual({n.removeprefix("base_model.model.") for n in tensors}, set(parameters))
        for name, value in tensors.items():
            factor = 2 if ".lora_B." in name else 1  # alpha is twice the rank
            np.testing.assert_allclose(parameters[name.removeprefix("base_model.model.")].numpy(), factor * value.T, rtol=1e-6)

    def test_it_changes_the_model(self):
        import peft
        import torch

        import checkpoint

        base, _ = checkpoint.load(MODEL)
        ids = torch.tensor([[1, 2, 3, 4]])
        with torch.no_grad():
            before = base(ids).logits
            after = peft.PeftModel.from_pretrained(base, self.out)(ids).logits
        self.assertGreater((after - before).abs().max().item(), 0.1)

    def test_the_same_again(self):
        out = os.path.join(self.work.name, "again")
        done = script("train.py", "--base", MODEL, "--data", self.data, "--out", out, "--steps", str(STEPS), "--rank", "4", "--rate", "5e-3")
        self.assertEqual(done.returncode, 0, done.stderr)
        for name in os.listdir(out):
            with open(os.path.join(out, name), "rb") as a, open(os.path.join(self.out, name), "rb") as b:
                self.assertEqual(a.read(), b.read(), name)

    def test_an_interrupt_leaves_nothing(self):
        out = os.path.join(self.work.name, "stopped")
        p = subprocess.Popen([sys.executable, os.path.join(HERE, "train.py"), "--base", MODEL, "--data", self.data, "--out", out, "--steps", "100000"],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        before = set(os.listdir(self.work.name))
        p.stdout.readline()
        p.send_signal(signal.SIGINT)
        _, words = p.communicate()
        self.assertEqual((p.returncode, words.splitlines()[-1]), (130, "train: stopped, nothing was written"))
        self.assertEqual(set(os.listdir(self.work.name)), before)


class Checkpoint(unittest.TestCase):
    def test_logits_are_the_graphs(self):
        with tempfile.TemporaryDirectory() as work:
            done = script("checkpoint.py", "--model", MODEL, "--out", os.path.join(work, "made"))
            self.assertEqual(done.returncode, 0, done.stderr)
            said = json.loads(done.stdout)
            self.assertLess(said["logits"], said["tolerance"])
            self.assertIn("model.safetensors", os.listdir(os.path.join(work, "made")))


class Data(unittest.TestCase):
    """Lines of data, by the functions that read them."""

    @classmethod
    def setUpClass(cls):
        import data
        import train

        cls.encoder = data.Encoder(MODEL, [])
        cls.encoder.ends = train.ends(MODEL, cls.encoder.tokenizer)

    def read(self, *lines, longest: int = 100):
        import data

        with tempfile.TemporaryDirectory() as work:
            return data.read(write(os.path.join(work, "d.jsonl"), *lines), self.encoder, longest)

    def learned(self, example) -> str:
        return self.encoder.tokenizer.decode([t for t, l in zip(example.ids, example.learned) if l])

    def test_only_answers_are_learned(self):
        said = [("user", "One?"), ("assistant", "First."), ("user", "Two?"), ("assistant", "Second.")]
        talk = [dict(role=role, content=content) for role, content in said]
        both, = self.read({"messages": talk})
        self.assertEqual(self.learned(both), "First.<|im_end|>Second.<|im_end|>")
        talk[1]["weight"] = 0
        last, = self.read({"messages": talk})
        self.assertEqual(self.learned(last), "Second.<|im_end|>")

    def test_prompt_is_tokenized_as_the_engine_does(self):
        example, = self.read({"prompt": "Hello.", "answer": "Good day."})
        ids = self.encoder.tokenizer("<|im_start|>user\nHello.<|im_end|>\n<|im_start|>assistant\n", add_special_tokens=False)["input_ids"]
        self.assertEqual(example.ids[:len(ids)], ids)
        self.assertEqual(example.learned[:len(ids)], [False] * len(ids))

    def test_weights(self):
        line = {"prompt": "a", "answer": "b"}
        got = self.read(line | {"weight": 10}, "", line | {"weight": 0}, line | {"weight": 3, "verdict": "good"}, line)
        self.assertEqual([e.weight for e in got], [10, 3, 1])

    def test_long_lines_are_left_out(self):
        got = self.read({"prompt": "a", "answer": "b"}, {"prompt": "a", "answer": "word " * 200})
        self.assertEqual(len(got), 1)

    def test_bad_lines(self):
        import cli

        good = {"prompt": "a", "answer": "b"}
        cases = {
            "not JSON": ['{"prompt": "a", '], "not JSON: nested too deeply": ["[" * 100000], "found list": [[1]],
            "found the keys ['prompt']": [{"prompt": "a"}],
            "found the keys ['answer', 'prompt']": [{"prompt": 1, "answer": "b"}], "the answer is empty": [{"prompt": "a", "answer": " "}],
            "weight is -1": [good | {"weight": -1}], "weight is True": [good | {"weight": True}],
            "weight is nan": ['{"prompt": "a", "answer": "b", "weight": NaN}'],
            "messages is empty": [{"messages": []}], "a message has no text": [{"messages": [{"role": "user"}]}],
            "the last message is of role 'user'": [{"messages": [{"role": "user", "content": "a"}]}],
            "a message has the weight 2": [{"messages": [{"role": "assistant", "content": "a", "weight": 2}]}],
        }
        for want, lines in cases.items():
            with self.subTest(want), self.assertRaises(cli.Failure) as caught:
                self.read(good, *lines)
            self.assertIn("d.jsonl:2: " + want, str(caught.exception))
            self.assertNotIn("\n", str(caught.exception))

    def test_nothing_to_learn(self):
        import cli

        for lines in ([], [{"prompt": "a", "answer": "b", "weight": 0}]):
            with self.assertRaisesRegex(cli.Failure, "nothing to learn"):
                self.read(*lines)


class Usage(unittest.TestCase):
    def fails(self, want: str, *arguments: str):
        done = script("train.py", *arguments)
        self.assertEqual((done.returncode, done.stdout), (1, ""), done.stderr)
        self.assertIn(want, done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)

    def test_places(self):
        with tempfile.TemporaryDirectory() as work:
            data = write(os.path.join(work, "d.jsonl"), {"prompt": "a", "answer": "b"})
            self.fails("exists", "--base", MODEL, "--data", data, "--out", work)
            self.fails("no such file", "--base", MODEL, "--data", data + "x", "--out", os.path.join(work, "o"))
            self.fails("no such folder", "--base", data, "--data", data, "--out", os.path.join(work, "o"))
            self.fails("no graph", "--base", work, "--data", data, "--out", os.path.join(work, "o"))
            self.fails("--targets nothing", "--base", MODEL, "--data", data, "--out", os.path.join(work, "o"), "--targets", "nothing")


if __name__ == "__main__":
    sys.path.insert(0, HERE)
    MODEL = os.path.abspath(sys.argv.pop(1))
    import cli

    cli.seed(1, 2)
    cli.quiet()
    unittest.main(verbosity=2)
