"""The tokenizer, the chat template, and conversations as rows of token ids."""

import json
import os

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from corpus import Composer, Message

END, START, STOP = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
VOCAB, CONTEXT = 1024, 2048
TEMPLATE = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)
# Qwen2's: words with the space before them, single digits, marks, line ends, other white space.
SPLIT = r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""
QUESTION_WEIGHT, STORY_WEIGHT = 0.1, 0.4  # of one token in the loss; a token of a short answer counts 1
STORY = 160  # characters from which an answer is a story


def train_tokenizer(seed: int, conversations: int = 12000) -> PreTrainedTokenizerFast:
    composer = Composer(seed)

    def texts():
        for _ in range(conversations):
            for m in composer.conversation():
                yield m["role"] + "\n" + m["content"] + "\n"

    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(SPLIT), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    t.decoder = decoders.ByteLevel()
    specials = [AddedToken(s, special=True, normalized=False) for s in (END, START, STOP)]
    t.train_from_iterator(texts(), trainers.BpeTrainer(
        vocab_size=VOCAB, special_tokens=specials, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False))
    fast = PreTrainedTokenizerFast(tokenizer_object=t, eos_token=STOP, pad_token=END, model_max_length=CONTEXT, clean_up_tokenization_spaces=False)
    fast.chat_template = TEMPLATE
    return fast


def encode(tokenizer: PreTrainedTokenizerFast, messages: list[Message]) -> tuple[list[int], list[float]]:
    """Ids of a rendered conversation, and the weight of each in the loss."""
    ids: list[int] = []
    weights: list[float] = []
    head = ""
    for m in messages:
        if m["role"] != "assistant":
            head += f"{START}{m['role']}\n{m['content']}{STOP}\n"
            continue
        for text, weight in ((head + f"{START}assistant\n", QUESTION_WEIGHT), (f"{m['content']}{STOP}\n", STORY_WEIGHT if len(m["content"]) >= STORY else 1.0)):
            part = tokenizer(text)["input_ids"]
            ids += part
            weights += [weight] * len(part)
        weights[-1] = QUESTION_WEIGHT  # the line end after the stop
        head = ""
    return ids, weights


class Packer:
    """Fills rows with whole conversations; one never sees another, and each starts at position 0."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, seed: int):
        self.tokenizer, self.composer = tokenizer, Composer(seed)
        self.waiting: dict[int, list] = {}

    def _document(self, long: bool):
        if self.composer.rng.random() < 0.02:
            ids = self.tokenizer(self.composer.plain() + END)["input_ids"]
            return ids, [STORY_WEIGHT] * len(ids)
        return encode(self.tokenizer, self.composer.conversation(long))

    def batch(self, rows: int, length: int, long: bool):
        """Returns ids, positions, document numbers and loss weights, each (rows, length)."""
        waiting = self.waiting.setdefault(length, [])
        filled = []
        for _ in range(rows):
            row, room = [], length
            while room > 0:
                while len(waiting) < 24:
                    d = self._document(long)
                    if len(d[0]) <= length:
                        waiting.append(d)
                fit = next((i for i, d in enumerate(waiting) if len(d[0]) <= room), None)
                if fit is None:
                    break
                row.append(waiting.pop(fit))
                room -= len(row[-1][0])
            filled.append(row)
        ids = torch.zeros(rows, length, dtype=torch.long)
        positions, documents = torch.zeros_like(ids), torch.full_like(ids, -1)
        weights = torch.zeros(rows, length)
        for r, row in enumerate(filled):
            at = 0
            for d, (part, weight) in enumerate(row):
                span = slice(at, at + len(part))
                ids[r, span], weights[r, span] = torch.tensor(part), torch.tensor(weight)
                positions[r, span], documents[r, span] = torch.arange(len(part)), d
                weights[r, at] = 0  # nothing predicts a first token
                at += len(part)
        return ids, positions, documents, weights


def save_tokenizer(tokenizer: PreTrainedTokenizerFast, folder: str) -> None:
    os.makedirs(folder, exist_ok=True)
    tokenizer.save_pretrained(folder)
    path = os.path.join(folder, "tokenizer_config.json")
    with open(path) as f:
        config = json.load(f)
    for key in ("is_local", "local_files_only"):  # how it was opened here, not what it is
        config.pop(key, None)
    config["tokenizer_class"] = "Qwen2Tokenizer"  # the name that every reader of such folders knows
    with open(path, "w") as f:
        json.dump(config, f, indent=2)
        f.write("\n")
