"""Writes a trained adapter: PEFT's own form, and ONNX Runtime's beside it."""
import json
import os

import cli

PREFIX = "base_model.model."


def save(model, base: str, made: str, half: bool) -> None:
    """Fills a folder with adapter_config.json, adapter_model.safetensors and adapter.onnx_adapter."""
    import safetensors.torch
    import torch

    model.save_pretrained(made)
    weights = os.path.join(made, "adapter_model.safetensors")
    tensors = safetensors.torch.load_file(weights)
    if half:
        tensors = {n: t.to(torch.float16) for n, t in tensors.items()}
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise cli.Failure(f"{name} is not finite{' in float16: leave out --half' if half else ''}: train with a lower --rate")
    safetensors.torch.save_file(tensors, weights, {"format": "pt"})
    config = os.path.join(made, "adapter_config.json")
    values = cli.read_json(config)
    values["base_model_name_or_path"] = name_of(base)
    values["target_modules"] = sorted(values["target_modules"])  # a set has no order
    with open(config, "w", encoding="utf-8") as f:
        json.dump(values, f, indent=2, sort_keys=True)
        f.write("\n")
    onnx_adapter(tensors, values, os.path.join(made, "adapter.onnx_adapter"))
    card = os.path.join(made, "README.md")
    if os.path.exists(card):
        os.remove(card)  # a form with nothing filled in


def name_of(base: str) -> str:
    """What a base is called, not where it lies on this machine: owner/name in the Hugging Face cache, else its folder's name."""
    for part in os.path.abspath(base).split(os.sep):
        if part.startswith("models--"):
            return part.removeprefix("models--").replace("--", "/")
    return os.path.basename(os.path.abspath(base))


def scale(config: dict) -> float:
    return config["lora_alpha"] / (config["r"] ** 0.5 if config.get("use_rslora") else config["r"])


def onnx_adapter(tensors: dict, config: dict, path: str) -> None:
    """Writes the file that ONNX Runtime reads.

    It knows no scale, so B holds it, and its matrices stand as a graph multiplies them: x A B with A (inputs, rank) and
    B (rank, outputs). Names are PEFT's without their prefix: model.layers.0.self_attn.q_proj.lora_A.weight.
    """
    import numpy as np
    import onnxruntime

    parameters = {}
    for name, tensor in sorted(tensors.items()):
        value = tensor.float() * (scale(config) if ".lora_B." in name else 1)
        value = np.ascontiguousarray(value.to(tensor.dtype).numpy().T)
        parameters[name.removeprefix(PREFIX)] = onnxruntime.OrtValue.ortvalue_from_numpy(value)
    form = onnxruntime.AdapterFormat()
    form.set_adapter_version(1)
    form.set_model_version(1)
    form.set_parameters(parameters)
    form.export_adapter(path)
