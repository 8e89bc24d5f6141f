"""Programs -> the C source of one library."""

from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from itertools import groupby
from typing import Any

from spokeshave.compiler.count import Count
from spokeshave.compiler.emit.arena import Arena
from spokeshave.compiler.emit.program import (
    GROUP,
    Along,
    Argument,
    Buffer,
    Call,
    Constant,
    Place,
    Port,
    Program,
    Step,
)
from spokeshave.compiler.isa import InstructionSet
from spokeshave.compiler.kernels.activations import float_literal
from spokeshave.compiler.kernels.attention import attention_function
from spokeshave.compiler.kernels.depthwise import depthwise_function
from spokeshave.compiler.kernels.instances import (
    AttentionKernel,
    BFloat16PanelKernel,
    DepthwiseKernel,
    FinishKernel,
    IntegerPanelKernel,
    IntegerVectorKernel,
    Kernel,
    MatMulKernel,
    PanelKernel,
    PointwiseKernel,
    ProductKernel,
    RecurrentKernel,
    SelectedKernel,
    SubsetKernel,
    VectorKernel,
    WinogradKernel,
)
from spokeshave.compiler.kernels.matmul import matmul_function
from spokeshave.compiler.kernels.panel import panel_function
from spokeshave.compiler.kernels.panel_bfloat16 import bfloat16_panel_function
from spokeshave.compiler.kernels.panel_integer import integer_panel_function
from spokeshave.compiler.kernels.pointwise import finish_function, pointwise_function
from spokeshave.compiler.kernels.product import product_function
from spokeshave.compiler.kernels.recurrent import recurrent_function
from spokeshave.compiler.kernels.selected import selected_function
from spokeshave.compiler.kernels.subsets import subset_function
from spokeshave.compiler.kernels.vector import vector_function
from spokeshave.compiler.kernels.vector_integer import integer_vector_function
from spokeshave.compiler.kernels.winograd import DEFINITIONS, winograd_function
from spokeshave.compiler.layout import Planes

LIBRARY_TEXTS = (
    *(
        "vector.h",
        "team.h",
        "activations.h",
        "gelu.h",
        "operators.h",
        "pooling.h",
        "images.h",
        "tokens.h",
        "selection.h",
        "sums.h",
        "normalisation.h",
        "routing.h",
        "recurrent.h",
        "words.h",
        "segments.h",
        "integer.h",
        "curves.h",
        "segment_bytes.h",
        "bfloat16.h",
        "normalised_words.h",
        "attention.h",
        "winograd.h",
    ),
)

CALLERS = (
    AttentionKernel,
    MatMulKernel,
    RecurrentKernel,
    SelectedKernel,
)  # kernels whose `product` is a kernel that they call

KERNEL_TEXTS: Mapping[type, Callable[[Any], str]] = {
    PanelKernel: panel_function,
    IntegerPanelKernel: integer_panel_function,
    BFloat16PanelKernel: bfloat16_panel_function,
    SubsetKernel: subset_function,
    WinogradKernel: winograd_function,
    FinishKernel: finish_function,
    VectorKernel: vector_function,
    IntegerVectorKernel: integer_vector_function,
    RecurrentKernel: recurrent_function,
    SelectedKernel: selected_function,
    DepthwiseKernel: depthwise_function,
    PointwiseKernel: pointwise_function,
    ProductKernel: product_function,
    AttentionKernel: attention_function,
    MatMulKernel: matmul_function,
}


def emit_source(programs: Sequence[Program], arenas: Sequence[Arena], isa: InstructionSet) -> str:
    """C source with one entry function `segment_<i>` a program.

    `int segment_i(const void *const *constants, float *arena, const float *const *inputs, float *const *outputs,
    long samples, double *seconds, int threads)`: runs `samples` samples; when `seconds` is not null, adds the time of
    each step to it. Constants come in the order of the program's names. With `threads` above 1 and as many samples for
    each as are worked on together, `threads` arenas lie one behind the other. Built with SPOKESHAVE_SINGLE_THREADED, it
    needs no threads library; with SPOKESHAVE_SAMPLE_BY_SAMPLE, no more of the arena than is for one sample.
    Where lengths change, a pointer to the lengths, ints, comes behind the inputs. Returns 0, or the number of a
    step, counted from 1, that was asked for a row outside its table.
    """
    names = (*LIBRARY_TEXTS, *(["amx.h", "attention_tiles.h"] if isa.has_amx else []))
    texts = [f"#define LANES {isa.lanes}\n{DEFINITIONS}", *(_library_text(name) for name in names)]
    texts += [kernel_text(kernel) for kernel in _in_order(programs)]
    texts.append(_CLOCK)
    texts += [
        _segment(i, program, arena) for i, (program, arena) in enumerate(zip(programs, arenas, strict=True))
    ]
    return "".join(texts)


def _in_order(programs: Sequence[Program]) -> list[Kernel]:
    """Every kernel once, by name; kernels that call others behind these."""
    kernels = {kernel for program in programs for kernel in program.kernels}
    kernels |= {kernel.product for kernel in kernels if isinstance(kernel, CALLERS)}
    return sorted(kernels, key=lambda kernel: (isinstance(kernel, CALLERS), kernel.name))


def _library_text(name: str) -> str:
    return resources.files("spokeshave.compiler.kernels").joinpath(name).read_text()


def kernel_text(kernel: Kernel) -> str:
    """C text of one kernel instance."""
    return KERNEL_TEXTS[type(kernel)](kernel)


_CLOCK = """
#ifdef NO_CLOCK
INLINE double now(void) { return 0.0; }
#else
#include <time.h>
INLINE double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
#endif
/* Between dependent calls the team meets; the first worker's time stands for the team's. */
#define STEP(index) if (seconds) { double t = now(); seconds[index] += t - last; last = t; }
/* One call for all samples of a group; the same call for every sample, each with what belongs to it. */
#define WHOLE_GROUP arena = all;
#define EACH_OF_GROUP for (arena = all, sample = first; sample < first + group; arena += APART, sample++)
#ifdef SPOKESHAVE_SAMPLE_BY_SAMPLE
#define TOGETHER(most) 1
#else
#define TOGETHER(most) most
#endif
"""


def _segment(index: int, program: Program, arena: Arena) -> str:
    names = {name: position for position, name in enumerate(program.constants)}
    lines: list[str] = []
    cleared: set[str] = set()
    for numbered in _turns(program.steps):
        bands = len(numbered[0][1].calls[-1].done)
        for _, step in numbered:
            lines += _clearings(step, cleared, arena, program)
        lines += [f"    for (int band = 0; band < {bands}; band++) {{"] * bool(bands)
        for position, step in numbered:
            lines.append(f"    /* {step.layer or 'segment'}: {step.operation} */")
            for call in step.calls:
                text = f"{_whose(call, arena)}{_call_text(call, names, arena, program)};"
                lines += _in_band(call, [text, "barrier(w);"])
            lines.append(f"    STEP({position})")
        lines += ["    }"] * bool(bands)
    body = "\n".join(lines)
    return f"""
static void work_{index}(const request *r, worker w, float *const all, const long first, int group, double *seconds) {{
    enum {{ APART = {arena.apart} }};
    float *arena = all;
    long sample = first;
    const void *const *constants = r->constants;
    const float *const *inputs = r->inputs;
    float *const *outputs = r->outputs;
    double last = seconds ? now() : 0.0;
    {_lengths(program, arena)}
{body}
    (void)constants, (void)arena, (void)inputs, (void)outputs, (void)last, (void)length, (void)sample, (void)group;
}}
EXPORT int segment_{index}(const void *const *constants, float *arena, const float *const *inputs,
                     float *const *outputs, long samples, double *seconds, int threads) {{
    int fault = 0;
    int most = TOGETHER({arena.together});
    request r = {{work_{index}, constants, arena, {arena.floats}, most, inputs, outputs, samples, seconds, &fault}};
    run_request(&r, threads);
    return fault;
}}
"""


def _lengths(program: Program, arena: Arena) -> str:
    """Lengths that change: those that steps find lie in the arena, the caller's behind the inputs."""
    if program.constant:
        return f"static const int length[] = {{{', '.join(map(str, program.constant))}}};"
    if program.found:
        return f"int *const length = (int *)(arena + {arena.lengths});"
    given = f"(const int *)inputs[{len(program.input_floats)}]" if program.changes else "0"
    return f"const int *const length = {given};"


def _whose(call: Call, arena: Arena) -> str:
    """For whom the call is made, where samples are worked on together."""
    if arena.together == 1:
        return ""
    return "WHOLE_GROUP " if set(GROUP) & set(call.arguments) else "EACH_OF_GROUP "


def _clearings(step: Step, cleared: set[str], arena: Arena, program: Program) -> list[str]:
    """Calls that clear the gaps of dirty planes which this step is the first to touch."""
    places = [place for call in step.calls for place in call.places]
    names = dict.fromkeys(place.buffer for place in places if place.buffer in arena.dirty)
    fresh = [name for name in names if name not in cleared]
    cleared.update(fresh)
    texts = [_clearing(program.buffers[name], arena.offsets[name]) for name in fresh]
    each = "EACH_OF_GROUP " * (arena.together > 1)
    return [f"    {each}{text};" for text in texts] + ["    barrier(w);"] * bool(texts)


def _clearing(buffer: Buffer, offset: int) -> str:
    layout, start = buffer.layout, f"w, arena + {offset}"
    assert isinstance(layout, Planes)
    margins = f"{start}, {layout.channels}, {layout.plane}, {layout.front}, {layout.lanes}"
    if buffer.pattern == "":
        return f"clear_margins({margins})"
    if buffer.pattern == "copied":
        return f"clear_gaps({margins}, {layout.height}, {layout.width}, {layout.pitch})"
    return f"fill({start}, 0.0f, 1, 0, 1, 0, 1, 0, {layout.floats}, 1)"


def _turns(steps: Sequence[Step]) -> list[list[tuple[int, Step]]]:
    """Steps with their numbers, those of one run together."""
    groups = groupby(enumerate(steps), key=lambda numbered: numbered[1].run or -numbered[0])
    return [list(group) for _, group in groups]


def _in_band(call: Call, texts: list[str]) -> list[str]:
    """A call where there are no bands; else what it does in the band at hand, if anything."""
    if not call.done:
        return [f"    {text}" for text in texts]
    return [
        f"    {{ static const int done[] = {{{', '.join(map(str, (0, *call.done)))}}};",
        "    const int from = done[band], to = done[band + 1];",
        "    if (from < to) {",
        *(f"        {text}" for text in texts),
        "    } }",
    ]


def _call_text(call: Call, names: dict[str, int], arena: Arena, program: Program) -> str:
    arguments = [_argument_text(argument, names, arena, program) for argument in call.arguments]
    return f"{call.function}({', '.join(('w', *arguments))})"


def _argument_text(argument: Argument, names: dict[str, int], arena: Arena, program: Program) -> str:
    if isinstance(argument, Along):
        start = _argument_text(argument.start, names, arena, program)
        return f"(void *)((const float *){start} + (ptrdiff_t)from * {argument.floats})"
    if isinstance(argument, Place):
        return f"(void *)(arena + {arena.offsets[argument.buffer] + argument.offset})"
    if isinstance(argument, Constant):
        start = f"constants[{names[argument.name]}]"
        if isinstance(argument.offset, Count) or argument.offset:
            return f"(const void *)((const int32_t *){start} + {argument.offset})"
        return start
    if isinstance(argument, Port):
        floats = (program.input_floats if argument.direction == "in" else program.output_floats)[
            argument.index
        ]
        return f"(void *)({argument.direction}puts[{argument.index}] + sample * {floats} + {argument.offset})"
    return float_literal(argument) if isinstance(argument, float) else str(argument)
