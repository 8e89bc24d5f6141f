"""C text of the integer panel kernels: rows that share one list of channel quads, times many lanes.

Words of four int8 (`panel_words.py`) with int32 sums. The epilogue turns four rows at a time into the words of the
output's planes.
"""

from dataclasses import replace

from spokeshave.compiler.kernels.activations import activation_call
from spokeshave.compiler.kernels.instances import IntegerPanelKernel
from spokeshave.compiler.kernels.panel_words import WordPanelText, word_panel_function


def integer_panel_function(kernel: IntegerPanelKernel) -> str:
    """C text of one driver with its register tiles: vectors, vectors - 1, ... 1."""
    return word_panel_function(kernel, _CURVE_TEXT if kernel.curve else _TEXT)


def _value(kernel: IntegerPanelKernel, row: int, vector: int) -> str:
    """C expression of one row's value after residual and activation; `word` is the residual's word."""
    sums = f"__builtin_convertvector(a{row}_{vector}, vector)"
    value = f"fused_multiply_add({sums}, splat(scale[{row}]), splat(shift[{row}]))"
    if kernel.residual is not None:
        integer = kernel.residual == "uint8"
        there = f"residual + residual_rows[{row // 4 if integer else row}] + {vector} * LANES"
        read = f"byte_of(load_words({there}), {row % 4})" if integer else f"(vector)load_words({there})"
        value = f"fused_multiply_add({read}, splat(q.residual_scale), {value})"
    value = activation_call(kernel.activation, value)
    return f"in_output_units({value}, q)" if kernel.integer_output and kernel.activation else value


def _store(kernel: IntegerPanelKernel, row: int, vector: int) -> str:
    return (_store_words if kernel.integer_output else _store_floats)(kernel, row, vector)


def _store_floats(kernel: IntegerPanelKernel, row: int, vector: int) -> str:
    there, lanes = f"(float *)y + rows[{row}]", f"{vector} * LANES"
    return f"    store_masked({there} + {lanes}, {_value(kernel, row, vector)}, mask + {lanes});"


def _store_words(kernel: IntegerPanelKernel, row: int, vector: int) -> str:
    """Four rows are the bytes of one word."""
    values = ", ".join(_value(kernel, row + i, vector) for i in range(4))
    lanes = f"{vector} * LANES"
    word = f"curve_word({values}, curve)" if kernel.curve else f"levels_word({values}, q)"
    return f"    store_word(y + rows[{row // 4}] + {lanes}, {word}, mask + {lanes}, q.gap);"


_TEXT = WordPanelText(
    "WORDS",
    "lanes_mask",
    "splat_word",
    {"start": "const int32_t *", "scale": "const float *", "shift": "const float *"},
    {"q": "requantization "},
    _store,
)
_CURVE_TEXT = replace(_TEXT, whole={**_TEXT.whole, "curve": "const int16_t *"})
