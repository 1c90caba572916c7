#!/usr/bin/env python3
"""onnxruntime-genai: Generator over a graph of its own builder."""
import json
import time

import peer  # first
import numpy as np
import onnxruntime_genai as og


def load(model, threads):
    config = og.Config(model)
    config.overlay(json.dumps({"model": {"decoder": {"session_options": {"intra_op_num_threads": threads}}}}))
    m = og.Model(config)
    tokenizer = og.Tokenizer(m)

    def measure(ids, new, more, lookup):
        rows, n = ids.shape
        tokens = n + new + (0 if more is None else more.shape[1]) + 2
        p = og.GeneratorParams(m)
        # min_length keeps ends of text from being chosen; the cache is as long as needed and shared between past and present
        p.set_search_options(do_sample=False, batch_size=rows, max_length=tokens, min_length=tokens)
        g = og.Generator(m, p)
        t = time.perf_counter()
        g.append_tokens(np.ascontiguousarray(ids if rows > 1 else ids[0], np.int32))
        g.generate_next_token()
        first = time.perf_counter()
        for _ in range(new):
            g.generate_next_token()
        end = time.perf_counter()
        if more is None:
            return first - t, end - first
        g.append_tokens(np.ascontiguousarray(more[0], np.int32))
        g.generate_next_token()
        return first - t, end - first, time.perf_counter() - end

    measure.keep = tokenizer
    return measure


if __name__ == "__main__":
    peer.main(load, "onnxruntime-genai " + og.__version__)
