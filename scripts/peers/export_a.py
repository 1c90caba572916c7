#!/usr/bin/env python3
"""Layout A: Optimum's export of a checkpoint, and its int4 form as the runtime's quantiser makes it.

usage: export_a.py fp32 CHECKPOINT OUT | export_a.py q4|q4-tied FLOAT32 OUT
q4-tied is what the quantiser makes of the export as it is: the tied lm_head is a Transpose of the embedding and stays in float32.
q4 gives lm_head weights of its own before, so that it is quantised too.
"""
import os
import shutil
import sys

BESIDE = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")


def export(source, out):
    from optimum.exporters.onnx import main_export
    # Above 2 GiB, what one protobuf holds, Optimum fails to tie lm_head to the embedding. q4 wants it untied anyway.
    large = 2 * os.path.getsize(os.path.join(source, "model.safetensors")) > 1 << 31
    main_export(source, out, task="text-generation-with-past", opset=18, do_validation=False, dtype="fp32", no_post_process=large)


def untie(graph):
    import numpy as np
    from onnx import numpy_helper
    stored = {i.name: i for i in graph.initializer}
    for node in [n for n in graph.node if n.op_type == "Transpose" and n.input[0] in stored]:
        weights = numpy_helper.to_array(stored[node.input[0]])
        graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(weights.T), node.output[0]))
        graph.node.remove(node)


def quantise(source, out, tied):
    import onnx
    from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, MatMulNBitsQuantizer
    os.makedirs(out, exist_ok=True)
    for name in BESIDE:
        if os.path.exists(os.path.join(source, name)):
            shutil.copy(os.path.join(source, name), out)
    model = onnx.load(os.path.join(source, "model.onnx"))
    if not tied:
        untie(model.graph)
    elif not any(n.op_type == "Transpose" and n.input[0] in {i.name for i in model.graph.initializer} for n in model.graph.node):
        raise ValueError("lm_head is not tied to the embedding in this export")
    q = MatMulNBitsQuantizer(model, algo_config=DefaultWeightOnlyQuantConfig(block_size=32, is_symmetric=True, accuracy_level=4))
    q.process()
    q.model.save_model_to_file(os.path.join(out, "model.onnx"), use_external_data_format=True)


if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[1] not in ("fp32", "q4", "q4-tied"):
        sys.exit(__doc__)
    if sys.argv[1] == "fp32":
        export(*sys.argv[2:])
    else:
        quantise(*sys.argv[2:], tied=sys.argv[1] == "q4-tied")
