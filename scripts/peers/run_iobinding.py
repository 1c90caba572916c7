#!/usr/bin/env python3
"""The straight loop over a layout-A graph: onnxruntime with IOBinding, what a step presents bound as the past of the next."""
import os
import time

import peer  # first
import numpy as np
import onnxruntime as ort


def load(model, threads):
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(os.path.join(model, "model.onnx"), options, providers=["CPUExecutionProvider"])
    shapes = {i.name: i.shape for i in session.get_inputs()}
    past = [name for name in shapes if name.startswith("past_key_values.")]
    present = [name.replace("past_key_values", "present") for name in past]

    def step(ids, done, cache):
        """Runs ids (rows, n) after done tokens; gives the best next tokens (rows, 1) and the new cache."""
        rows, n = ids.shape
        feed = {"input_ids": ids, "attention_mask": np.ones((rows, done + n), np.int64),
                "position_ids": np.broadcast_to(np.arange(done, done + n), (rows, n)).astype(np.int64)}
        b = session.io_binding()
        for name, x in feed.items():
            if name in shapes:
                b.bind_cpu_input(name, np.ascontiguousarray(x))
        for name, x in zip(past, cache):
            b.bind_ortvalue_input(name, x)
        for name in ("logits", *present):
            b.bind_output(name, "cpu")
        session.run_with_iobinding(b)
        logits, *cache = b.get_outputs()
        return logits.numpy()[:, -1].argmax(-1)[:, None], cache

    def measure(ids, new, more, lookup):
        empty = [ort.OrtValue.ortvalue_from_numpy(np.zeros((len(ids), shapes[name][1], 0, shapes[name][3]), np.float32)) for name in past]
        t = time.perf_counter()
        last, cache = step(ids.astype(np.int64), 0, empty)
        first = time.perf_counter()
        for i in range(new):
            last, cache = step(last, ids.shape[1] + i, cache)
        end = time.perf_counter()
        if more is None:
            return first - t, end - first
        step(np.concatenate([last, more], axis=1).astype(np.int64), ids.shape[1] + new, cache)
        return first - t, end - first, time.perf_counter() - end

    return measure


if __name__ == "__main__":
    peer.main(load, "onnxruntime " + ort.__version__)
