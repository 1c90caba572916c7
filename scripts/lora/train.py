#!/usr/bin/env python3
"""Trains a LoRA adapter with PEFT.

usage: train.py --base DIR --data FILE.jsonl --out DIR [options]

A line of the data is {"prompt", "answer"} or {"messages": [{"role", "content"}, ...]}, whose last message is the assistant's. Its optional
"weight" is what it counts in the loss (0 leaves it out); what else it holds is ignored. Only answers are learned, in the chat
template of the base. The base is a Hugging Face checkpoint or an ONNX model folder, whose weights are turned into a checkpoint first.

Progress is lines of JSON: {"step", "steps", "loss"} and at the end {"done": DIR}. DIR appears whole: adapter_config.json,
adapter_model.safetensors and adapter.onnx_adapter. An adapter with which the loss is higher than without is not kept. The same data, options, threads and machine give the same adapter.
"""
import argparse
import json
import math
import os
import random
import sys

import cli

PASSES, STEPS_LEAST, STEPS_MOST = 3, 30, 1000  # of the data, and the bounds of that in steps, where --steps is not given
ALIKE = 16  # batches that are cut from one sorted run of lines
WARM = 0.1  # part of the steps with a rising rate
CLIP = 1.0
JUDGED = 2  # batches whose loss is compared before and after


def positive(kind, most=math.inf):
    def read(text: str):
        value = kind(text)
        if not 0 < value <= most or not math.isfinite(value):
            raise argparse.ArgumentTypeError(f"{text}: expected more than 0" + (f" and at most {most}" if math.isfinite(most) else ""))
        return value

    read.__name__ = kind.__name__
    return read


def arguments() -> argparse.Namespace:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--base", required=True, metavar="DIR", help="checkpoint or ONNX model folder")
    args.add_argument("--data", required=True, metavar="FILE")
    args.add_argument("--out", required=True, metavar="DIR", help="must not exist")
    args.add_argument("--steps", type=positive(int), help=f"default: {PASSES} times through the data, {STEPS_LEAST} to {STEPS_MOST}")
    args.add_argument("--batch", type=positive(int, 4096), default=8, help="lines of a step (default 8)")
    args.add_argument("--rank", type=positive(int, 4096), default=16, help="default 16")
    args.add_argument("--alpha", type=positive(float), help="default: twice the rank")
    args.add_argument("--targets", default="all-linear", help="modules, as q_proj,v_proj (default: every linear one but the language head)")
    args.add_argument("--rate", type=positive(float), default=5e-4, help="learning rate (default 5e-4)")
    args.add_argument("--length", type=positive(int), default=1024, help="tokens of a line; longer ones are left out (default 1024)")
    args.add_argument("--keep", action="store_true", help="keep the adapter even where it makes the loss higher")
    args.add_argument("--half", action="store_true", help="save in float16")
    args.add_argument("--seed", type=int, default=1)
    args.add_argument("--threads", type=positive(int, 1024), default=cores, help=f"default: the cores, {cores}")
    return args.parse_args()


def open_base(folder: str):
    """The base in float32. An ONNX folder's weights are dequantised and never written."""
    import torch
    import transformers

    import checkpoint

    if any(n.endswith((".safetensors", ".bin")) for n in os.listdir(folder)):
        checkpoint.configuration(folder)
        try:
            return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        except (ValueError, RuntimeError, OSError, KeyError) as error:
            raise cli.Failure(f"{folder}: {str(error).splitlines()[0]}") from None
    return checkpoint.load(folder)[0]


def ends(folder: str, tokenizer) -> list[int]:
    """The ids that end an answer."""
    path = os.path.join(folder, "generation_config.json")
    named = cli.read_json(path).get("eos_token_id") if os.path.exists(path) else None
    named = [] if named is None else named if isinstance(named, list) else [named]
    return named + ([tokenizer.eos_token_id] if tokenizer.eos_token_id is not None else [])


def adapt(model, a: argparse.Namespace):
    """The base with an adapter that does nothing yet."""
    import peft

    targets = a.targets if a.targets == "all-linear" else [t.strip() for t in a.targets.split(",")]
    config = peft.LoraConfig(r=a.rank, lora_alpha=a.alpha or 2 * a.rank, target_modules=targets, lora_dropout=0.0, bias="none", task_type="CAUSAL_LM")
    try:
        return peft.get_peft_model(model, config)
    except ValueError as error:
        raise cli.Failure(f"--targets {a.targets}: {str(error).splitlines()[0]}") from None


def batch_of(examples: list):
    """Ids (lines, tokens), which of them are text, and what each counts in the loss."""
    import torch

    length = max(len(e.ids) for e in examples)
    ids, weights = torch.zeros(len(examples), length, dtype=torch.long), torch.zeros(len(examples), length)
    mask = torch.zeros_like(ids)
    for row, e in enumerate(examples):
        n = len(e.ids)
        ids[row, :n], mask[row, :n] = torch.tensor(e.ids), 1
        weights[row, :n] = e.weight * torch.tensor(e.learned, dtype=torch.float32)
    return ids, mask, weights


def order(examples: list, batch: int, steps: int, seed: int):
    """The examples of every step: through all of them in a new order each time, those of like length together, which saves padding."""
    pick, waiting = random.Random(seed), []
    for _ in range(steps):
        if not waiting:
            shuffled = pick.sample(examples, len(examples))
            for i in range(0, len(shuffled), ALIKE * batch):
                near = sorted(shuffled[i:i + ALIKE * batch], key=lambda e: len(e.ids))
                waiting += [near[k:k + batch] for k in range(0, len(near), batch)]
            pick.shuffle(waiting)
        yield waiting.pop()


def loss_of(model, chosen: list, mean: float):
    """A token counts its line's weight over the mean weight of all, so that a heavy line is heavy in a batch of its own, too."""
    import torch.nn.functional as F

    ids, mask, weights = batch_of(chosen)
    logits = model(input_ids=ids, attention_mask=mask).logits
    losses = F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), ids[:, 1:].flatten(), reduction="none")
    counts = weights[:, 1:].flatten()
    return (losses * counts).sum() / (mean * (counts > 0).sum())


def judge(model, examples: list, a: argparse.Namespace) -> float:
    """The mean loss of a few batches, the same whenever it is asked."""
    import torch

    model.eval()
    mean = sum(e.weight for e in examples) / len(examples)
    picked = random.Random(a.seed).sample(examples, min(len(examples), JUDGED * a.batch))
    with torch.no_grad():
        losses = [loss_of(model, picked[i:i + a.batch], mean).item() for i in range(0, len(picked), a.batch)]
    return sum(losses) / len(losses)


def learn(model, examples: list, steps: int, a: argparse.Namespace) -> None:
    """Descends."""
    import torch

    parameters = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=a.rate, weight_decay=0.0)
    mean = sum(e.weight for e in examples) / len(examples)
    warm = max(1, round(WARM * steps))
    model.train()
    for step, chosen in enumerate(order(examples, a.batch, steps, a.seed)):
        for group in optimiser.param_groups:
            group["lr"] = a.rate * min((step + 1) / warm, (steps - step) / max(1, steps - warm))
        loss = loss_of(model, chosen, mean)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(parameters, CLIP)
        if not torch.isfinite(norm) or not torch.isfinite(loss):
            raise cli.Failure(f"step {step + 1}: the loss is {loss.item()} and the gradient {norm.item()}: train with a lower --rate than {a.rate:g}")
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        print(json.dumps(dict(step=step + 1, steps=steps, loss=round(loss.item(), 5))), flush=True)


def main() -> None:
    a = arguments()
    cli.absent(a.out)
    if not os.path.exists(a.data) or os.path.isdir(a.data):
        raise cli.Failure(f"{a.data}: no such file")
    if not os.path.isdir(a.base):
        raise cli.Failure(f"{a.base}: no such folder")
    cli.seed(a.seed, a.threads)
    cli.quiet()
    import adapter
    import data

    model = open_base(a.base)
    encoder = data.Encoder(a.base, [])
    encoder.ends = ends(a.base, encoder.tokenizer)
    examples = data.read(a.data, encoder, min(a.length, model.config.max_position_embeddings))
    highest, vocabulary = max(max(e.ids) for e in examples), model.get_input_embeddings().num_embeddings
    if highest >= vocabulary:
        raise cli.Failure(f"{a.base}: its tokenizer gives the id {highest}, its model has {vocabulary}: they do not belong together")
    model = adapt(model, a)
    steps = a.steps or min(STEPS_MOST, max(STEPS_LEAST, math.ceil(PASSES * len(examples) / a.batch)))
    count = sum(p.numel() for p in model.parameters() if p.requires_grad)
    tokens = sum(sum(e.learned) for e in examples)
    print(f"train: {len(examples)} lines with {tokens} tokens of answers; {count} numbers learn in {steps} steps", file=sys.stderr)
    before = judge(model, examples, a)
    learn(model, examples, steps, a)
    after = judge(model, examples, a)
    if not after <= before and not a.keep:  # NaN, too
        raise cli.Failure(f"the loss is {after:.3f} with the adapter and {before:.3f} without, so it is not kept: "
                          f"train with a lower --rate than {a.rate:g} or more --steps than {steps}, or keep it anyway with --keep")
    print(f"train: loss {before:.3f} without the adapter, {after:.3f} with it", file=sys.stderr)
    with cli.folder(a.out) as made:
        adapter.save(model, a.base, made, a.half)
    print(json.dumps(dict(done=a.out)), flush=True)


if __name__ == "__main__":
    cli.run("train", main)
