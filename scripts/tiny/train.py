#!/usr/bin/env python3
"""Trains the tiny model: composes the text, trains the tokenizer, trains the network, saves both as transformers does.

usage: train.py --out DIR [--steps N] [--seed N] [--start DIR]

Two processes of one thread each learn from halves of every batch and add their gradients: on a machine that does other
work too this loses far less than two threads that wait for each other in every operation.

The network is Qwen2: 6 layers of 256, 4 heads of 64 over 2 key-value heads, tied embeddings. Matrices learn by Muon,
the rest by AdamW; the matrix products run in bfloat16. In the last part the weights pass through the rounding to 4 bits
that the export applies (gradients go straight through), so that the export answers as the model did in training.

--start goes on from a model of an earlier run, with its tokenizer, at half the rate, falling from the start, with
rounding all the time.
"""

import argparse
import json
import os
import time
from typing import NamedTuple

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from torch.func import functional_call
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from quantise import rounded
from text import CONTEXT, END, STOP, Packer, save_tokenizer, train_tokenizer

WORKERS = 2
SHORT, LONG, TOKENS = 256, 512, 4096  # row lengths, and tokens in one step of all workers
WARM = 30  # steps of warm-up
MATRIX_RATE, OTHER_RATE = 5e-3, 4e-3


def configuration(tokenizer) -> Qwen2Config:
    return Qwen2Config(
        vocab_size=len(tokenizer), hidden_size=256, intermediate_size=704, num_hidden_layers=6, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=CONTEXT, rms_norm_eps=1e-6, tie_word_embeddings=True, use_sliding_window=False,
        initializer_range=0.02, use_cache=False, attn_implementation="sdpa",
        bos_token_id=tokenizer.convert_tokens_to_ids(END), eos_token_id=tokenizer.convert_tokens_to_ids(STOP), pad_token_id=tokenizer.convert_tokens_to_ids(END))


class Plan(NamedTuple):
    steps: int
    peak: float  # part of the full rates
    decay: float  # part of the run, at its end, with a falling rate
    round: float  # part of the run, at its end, with rounding

    def rate(self, step: int) -> float:
        """Part of the full learning rate: warm-up, level, then straight down to nothing."""
        return self.peak * min((step + 1) / WARM, 1.0, (self.steps - step) / (self.steps * self.decay))

    def rounding(self, step: int) -> bool:
        return step >= self.steps * (1 - self.round)


def loss_of(model, batch, rounding: bool):
    ids, positions, documents, weights = batch
    length = ids.shape[1]
    mask = (documents[:, :, None] == documents[:, None, :]) & torch.ones(length, length, dtype=torch.bool).tril()
    params = dict(model.named_parameters())
    if rounding:
        params = {n: rounded(p) if p.ndim == 2 else p for n, p in params.items()}
    with torch.autocast("cpu", torch.bfloat16):
        logits = functional_call(model, params, (), dict(input_ids=ids, position_ids=positions, attention_mask=mask[:, None])).logits
    losses = F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), ids[:, 1:].flatten(), reduction="none")
    w = weights[:, 1:].flatten()
    return (losses * w).sum() / w.sum()


def optimisers(model):
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    return [torch.optim.Muon(matrices, lr=MATRIX_RATE, weight_decay=0.05, momentum=0.95, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(others, lr=OTHER_RATE, betas=(0.9, 0.98), weight_decay=0.0)]


def add_gradients(model) -> None:
    """Averages the gradients of all workers."""
    grads = [p.grad for p in model.parameters()]
    flat = torch.cat([g.flatten() for g in grads])
    dist.all_reduce(flat)
    flat /= WORKERS
    for g, part in zip(grads, flat.split([g.numel() for g in grads])):
        g.copy_(part.view_as(g))


def train(model, packer: Packer, plan: Plan, out: str, chief: bool) -> None:
    optims = optimisers(model)
    for o in optims:
        for g in o.param_groups:
            g["full"] = g["lr"]
    began, saved, tokens, shown = time.time(), time.time(), 0, None
    for step in range(plan.steps):
        length = LONG if step % 5 == 4 else SHORT
        batch = packer.batch(TOKENS // WORKERS // length, length, length == LONG)
        for o in optims:
            for g in o.param_groups:
                g["lr"] = g["full"] * plan.rate(step)
        loss = loss_of(model, batch, plan.rounding(step))
        loss.backward()
        add_gradients(model)
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        if not torch.isfinite(norm):
            raise SystemExit(f"train: step {step}: the gradient is not finite")
        for o in optims:
            o.step()
            o.zero_grad(set_to_none=True)
        tokens += WORKERS * int((batch[2] >= 0).sum())
        shown = loss.item() if shown is None else 0.95 * shown + 0.05 * loss.item()
        if not chief:
            continue
        if step % 20 == 0 or step == plan.steps - 1:
            print(json.dumps(dict(step=step, loss=round(shown, 4), tokens=tokens, minutes=round((time.time() - began) / 60, 1))), flush=True)
        if time.time() - saved > 240:
            model.save_pretrained(os.path.join(out, "checkpoint"))
            saved = time.time()


def work(rank: int, out: str, start: str | None, steps: int, seed: int) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    dist.init_process_group("gloo", init_method=f"file://{os.path.abspath(out)}/rendezvous", rank=rank, world_size=WORKERS)
    if start:
        plan = Plan(steps, peak=0.5, decay=1.0, round=1.0)
        tokenizer, model = PreTrainedTokenizerFast.from_pretrained(start), Qwen2ForCausalLM.from_pretrained(start, dtype=torch.float32)
        model.config.use_cache = False
    else:
        plan = Plan(steps, peak=1.0, decay=0.8, round=0.35)
        tokenizer = train_tokenizer(seed)
        model = Qwen2ForCausalLM(configuration(tokenizer))
    if rank == 0:
        save_tokenizer(tokenizer, out)
        save_tokenizer(tokenizer, os.path.join(out, "checkpoint"))
        print(sum(p.numel() for p in model.parameters()), "parameters", flush=True)
    train(model, Packer(tokenizer, seed + 1 + rank), plan, out, rank == 0)
    if rank == 0:
        model.config.use_cache = True
        model.generation_config.eos_token_id = [tokenizer.convert_tokens_to_ids(STOP), tokenizer.convert_tokens_to_ids(END)]
        model.save_pretrained(out)
    dist.destroy_process_group()


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--out", required=True)
    args.add_argument("--steps", type=int, default=1000)
    args.add_argument("--seed", type=int, default=7)
    args.add_argument("--start")
    a = args.parse_args()
    os.makedirs(a.out, exist_ok=True)
    rendezvous = os.path.join(a.out, "rendezvous")
    if os.path.exists(rendezvous):
        os.remove(rendezvous)
    mp.spawn(work, (a.out, a.start, a.steps, a.seed), nprocs=WORKERS)


if __name__ == "__main__":
    main()
