#!/usr/bin/env python3
"""Asks an exported model everything that was held out, under greedy, with onnxruntime-genai.

usage: evaluate.py --model DIR [--limit N] [--wrong] [--write FILE]

Groups: facts (pairs of fact and wording that training never saw), typed (the same as people type them: no capitals, no
marks, another spelling), recall (dialogues of a seed of their own: the last question asks back what was told), unknown,
stories (the right hero, and an end of its own). --write leaves a selection of facts and recall as a test's data.
"""

import argparse
import json
import random

import onnxruntime_genai as og

import dialogues
import stories
from corpus import Composer, Knowledge, messages, style

RECALL_SEED, STYLE_SEED, STORY_SEED = 1001, 1002, 1003
KEEP_FACTS, KEEP_RECALL = 400, 60  # lines of --write


class Model:
    def __init__(self, folder: str):
        self.model = og.Model(folder)
        self.tokenizer = og.Tokenizer(self.model)

    def answer(self, talk: list[dict], most: int = 300) -> tuple[str, bool]:
        """Returns the text and whether the model stopped by itself."""
        prompt = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in talk) + "<|im_start|>assistant\n"
        ids = self.tokenizer.encode(prompt)
        params = og.GeneratorParams(self.model)
        params.set_search_options(max_length=len(ids) + most, do_sample=False)
        generator = og.Generator(self.model, params)
        generator.append_tokens(ids)
        made = []
        while not generator.is_done() and len(made) < most:
            generator.generate_next_token()
            made.append(int(generator.get_next_tokens()[0]))
        return self.tokenizer.decode(made).removesuffix("<|im_end|>").strip(), generator.is_done()


def user(text: str) -> list[dict]:
    return [{"role": "user", "content": text}]


def recall_cases(count: int) -> list[dict]:
    composer = Composer(RECALL_SEED)
    talks = [messages(composer.recall(long=False)) for _ in range(count)]
    return [dict(group="recall", messages=t[:-1], answer=t[-1]["content"]) for t in talks]


def cases() -> dict[str, list[dict]]:
    held = Knowledge().held
    rng = random.Random(STYLE_SEED)
    facts = [dict(group="facts", relation=q.relation, messages=user(q.question), answer=q.answer) for q in held]
    typed = [dict(group="typed", relation=q.relation, messages=user(style(rng, q.question)), answer=q.answer) for q in held[::5]]
    odd = [dict(group="unknown", messages=user(ask), answer=answer) for ask, answer in (dialogues.unknown(rng) for _ in range(60))]
    return dict(facts=facts, typed=typed, recall=recall_cases(200), unknown=odd)


def spread(items: list, count: int) -> list:
    count = min(count, len(items))
    return [items[i * len(items) // count] for i in range(count)]


def ask_all(model: Model, wanted: list[dict], show: bool) -> dict:
    right, by = 0, {}
    for c in wanted:
        text, done = model.answer(c["messages"])
        good = done and text == c["answer"]
        right += good
        n = by.setdefault(c.get("relation", c["group"]), [0, 0])
        n[0] += good
        n[1] += 1
        if show and not good:
            print("wrong:", [m["content"] for m in c["messages"]], "| want", c["answer"], "| got", text)
    worst = {k: f"{a}/{b}" for k, (a, b) in sorted(by.items(), key=lambda i: i[1][0] / i[1][1])[:6] if a < b}
    return dict(asked=len(wanted), right=right, percent=round(100 * right / max(1, len(wanted)), 2), worst=worst)


def tell_stories(model: Model, show: int) -> dict:
    rng, good, asked = random.Random(STORY_SEED), 0, 40
    for i in range(asked):
        ask, _, v = stories.request(rng)
        text, done = model.answer(user(ask))
        if i < show:
            print(f"> {ask}\n{text}\n")
        good += done and (v["h"] not in ask or v["h"] in text) and (v["n"] not in ask or v["n"] in text)
    return dict(asked=asked, right=good, percent=100 * good / asked)


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--model")
    args.add_argument("--limit", type=int, default=0, help="at most this many of each group")
    args.add_argument("--wrong", action="store_true", help="print the wrong answers")
    args.add_argument("--write", help="write test data to this file")
    a = args.parse_args()
    groups = cases()
    if a.write:
        with open(a.write, "w") as f:
            for c in spread(groups["facts"], KEEP_FACTS) + spread(groups["recall"], KEEP_RECALL):
                f.write(json.dumps(c, ensure_ascii=False) + "\n")
    if a.model:
        model = Model(a.model)
        for name, wanted in groups.items():
            print(json.dumps({name: ask_all(model, spread(wanted, a.limit) if a.limit else wanted, a.wrong)}), flush=True)
        print(json.dumps(dict(stories=tell_stories(model, 4))))


if __name__ == "__main__":
    main()
