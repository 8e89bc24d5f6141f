"""C text of the bfloat16 panel kernels: rows that share one list of channel pairs, times many lanes.

Words of two channels (`panel_words.py`) with float32 sums. The epilogue rounds two rows at a time into the words of the
output's planes.
"""

from spokeshave.compiler.kernels.activations import activation_call
from spokeshave.compiler.kernels.instances import BFloat16PanelKernel
from spokeshave.compiler.kernels.panel_words import WordPanelText, word_panel_function


def bfloat16_panel_function(kernel: BFloat16PanelKernel) -> str:
    """C text of one driver with its register tiles: vectors, vectors - 1, ... 1."""
    return word_panel_function(kernel, _TEXT)


def _value(kernel: BFloat16PanelKernel, row: int, vector: int) -> str:
    """C expression of one row's value after residual and activation."""
    value, lanes = f"a{row}_{vector}", f"{vector} * LANES"
    if kernel.residual == "bfloat16":
        half = "upper_half" if row % 2 else "lower_half"
        value = f"({value} + {half}(load_words(residual + residual_rows[{row // 2}] + {lanes})))"
    elif kernel.residual == "float32":
        value = f"({value} + (vector)load_words(residual + residual_rows[{row}] + {lanes}))"
    return activation_call(kernel.activation, value)


def _store(kernel: BFloat16PanelKernel, row: int, vector: int) -> str:
    return (_store_pair if kernel.rounded_output else _store_floats)(kernel, row, vector)


def _store_floats(kernel: BFloat16PanelKernel, row: int, vector: int) -> str:
    lanes = f"{vector} * LANES"
    return f"    store_masked((float *)y + rows[{row}] + {lanes}, {_value(kernel, row, vector)}, mask + {lanes});"


def _store_pair(kernel: BFloat16PanelKernel, row: int, vector: int) -> str:
    pair, lanes = ", ".join(_value(kernel, row + i, vector) for i in range(2)), f"{vector} * LANES"
    return f"    store_word(y + rows[{row // 2}] + {lanes}, pair_of({pair}), mask + {lanes}, 0);"


_TEXT = WordPanelText("PAIRS", "vector", "splat", {"bias": "const float *"}, {}, _store)
