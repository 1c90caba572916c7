"""Reads training data: lines of JSON become token ids and what each of them counts in the loss."""
import json
import math
import sys
from typing import NamedTuple

import cli

FORMS = 'expected {"prompt", "answer"} or {"messages": [{"role", "content"}, ...]}'


class Example(NamedTuple):
    ids: list[int]
    learned: list[bool]  # the answer's ids
    weight: float


def messages_of(value) -> tuple[list[dict], float]:
    """The conversation and the weight of one line; a ValueError says what is wrong."""
    if not isinstance(value, dict):
        raise ValueError(f"found {type(value).__name__}, {FORMS}")
    weight = value.get("weight", 1)
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not math.isfinite(weight) or weight < 0:
        raise ValueError(f"weight is {weight!r}, expected a number from 0")
    if "messages" not in value:
        if not isinstance(value.get("prompt"), str) or not isinstance(value.get("answer"), str):
            raise ValueError(f"found the keys {sorted(value)}, {FORMS}")
        messages = [{"role": "user", "content": value["prompt"]}, {"role": "assistant", "content": value["answer"]}]
    else:
        messages = value["messages"]
    if not isinstance(messages, list) or not messages:
        raise ValueError("messages is empty or no list")
    for m in messages:
        if not isinstance(m, dict) or not isinstance(m.get("role"), str) or not isinstance(m.get("content"), str):
            raise ValueError('a message has no text: expected {"role", "content"}')
        if m.get("weight", 1) not in (0, 1):
            raise ValueError(f"a message has the weight {m['weight']!r}, expected 0 or 1")
    if messages[-1]["role"] != "assistant":
        raise ValueError(f"the last message is of role {messages[-1]['role']!r}, expected 'assistant'")
    if not messages[-1]["content"].strip():
        raise ValueError("the answer is empty")
    return messages, weight


class Encoder:
    """Renders conversations with a model's own chat template."""

    def __init__(self, folder: str, ends: list[int]):
        import transformers

        try:
            self.tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(folder)
        except (ValueError, OSError, TypeError) as error:
            raise cli.Failure(f"{folder}: no tokenizer: expected tokenizer.json: {str(error).splitlines()[0]}") from None
        if not self.tokenizer.chat_template:
            raise cli.Failure(f"{folder}: no chat template: expected chat_template.jinja, or chat_template in tokenizer_config.json")
        self.ends = ends

    def render(self, messages: list[dict], asked: bool) -> str:
        plain = [{"role": m["role"], "content": m["content"]} for m in messages]
        return self.tokenizer.apply_chat_template(plain, tokenize=False, add_generation_prompt=asked)

    def answers(self, messages: list[dict]) -> list[tuple[int, int, bool]]:
        """Where in the rendered text the answers lie, and whether they are learned: all but those of messages with "weight": 0.

        A template may show an earlier answer otherwise than the last one (without its thoughts): that is not learned either.
        """
        whole, spans = self.render(messages, False), []
        for i, m in enumerate(messages):
            if m["role"] == "assistant":
                before, after = self.render(messages[:i], True), self.render(messages[:i + 1], False)
                if after.startswith(before) and whole.startswith(after):
                    spans.append((len(before), len(after), m.get("weight", 1) != 0))
        if not spans or spans[-1][1] != len(whole):
            raise ValueError("the chat template does not put the answer after the prompt")
        return spans

    def example(self, messages: list[dict], weight: float) -> Example:
        """Ids as the engine makes them: the prompt's are those of the prompt alone."""
        whole, ids, learned, at = self.render(messages, False), [], [], 0
        for begin, end, counts in self.answers(messages):
            for text, answer in ((whole[at:begin], False), (whole[begin:end], counts)):
                made = self.tokenizer(text, add_special_tokens=False)["input_ids"] if text else []
                stop = max((i + 1 for i, t in enumerate(made) if t in self.ends), default=len(made))  # a line end after the stop is not said
                ids += made
                learned += [answer and i < stop for i in range(len(made))]
            at = end
        return Example(ids, learned, weight)


def read(path: str, encoder: Encoder, longest: int) -> list[Example]:
    """The examples of a JSONL file. Lines of weight 0 and, with a word on stderr, lines that are too long are left out."""
    import jinja2

    examples, seen = [], 0
    with open(path, "rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            seen += 1
            try:
                messages, weight = messages_of(json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8")))
                example = encoder.example(messages, weight) if weight else None
            except jinja2.TemplateError as error:
                raise cli.Failure(f"{path}:{number}: the chat template: {error}") from None
            except json.JSONDecodeError as error:
                raise cli.Failure(f"{path}:{number}: not JSON: {error.msg} at column {error.colno}") from None
            except UnicodeDecodeError as error:
                raise cli.Failure(f"{path}:{number}: not UTF-8: byte {error.object[error.start]:#04x} at column {error.start + 1}") from None
            except RecursionError:
                raise cli.Failure(f"{path}:{number}: not JSON: nested too deeply") from None
            except ValueError as error:
                raise cli.Failure(f"{path}:{number}: {error}") from None
            if example and len(example.ids) > longest:
                print(f"train: {path}:{number}: left out: {len(example.ids)} tokens, at most {longest} are learned (--length)", file=sys.stderr)
            elif example:
                examples.append(example)
    if not examples:
        raise cli.Failure(f"{path}: nothing to learn: {seen} lines, none with a weight above 0 and at most {longest} tokens")
    return examples
