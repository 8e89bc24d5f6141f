"""What an artefact's templates are filled with: sizes, tables of inputs and outputs, the calls of one run."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch

from spokeshave.compiler.artifact.lengths import length_fields, sample_bytes
from spokeshave.compiler.artifact.weights import WeightsFile, lay_out
from spokeshave.compiler.generated import Generated
from spokeshave.compiler.importer import OutputStructure
from spokeshave.compiler.isa import InstructionSet, instruction_set
from spokeshave.compiler.manifest import Manifest, SegmentStage, ValueRecord
from spokeshave.errors import SpokeshaveError

FLOAT_BYTES = 4


@dataclass(frozen=True)
class Contents:
    """A network that plain C can run: one compiled segment or none, its weights, and named inputs and outputs."""

    generated: Generated
    segment: SegmentStage | None
    weights: WeightsFile
    inputs: tuple[ValueRecord, ...]
    outputs: tuple[ValueRecord, ...]

    @property
    def isa(self) -> InstructionSet:
        """The instruction set of the C source."""
        return instruction_set(self.generated.manifest.isa)

    @property
    def arena_bytes(self) -> int:
        """Working memory of one network, which works on one sample at a time."""
        return FLOAT_BYTES * self.segment.arena_floats // self.segment.together if self.segment else 0


def contents(generated: Generated) -> Contents:
    """Check that plain C can run the network; raises SpokeshaveError that names what it cannot run."""
    manifest = generated.manifest
    if manifest.fallen_out:
        named = "; ".join(f"{stage.layer} ({stage.target}): {stage.reason}" for stage in manifest.fallen_out)
        raise SpokeshaveError(f"plain C cannot run what needs PyTorch: {named}")
    outputs = tuple(_output_record(manifest, name) for name in manifest.outputs)
    segment = next((stage for stage in manifest.stages if isinstance(stage, SegmentStage)), None)
    tensors = [generated.tensors[name] for name in segment.constants] if segment else []
    return Contents(generated, segment, lay_out(tensors), manifest.inputs, outputs)


def _output_record(manifest: Manifest, name: str) -> ValueRecord:
    for record in (*manifest.inputs, *manifest.values):
        if record.name == name:
            return record
    raise SpokeshaveError(f"plain C cannot give the output {name}: it is a weight and depends on no input")


def fields(found: Contents, name: str) -> dict[str, object]:
    """What every template is filled with, by placeholder."""
    manifest = found.generated.manifest
    inputs = [_plain(record.name) for record in found.inputs]
    paths = OutputStructure.from_json(manifest.structure).names()
    outputs = [_plain(path) for path in (*paths, *(f"tokens.{name}" for name in manifest.selectors))]
    values = {"input": found.inputs, "output": found.outputs}
    return {
        "name": name,
        "NAME": name.upper(),
        "isa": found.isa.name,
        "flags": " ".join(found.isa.c_flags),
        "inputs": len(found.inputs),
        "outputs": len(found.outputs),
        "arena": found.arena_bytes,
        "weights": len(found.weights.data),
        "checksum": f"0x{found.weights.checksum:08X}u",
        "constants": len(found.weights.offsets),
        "offsets": ", ".join(map(str, (*found.weights.offsets, 0))),
        "shapes": "\n".join(_shape(kind, i, r) for kind in values for i, r in enumerate(values[kind])),
        "input_tensors": _tensor_table("input", inputs, found.inputs),
        "output_tensors": _tensor_table("output", outputs, found.outputs),
        "cpu_checks": "".join(map(_cpu_check, found.isa.features)),
        "run": "\n".join(_run_lines(found, name)),
        **length_fields(manifest, name, found.inputs, found.outputs),
        "table": _markdown("input", inputs, found.inputs) + _markdown("output", outputs, found.outputs),
    }


def _sample_bytes(record: ValueRecord) -> int:
    return prod(record.shape[1:]) * getattr(torch, record.dtype).itemsize


def _shape(kind: str, index: int, record: ValueRecord) -> str:
    axes = ", ".join(map(str, (*record.shape[1:], 0)))  # one more, because C has no empty arrays
    return f"static const long {kind}_{index}_shape[] = {{{axes}}};"


def _tensor_table(kind: str, names: Sequence[str], records: Sequence[ValueRecord]) -> str:
    return "\n".join(
        f'    {{"{name}", "{record.dtype}", {len(record.shape) - 1}, {kind}_{i}_shape, {_sample_bytes(record)}}},'
        for i, (name, record) in enumerate(zip(names, records, strict=True))
    )


def _markdown(kind: str, names: Sequence[str], records: Sequence[ValueRecord]) -> str:
    return "".join(
        f"| {kind} | {name} | {record.dtype} | {' x '.join(map(str, record.shape[1:]))} | {_sample_bytes(record)} |\n"
        for name, record in zip(names, records, strict=True)
    )


def _plain(name: str) -> str:
    """A name without what C strings and tables would read otherwise."""
    return re.sub(r"[^\w.-]", "_", name, flags=re.ASCII)


# Bits of Linux's and Android's second word of hardware capabilities (arch/arm64/include/uapi/asm/hwcap.h).
SECOND_CAPABILITIES = {"i8mm": (13, "__ARM_FEATURE_MATMUL_INT8")}


def _cpu_check(feature: str) -> str:
    """C that asks the CPU for a feature where the compiler was allowed to use it.

    The base of each architecture needs no question.
    """
    word = feature.replace("_", "")  # gcc and clang write avx512vnni, the kernel avx512_vnni
    if re.fullmatch(r"avx\w*|fma|bmi2", word):
        return f'#ifdef __{word.upper()}__\n    if (!__builtin_cpu_supports("{word}")) return 0;\n#endif\n'
    if feature == "amx_tile":
        return "#ifdef __AMX_TILE__\n    if (!tiles_permitted()) return 0;\n#endif\n"
    if feature in SECOND_CAPABILITIES:
        bit, macro = SECOND_CAPABILITIES[feature]
        question = f"getauxval(AT_HWCAP2) & (1ul << {bit})"
        return f"#if defined({macro}) && defined(__linux__)\n    if (!({question})) return 0;\n#endif\n"
    return ""


def _run_lines(found: Contents, name: str) -> list[str]:
    """C of one run: the segment's call, and copies for outputs that are inputs or come twice."""
    outputs = found.generated.manifest.outputs
    given = [record.name for record in found.inputs]
    lines = []
    if found.segment:
        read = _ports("const float *", "inputs", found.segment.inputs, given)
        read += ", (const float *)(const void *)length" if found.generated.manifest.lengths else ""
        lines += [
            f"    const float *const read[] = {{{read}}};",
            f"    float *const written[] = {{{_ports('float *', 'outputs', found.segment.outputs, outputs)}}};",
            "    if (segment_0(self->constants, self->arena, read, written, samples, NULL, 1))",
            f"        return {name.upper()}_BAD_ARGUMENT;",
        ]
    for index, output in enumerate(outputs):
        size = f"(size_t)samples * {sample_bytes(found.generated.manifest, found.outputs[index])}"
        if output in given:
            lines.append(f"    memcpy(outputs[{index}], inputs[{given.index(output)}], {size});")
        elif outputs.index(output) < index:
            lines.append(f"    memcpy(outputs[{index}], outputs[{outputs.index(output)}], {size});")
    return lines


def _ports(kind: str, array: str, names: Sequence[str], places: Sequence[str]) -> str:
    return ", ".join(f"({kind}){array}[{list(places).index(name)}]" for name in names)
