"""The operations a graph may hold. Weights are named; the graph owns the tensors.

Only `Foreign` is open-ended: it is any ATen operator that the compiler has no kernel for, run by PyTorch.
"""

from spokeshave.compiler.operations.bfloat16 import Round, Rounded, Widen
from spokeshave.compiler.operations.elementwise import (
    Activate,
    Activation,
    ActivationKind,
    Affine,
    Binary,
    BinaryKind,
    Convert,
    Where,
)
from spokeshave.compiler.operations.foreign import Foreign
from spokeshave.compiler.operations.integers import (
    Dequantize,
    Lookup,
    Quantization,
    Quantize,
    Quantized,
    QuantizedMean,
    QuantizedPool,
    QuantizedRecurrent,
    QuantizedSelected,
    QuantizedSum,
    Rescale,
    Steps,
)
from spokeshave.compiler.operations.layers import Convolution, Linear, Recurrent, RecurrentKind
from spokeshave.compiler.operations.moves import (
    Concatenate,
    Constant,
    Expand,
    Interleave,
    Pad,
    Patches,
    Permute,
    Reshape,
    Slice,
    Take,
)
from spokeshave.compiler.operations.products import MatMul, SelectedLinear
from spokeshave.compiler.operations.recurrent import WholeRecurrent
from spokeshave.compiler.operations.reduction import GroupNorm, LayerNorm, Mean, Pool, RMSNorm, Softmax, Sum
from spokeshave.compiler.operations.tokens import Attention, Embedding, SelectTokens, TopK
from spokeshave.compiler.operations.transformers import (
    Divided,
    QuantizedAttention,
    QuantizedMatMul,
    QuantizedNorm,
    QuantizedSoftmax,
)

Operation = (
    Convolution
    | Linear
    | Pool
    | Activate
    | Binary
    | Affine
    | Concatenate
    | Softmax
    | LayerNorm
    | GroupNorm
    | Mean
    | Reshape
    | Permute
    | Slice
    | Pad
    | Patches
    | Recurrent
    | Quantize
    | Dequantize
    | Quantized
    | QuantizedPool
    | QuantizedRecurrent
    | QuantizedSelected
    | WholeRecurrent
    | QuantizedSum
    | QuantizedMatMul
    | QuantizedNorm
    | QuantizedSoftmax
    | QuantizedAttention
    | QuantizedMean
    | Lookup
    | Round
    | Widen
    | Rounded
    | Attention
    | Take
    | Expand
    | Interleave
    | Embedding
    | Convert
    | Where
    | Constant
    | MatMul
    | RMSNorm
    | SelectedLinear
    | SelectTokens
    | Sum
    | TopK
    | Foreign
)

__all__ = [
    "Activate",
    "Activation",
    "ActivationKind",
    "Affine",
    "Attention",
    "Binary",
    "BinaryKind",
    "Concatenate",
    "Constant",
    "Convert",
    "Convolution",
    "Dequantize",
    "Divided",
    "Embedding",
    "Expand",
    "Foreign",
    "GroupNorm",
    "Interleave",
    "LayerNorm",
    "Linear",
    "Lookup",
    "MatMul",
    "Mean",
    "Operation",
    "Pad",
    "Patches",
    "Permute",
    "Pool",
    "Quantization",
    "Quantize",
    "Quantized",
    "QuantizedAttention",
    "QuantizedMatMul",
    "QuantizedMean",
    "QuantizedNorm",
    "QuantizedPool",
    "QuantizedRecurrent",
    "QuantizedSelected",
    "QuantizedSoftmax",
    "QuantizedSum",
    "RMSNorm",
    "Recurrent",
    "RecurrentKind",
    "Rescale",
    "Reshape",
    "Round",
    "Rounded",
    "SelectTokens",
    "SelectedLinear",
    "Slice",
    "Softmax",
    "Steps",
    "Sum",
    "Take",
    "TopK",
    "Where",
    "WholeRecurrent",
    "Widen",
]
