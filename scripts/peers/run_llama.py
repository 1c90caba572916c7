#!/usr/bin/env python3
"""llama.cpp through the C interface that llama-cpp-python brings: llama_decode and the largest logit."""
import ctypes
import time

import peer  # first
import numpy as np
import llama_cpp as llama


@llama.llama_log_callback
def silent(*_):
    pass


def load(model, threads, rows, tokens):
    llama.llama_log_set(silent, ctypes.c_void_p(0))
    llama.llama_backend_init()
    m = llama.llama_model_load_from_file(model.encode(), llama.llama_model_default_params())
    if not m:
        raise RuntimeError(f"llama.cpp: {model} could not be loaded")
    p = llama.llama_context_default_params()
    p.n_ctx, p.n_seq_max, p.n_threads, p.n_threads_batch = tokens * rows, rows, threads, threads
    p.n_batch, p.n_ubatch = max(tokens * rows, 512), 512
    c = llama.llama_init_from_model(m, p)
    if not c:
        raise RuntimeError(f"llama.cpp: no context for {tokens * rows} tokens")
    vocab = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(m))
    batch = llama.llama_batch_init(p.n_batch, 0, 1)

    def decode(items):
        """Runs (token, position, row, whether its logits are wanted) and gives the best next token of each wanted one."""
        batch.n_tokens = len(items)
        for i, (token, position, row, wanted) in enumerate(items):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.seq_id[i][0], batch.logits[i] = token, position, 1, row, wanted
        if code := llama.llama_decode(c, batch):
            raise RuntimeError(f"llama.cpp: llama_decode of {len(items)} tokens gave {code}")
        return [int(np.ctypeslib.as_array(llama.llama_get_logits_ith(c, i), (vocab,)).argmax()) for i, item in enumerate(items) if item[3]]

    def measure(ids, new, more):
        llama.llama_memory_clear(llama.llama_get_memory(c), True)
        n = ids.shape[1]
        items = [(int(t), i, r, i == n - 1) for r, row in enumerate(ids) for i, t in enumerate(row)]
        t = time.perf_counter()
        last = decode(items)
        first = time.perf_counter()
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
