"""The text the tiny model learns from: an endless, reproducible stream of conversations, and the held-out questions."""

import random
from typing import NamedTuple

import dialogues
import facts
import stories

SYSTEM = ["You are a helpful assistant.", "You are a tiny assistant.", "Answer in one short sentence.", "You are a helpful assistant inside shammah-engine."]
Message = dict[str, str]


class Query(NamedTuple):
    relation: str
    question: str
    answer: str


def question(wording: str, subject: str) -> str:
    for word, sign in (("plus", "+"), ("minus", "-"), ("times", "*")):
        wording = wording.replace("{x:" + sign + "}", subject.replace(word, sign))
    text = wording.replace("{x}", subject)
    return facts.capital(text)


class Knowledge:
    """Every pair of fact and wording, split into what training sees and what it never sees."""

    def __init__(self):
        self.seen: dict[str, list[list[Query]]] = {}  # relation -> fact -> wordings
        self.held: list[Query] = []
        relations = facts.world() + facts.animals() + facts.language() + facts.order() + facts.arithmetic()
        for r in relations:
            self._add(r.name, [[Query(r.name, question(w, s), a) for w in r.wordings] for s, a in r.facts])
        for name, single in (("single", facts.SINGLE), ("about", dialogues.ABOUT)):
            self._add(name, [[Query(name, q, f.answer) for q in facts.wonder(f.clause, *f.direct)] for f in single])
        self.weights = [len(v) ** 0.8 * (2 if k == "about" else 1) for k, v in self.seen.items()]

    def _add(self, name: str, groups: list[list[Query]]):
        for group in groups:
            held = [q for q in group if facts.held_out(q.answer, q.question)]
            self.held += held
            self.seen.setdefault(name, []).append([q for q in group if q not in held])

    def draw(self, rng: random.Random) -> Query:
        relation = rng.choices(list(self.seen), self.weights)[0]
        return rng.choice(rng.choice(self.seen[relation]))


def prefix(head: str, text: str) -> str:
    """Puts words before a sentence, which then begins small after a comma or colon."""
    small = head.rstrip()[-1] in ",:" and not text.startswith(("I ", "I'm"))
    return head + (text[0].lower() + text[1:] if small else text)


def style(rng: random.Random, text: str, lower: bool = True) -> str:
    """What people do to a question when they type it."""
    if rng.random() < 0.4:
        text = text.replace("olour", "olor").replace("avourite", "avorite")
    kind = rng.random()
    if kind < 0.06:
        text = prefix(rng.choice(["Hello! ", "Hi! ", "Hello, ", "Hi, ", "Please: ", "A question: "]), text)
    elif kind < 0.09:
        text += rng.choice([" Thanks.", " Thank you.", " Please."])
    if lower and rng.random() < 0.15:
        text = text.lower()
    if rng.random() < 0.12:
        text = text.rstrip(".?!")
    return text


def messages(turns: list[tuple[str, str]]) -> list[Message]:
    return [{"role": role, "content": text} for turn in turns for role, text in zip(("user", "assistant"), turn)]


class Composer:
    def __init__(self, seed: int):
        self.rng = random.Random(seed)
        self.knowledge = Knowledge()

    def fact(self) -> list[tuple[str, str]]:
        q = self.knowledge.draw(self.rng)
        return [(style(self.rng, q.question), q.answer)]

    def story(self) -> list[tuple[str, str]]:
        rng = self.rng
        ask, text, v = stories.request(rng)
        turns = [(style(rng, ask), text)]
        if rng.random() < 0.25:
            turns.append(rng.choice([
                (rng.choice(["Who is the story about?", "Who was the story about?", "What was the story about?"]), "The story is about {} called {}.".format(facts.article(v["h"]), v["n"])),
                (rng.choice(["What was the name of the {}?", "What is the {} called?"]).format(v["h"]), "The {} is called {}.".format(v["h"], v["n"])),
            ]))
        return turns

    def filler(self) -> list[tuple[str, str]]:
        kind = self.rng.random()
        if kind < 0.7:
            return self.fact()
        if kind < 0.9:
            ask, answer = dialogues.talk(self.rng)
            return [(style(self.rng, ask), answer)]
        return [dialogues.unknown(self.rng)]

    def recall(self, long: bool) -> list[tuple[str, str]]:
        """The user tells one to four things, talks of something else, and asks for them; now and then for what was never told."""
        rng = self.rng
        kinds = list(dialogues.MEMORIES)
        rng.shuffle(kinds)
        told = [dialogues.Memory(rng, k) for k in kinds[: rng.choice([1, 1, 2, 2, 3, 4])]]
        told.sort(key=lambda m: m.kind != "name" or rng.random() < 0.3)
        turns = [(style(rng, m.told(rng), lower=False), m.replied()) for m in told]
        if len(told) == 2 and rng.random() < 0.4:
            turns = [(" ".join(m.told(rng) for m in told), told[0].replied())]
        turns = [t for pair in turns for t in [pair, *(self.filler() if rng.random() < 0.15 else [])]]
        if rng.random() < 0.12:
            i = rng.randrange(len(told))
            told[i] = dialogues.Memory(rng, told[i].kind)
            turns.append((prefix(rng.choice(dialogues.AGAIN), told[i].told(rng)), told[i].replied()))
        for _ in range(rng.choice([0, 0, 1, 1, 2]) + (rng.randrange(12) if long else 0)):
            turns += self.filler() if rng.random() < 0.93 else self.story()
        asked = [(style(rng, m.asked(rng)), m.answered()) for m in told]
        if rng.random() < 0.25:
            absent = dialogues.MEMORIES[kinds[-1]]
            forms = [a for a in absent[3] if "{k}" not in a]
            asked.append((style(rng, rng.choice(forms)), absent[5]))
        rng.shuffle(asked)
        return turns + asked

    def conversation(self, long: bool = False) -> list[Message]:
        rng = self.rng
        kind = rng.random()
        turns: list[tuple[str, str]] = []
        if kind < 0.43:
            for _ in range(rng.choice([1, 2, 3, 4, 5])):
                turns += self.fact() if rng.random() < 0.9 else self.filler()
        elif kind < 0.82:
            turns = self.recall(long)
        elif kind < 0.94:
            turns = self.story()
        else:
            turns = self.filler() + self.filler()
        system = [{"role": "system", "content": rng.choice(SYSTEM)}] if rng.random() < 0.08 else []
        return system + messages(turns)

    def plain(self) -> str:
        """A story outside any conversation, for prompts without a template."""
        return stories.tell(self.rng)[0]
