#!/usr/bin/env python3
"""llama.cpp through the C interface that llama-cpp-python brings: llama_decode and the largest logit."""
import ctypes
import time

import peer  # first
import numpy as np
import llama_cpp as llama
from llama_cpp.llama_speculative import LlamaPromptLookupDecoding

ROOM = 2050  # tokens of the context that most tests share: a new one has its buffers still to touch
GUESSES = 2  # what llama-cpp-python advises for a CPU; its default, 10, was slower on SmolLM2


@llama.llama_log_callback
def silent(*_):
    pass


def context(m, threads, rows, tokens):
    p = llama.llama_context_default_params()
    p.n_ctx, p.n_seq_max, p.n_threads, p.n_threads_batch = tokens * rows, rows, threads, threads
    p.n_batch, p.n_ubatch = max(tokens * rows, 512), 512
    c = llama.llama_init_from_model(m, p)
    if not c:
        raise RuntimeError(f"llama.cpp: no context for {tokens * rows} tokens")
    return c, llama.llama_batch_init(p.n_batch, 0, 1)


def load(model, threads):
    llama.llama_log_set(silent, ctypes.c_void_p(0))
    llama.llama_backend_init()
    m = llama.llama_model_load_from_file(model.encode(), llama.llama_model_default_params())
    if not m:
        raise RuntimeError(f"llama.cpp: {model} could not be loaded")
    vocab = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(m))
    contexts = {(1, ROOM): context(m, threads, 1, ROOM)}

    def measure(ids, new, more, lookup):
        rows, n = ids.shape
        size = n + new + (0 if more is None else more.shape[1]) + 2
        key = rows, max(size, ROOM if rows == 1 else 16 + peer.tests.COPIED + 2)
        if key not in contexts:
            contexts[key] = context(m, threads, *key)
        c, batch = contexts[key]
        held = llama.llama_get_memory(c)

        def decode(items):
            """Runs (token, position, row, whether its logits are wanted) and gives the best next token of each wanted one."""
            batch.n_tokens = len(items)
            for i, (token, position, row, wanted) in enumerate(items):
                batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.seq_id[i][0], batch.logits[i] = token, position, 1, row, wanted
            if code := llama.llama_decode(c, batch):
                raise RuntimeError(f"llama.cpp: llama_decode of {len(items)} tokens gave {code}")
            return [int(np.ctypeslib.as_array(llama.llama_get_logits_ith(c, i), (vocab,)).argmax()) for i, item in enumerate(items) if item[3]]

        def guess(text, end):
            """Writes until text has end tokens: what follows the last ones where they stood before is verified in one run."""
            draft = LlamaPromptLookupDecoding(num_pred_tokens=GUESSES)
            while len(text) < end:
                guessed = [int(t) for t in draft(np.array(text, np.intc))[:end - len(text) - 1]]
                best = decode([(token, len(text) - 1 + i, 0, True) for i, token in enumerate([text[-1], *guessed])])
                right = next((i for i, token in enumerate(guessed) if token != best[i]), len(guessed))
                text += best[:right + 1]
                llama.llama_memory_seq_rm(held, 0, len(text) - 1, -1)

        llama.llama_memory_clear(held, True)
        items = [(int(t), i, r, i == n - 1) for r, row in enumerate(ids) for i, t in enumerate(row)]
        t = time.perf_counter()
        last = decode(items)
        first = time.perf_counter()
        if lookup:
            guess([*map(int, ids[0]), *last], n + 1 + new)
        else:
            for i in range(new):
                last = decode([(token, n + i, row, True) for row, token in enumerate(last)])
        end = time.perf_counter()
        if more is None:
            return first - t, end - first
        turn = [last[0], *(int(t) for t in more[0])]  # the answer's last token was not read yet
        decode([(token, n + new + i, 0, i == len(turn) - 1) for i, token in enumerate(turn)])
        return first - t, end - first, time.perf_counter() - end

    return measure


if __name__ == "__main__":
    peer.main(load, "llama-cpp-python " + llama.__version__)
