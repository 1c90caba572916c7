#!/usr/bin/env python3
"""OpenVINO GenAI: LLMPipeline for one row, ContinuousBatchingPipeline, which it is made of, for several."""
import os
import time

import peer  # first
import numpy as np
import openvino as ov
import openvino_genai as genai

GUESSES, NGRAM = 10, 3  # num_assistant_tokens, with which SmolLM2 copied faster than with its sample's 5, and max_ngram_size as there


def config(new, lookup=False):
    c = genai.GenerationConfig()
    c.max_new_tokens, c.ignore_eos, c.do_sample = new + 1, True, False
    if lookup:
        c.num_assistant_tokens, c.max_ngram_size = GUESSES, NGRAM
    return c


def one(model, options, lookup=False):
    pipe = genai.LLMPipeline(model, "CPU", **options, **({"prompt_lookup": True} if lookup else {}))

    def generate(ids, new):
        x = genai.TokenizedInputs(ov.Tensor(np.ascontiguousarray(ids, np.int64)), ov.Tensor(np.ones(ids.shape, np.int64)))
        answer = pipe.generate(x, config(new, lookup))
        if (n := answer.perf_metrics.get_num_generated_tokens()) != new + 1:
            raise RuntimeError(f"openvino: {n} tokens generated, expected {new + 1}")
        return answer

    def measure(ids, new, more):
        answer = generate(ids, new)
        times = answer.perf_metrics.raw_metrics.m_new_token_times
        seconds = answer.perf_metrics.get_ttft().mean / 1e3, (times[-1] - times[0]) / 1e3  # both in milliseconds
        if more is None:
            return seconds
        whole = np.concatenate([ids, np.array([answer.tokens[0]]), more], axis=1)  # the pipeline keeps what it has computed of it
        return *seconds, generate(whole, 0).perf_metrics.get_ttft().mean / 1e3

    return measure


def several(model, options):
    s = genai.SchedulerConfig()
    s.max_num_batched_tokens, s.enable_prefix_caching = 4096, False
    pipe = genai.ContinuousBatchingPipeline(model, s, "CPU", options)
    requests = iter(range(1 << 30))

    def measure(ids, new, more):
        handles = [pipe.add_request(next(requests), ov.Tensor(np.ascontiguousarray(row[None], np.int64)), config(new)) for row in ids]
        t = time.perf_counter()
        pipe.step()
        first = time.perf_counter()
        steps = 0
        while pipe.has_non_finished_requests():
            pipe.step()
            steps += 1
        end = time.perf_counter()
        if steps != new:
            raise RuntimeError(f"openvino: {steps} steps after the first for {len(handles)} rows, expected {new}")
        return first - t, end - first

    return measure


def load(model, threads):
    options = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    if os.path.isdir(model):  # int4 in groups of 128 lets activations be quantised in groups of 128 too, which makes prefill a quarter faster
        options["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = 128
    make = {"one": lambda: one(model, options), "several": lambda: several(model, options), "lookup": lambda: one(model, options, True)}
    pipes = {"one": make["one"]()}

    def measure(ids, new, more, lookup):
        kind = "lookup" if lookup else "one" if len(ids) == 1 else "several"
        if kind not in pipes:
            pipes[kind] = make[kind]()
        return pipes[kind](ids, new, more)

    return measure


if __name__ == "__main__":
    peer.main(load, "openvino-genai " + genai.__version__)
