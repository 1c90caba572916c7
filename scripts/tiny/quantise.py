"""The rounding of weights to 4 bits in blocks of 32 that the export applies, for use in training."""

import torch

BLOCK = 32


def rounded(weight: torch.Tensor) -> torch.Tensor:
    """Rounds each block of a row as ONNX Runtime's symmetric int4 does; the gradient passes as if nothing had happened.

    The value of largest magnitude becomes exactly -8 times the scale, so the codes are -8 to 7. weight is (rows, columns).
    """
    blocks = weight.detach().unflatten(-1, (-1, BLOCK))
    peak = blocks.gather(-1, blocks.abs().argmax(-1, keepdim=True))
    scale = torch.where(peak == 0, 1.0, peak / -8)
    snapped = ((blocks / scale).round().clamp(-8, 7) * scale).flatten(-2)
    return weight + (snapped - weight).detach()
