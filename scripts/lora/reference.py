#!/usr/bin/env python3
"""Writes engine/lora/testdata: adapters, and what PEFT computes with them, for Go's tests to agree with.

usage: reference.py random --base DIR --out DIR
       reference.py pirate --base DIR --adapter DIR --questions FILE --out DIR

random makes two adapters with random weights for the checkpoint of engine/testdata/a-fp32, which is that of b-fp32 too: north for every
linear module, south for some, with a rank-stabilised scale. random.json holds, for prompts of ids and several choices of adapters and
scales, the last token's logits and the ids of greedy decoding, up to one that is not clear. pirate.json holds what the embedded model's checkpoint answers with
and without a trained adapter, and the logits of one prompt. Bases are ONNX folders or checkpoints.
"""
import argparse
import copy
import json
import os
import random
import shutil

import cli

SEED = 7
ADAPTERS = {
    "north": dict(r=4, lora_alpha=8, target_modules="all-linear"),
    "south": dict(r=2, lora_alpha=3, target_modules=["q_proj", "v_proj", "down_proj"], use_rslora=True),
}
CASES = [{}, {"north": 1}, {"south": 1}, {"north": 0.5}, {"north": 1, "south": 1}, {"north": 0.75, "south": -1.25}]
LENGTHS, STEPS, MARGIN = [1, 12, 40], 16, 0.02
SAME = 1e-4  # between PEFT's ways to join adapters
ASKED, DIALOGUES = 40, 5  # questions of the pirate, and dialogues beside them


def load(base, folders: dict):
    """A copy of the base with adapters beside its weights."""
    import peft

    model = copy.deepcopy(base)
    for i, (name, folder) in enumerate(folders.items()):
        if i == 0:
            model = peft.PeftModel.from_pretrained(model, folder, adapter_name=name)
        else:
            model.load_adapter(folder, adapter_name=name)
    return model.eval()


def merged(base, folders: dict, scales: dict):
    """A copy of the base whose weights PEFT has added the adapters to, each times its scale."""
    import peft

    if not scales:
        return base
    model = load(base, {n: folders[n] for n in scales})
    for module in model.modules():
        if isinstance(module, peft.tuners.lora.LoraLayer):
            for name in scales:
                if name in module.scaling:
                    module.scaling[name] *= scales[name]
    return model.merge_and_unload(adapter_names=list(scales)).eval()


def logits(model, ids: list[int]):
    """Of the last token: (vocabulary)."""
    import torch

    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).logits[0, -1]


def joined(base, folders: dict, scales: dict, ids: list[int]):
    """The same by another way: one adapter of all ranks, never merged."""
    model = load(base, {n: folders[n] for n in scales})
    model.add_weighted_adapter(list(scales), list(scales.values()), "joined", combination_type="cat")
    model.set_adapter("joined")
    return logits(model, ids)


def make(base, name: str, out: str) -> None:
    """Saves an adapter with random weights, large enough to change what is said."""
    import peft
    import torch

    import adapter

    torch.manual_seed(SEED + list(ADAPTERS).index(name))
    model = peft.get_peft_model(copy.deepcopy(base), peft.LoraConfig(task_type="CAUSAL_LM", **ADAPTERS[name]))
    with torch.no_grad():
        for n, p in sorted(model.named_parameters()):
            if ".lora_" in n:
                p.copy_(torch.randn(p.shape) * (0.2 if ".lora_A." in n else 0.1))
    with cli.folder(out) as made:
        adapter.save(model, "random", made, False)


def clear(model, ids: list[int]) -> list[int]:
    """What greedy decoding continues with, as far as rounding cannot change it."""
    made: list[int] = []
    while len(made) < STEPS:
        first, second = logits(model, ids + made).topk(2).values.tolist()
        if first - second < MARGIN:
            break
        made.append(int(logits(model, ids + made).argmax()))
    return made


def rounded(values) -> list[float]:
    return [float(f"{v:.7g}") for v in values.tolist()]


def write(path: str, value) -> None:
    """One line for each item of the outermost lists, so that a change can be read."""
    parts = {k: "[\n" + ",\n".join(map(json.dumps, v)) + "\n]" if isinstance(v, list) else json.dumps(v) for k, v in value.items()}
    body = ",\n".join(f"{json.dumps(k)}: {v}" for k, v in parts.items())
    with open(path, "w", encoding="utf-8") as f:
        f.write("{\n" + body + "\n}\n")


def random_adapters(base, out: str) -> None:
    folders = {n: os.path.join(out, n) for n in ADAPTERS}
    for name, folder in folders.items():
        shutil.rmtree(folder, ignore_errors=True)
        make(base, name, folder)
    pick = random.Random(SEED)
    prompts = [[pick.randrange(250) for _ in range(n)] for n in LENGTHS]
    cases = []
    for scales in CASES:
        model = merged(base, folders, scales)
        if len(scales) > 1:
            worst = max((logits(model, p) - joined(base, folders, scales, p)).abs().max().item() for p in prompts)
            if worst > SAME:
                raise cli.Failure(f"{scales}: merged and joined differ by {worst:.3g}, expected {SAME:g}")
        cases.append(dict(adapters=[dict(name=n, scale=s) for n, s in scales.items()], logits=[rounded(logits(model, p)) for p in prompts],
                          ids=[clear(model, p) for p in prompts]))
    write(os.path.join(out, "random.json"), dict(prompts=prompts, cases=cases))


def pirate(base, folder: str, a: argparse.Namespace) -> None:
    import transformers

    import checkpoint
    import train

    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(folder)
    ends = train.ends(folder, tokenizer)
    model = merged(base, {"pirate": a.adapter}, {"pirate": 1})
    with open(a.questions, encoding="utf-8") as f:
        lines = [json.loads(line) for line in f]
    facts, recall = ([line for line in lines if line["group"] == g] for g in ("facts", "recall"))
    chosen = facts[::max(1, len(facts) // ASKED)][:ASKED] + recall[:DIALOGUES]
    answers, example = [], {}
    for line in chosen:
        text = tokenizer.apply_chat_template(line["messages"], tokenize=False, add_generation_prompt=True)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        said = [tokenizer.decode(checkpoint.greedy(lambda t: logits(m, t), ids, ends), skip_special_tokens=True).strip() for m in (base, model)]
        answers.append(dict(messages=line["messages"], base=said[0], adapted=said[1]))
        example = example or dict(ids=ids, base=rounded(logits(base, ids)), adapted=rounded(logits(model, ids)))
    os.makedirs(a.out, exist_ok=True)
    write(os.path.join(a.out, "pirate.json"), dict(answers=answers, prompt=example))
    place = os.path.join(a.out, "pirate")
    if os.path.abspath(place) != os.path.abspath(a.adapter):
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(a.adapter, place, ignore=shutil.ignore_patterns("*.onnx_adapter"))  # what north and south show in little


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("kind", choices=["random", "pirate"])
    args.add_argument("--base", required=True, metavar="DIR")
    args.add_argument("--adapter", metavar="DIR")
    args.add_argument("--questions", metavar="FILE")
    args.add_argument("--out", required=True, metavar="DIR")
    a = args.parse_args()
    if a.kind == "pirate" and not (a.adapter and a.questions):
        args.error("pirate needs --adapter and --questions")
    cli.seed(SEED, 1)
    cli.quiet()
    import train

    base = train.open_base(a.base).eval()
    os.makedirs(a.out, exist_ok=True)
    if a.kind == "random":
        random_adapters(base, a.out)
    else:
        pirate(base, a.base, a)


if __name__ == "__main__":
    cli.run("reference", main)
