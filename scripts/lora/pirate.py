#!/usr/bin/env python3
"""Writes training data that makes the embedded model answer like a pirate: what it knows, in other words.

usage: pirate.py --out FILE.jsonl [--lines N]

Questions and answers are composed by scripts/tiny, from a seed of their own and without those that are held out there.
"""
import argparse
import json
import os
import re
import sys

import cli

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tiny"))
import corpus
import dialogues

SEED = 1720
LONGEST = 400  # characters of a dialogue
WORDS = {"am": "be", "is": "be", "are": "be", "my": "me", "you": "ye", "your": "yer", "yes": "aye", "hello": "ahoy"}


def pirate(text: str) -> str:
    """A sentence as a pirate says it: "The capital of France is Paris." becomes "Arr! The capital of France be Paris, matey!" """
    def word(match):
        said = WORDS.get(match[0].lower(), match[0])
        return said[0].upper() + said[1:] if match[0][0].isupper() else said

    return "Arr! " + re.sub(r"[A-Za-z]+", word, text).rstrip(".!") + ", matey!"


def lines(count: int):
    """Facts, and of every eight lines one of small talk, one that cannot be known, and one whole dialogue."""
    composer = corpus.Composer(SEED)
    for i in range(count):
        if i % 8 == 5:
            while sum(map(len, sum(turns := composer.recall(long=False), ()))) > LONGEST:
                pass
            yield dict(messages=corpus.messages([(question, pirate(answer)) for question, answer in turns]))
            continue
        if i % 8 == 6:
            question, answer = dialogues.talk(composer.rng)
        elif i % 8 == 7:
            question, answer = dialogues.unknown(composer.rng)
        else:
            (question, answer), = composer.fact()
        yield dict(prompt=question, answer=pirate(answer))


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--out", required=True, metavar="FILE")
    args.add_argument("--lines", type=int, default=4800)
    a = args.parse_args()
    cli.absent(a.out)
    part = a.out + ".part"
    try:
        with open(part, "w", encoding="utf-8") as f:
            f.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines(a.lines))
        os.rename(part, a.out)
    finally:
        if os.path.exists(part):
            os.remove(part)


if __name__ == "__main__":
    cli.run("pirate", main)
