"""How attention over an image's patches is trained quickest on a CPU."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel


def quick_attention(precision: torch.dtype) -> AbstractContextManager[None]:
    """In bfloat16 as products and a softmax: PyTorch's fused kernel takes most of a step for its way back there.

    For some hundred tokens, whose scores fit the caches.
    """
    return sdpa_kernel(SDPBackend.MATH) if precision == torch.bfloat16 else nullcontext()
