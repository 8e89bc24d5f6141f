"""How much of the machine is used: effective rates, and what the machine can do at most."""

from typing import Any

from bench.markdown import NOTHING, compression_name, table, thread_count

Document = dict[str, Any]
CEILINGS = {"fp32": ("f32_gflops",), "int8": ("amx_int8_gops", "vnni_int8_gops")}
"""Names of a precision's ceiling, the highest first."""
UNITS = {"fp32": "GFLOP/s, float32", "int8": "GOP/s, int8"}
CEILING_NAMES = {
    "f32_gflops": "float32 multiply-adds, GFLOP/s",
    "bf16_gflops": "vdpbf16ps, GFLOP/s",
    "vnni_int8_gops": "vpdpbusd (int8), GOP/s",
    "amx_int8_gops": "tdpbsud (int8 in tile registers), GOP/s",
    "amx_bf16_gflops": "tdpbf16ps (in tile registers), GFLOP/s",
}


def rate_table(document: Document, ceilings: Document, threads: int, precision: str) -> str:
    """Rates that count the dense work; in brackets the share of the measured ceiling that the kept weights use."""
    peaks = {run["threads"]: _peak(run["ceilings"], precision) for run in ceilings["runs"]}
    contenders: dict[str, list[Document]] = {}
    for run in document["runs"]:
        if run["threads"] == threads:
            chosen = [one for one in run["contenders"] if one["precision"] == precision]
            contenders.setdefault(run["network"], []).extend(chosen)
    peak = peaks.get(threads)
    if not contenders or not peak:
        return NOTHING
    compressions = sorted(
        {one["compression"] for several in contenders.values() for one in several if _ours(one)}
    )
    rows = [
        [network, _peer_cell(several), *(_own_cell(several, value, peak) for value in compressions)]
        for network, several in contenders.items()
    ]
    title = f"{UNITS[precision]}, {thread_count(threads)}"
    return table([title, "best dense peer", *map(compression_name, compressions)], rows)


def _peak(ceilings: Document, precision: str) -> float | None:
    return next((ceilings[name] for name in CEILINGS[precision] if name in ceilings), None)


def _ours(contender: Document) -> bool:
    return contender["name"] == "spokeshave"


def _peer_cell(contenders: list[Document]) -> str:
    dense = [one for one in contenders if not one["own"] and one["compression"] == 1]
    if not dense:
        return "-"
    best = max(dense, key=lambda one: one["effective_gflops"])
    return f"{best['effective_gflops']:.0f} ({best['name']})"


def _own_cell(contenders: list[Document], compression: float, peak: float) -> str:
    for one in contenders:
        if _ours(one) and one["compression"] == compression:
            return f"{one['effective_gflops']:.0f} ({one['effective_gflops'] * one['kept_share'] / peak:.0%})"
    return "-"


def ceiling_table(document: Document) -> str:
    """What the machine can do at most, by number of threads."""
    if not document["runs"]:
        return NOTHING
    columns = [_ceiling_lines(run["ceilings"]) for run in document["runs"]]
    rows = [[name, *(column.get(name, "-") for column in columns)] for name in columns[0]]
    return table(["", *(thread_count(run["threads"]) for run in document["runs"])], rows)


def _ceiling_lines(ceilings: Document) -> dict[str, str]:
    lines = {text: f"{ceilings[name]:.0f}" for name, text in CEILING_NAMES.items() if name in ceilings}
    for size, value in ceilings["load_gigabytes_a_second"].items():
        lines[f"loads from {size} KiB a thread, GB/s"] = f"{value:.0f}"
    return lines
