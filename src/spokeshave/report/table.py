"""Tables for the terminal."""

from collections.abc import Callable, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from spokeshave.report import figures
from spokeshave.report.caveats import caveats, left_out


def plain_table(
    title: str, heads: Sequence[str], rows: Sequence[Sequence[str | Text]], caption: str | None = None
) -> Table:
    """A table whose first column is text and whose other columns are figures; brackets in cells are no markup."""
    table = Table(
        title=title, title_justify="left", title_style="bold", caption=caption, caption_justify="left"
    )
    for index, head in enumerate(heads):
        table.add_column(head, justify="right" if index else "left", overflow="fold")
    for row in rows:
        table.add_row(*(escape(cell) if isinstance(cell, str) else cell for cell in row))
    return table


def device_table(devices: Sequence[dict[str, Any]]) -> Table:
    """What every device takes and gives: rows as in `devices.capabilities`."""
    most = max(len(device["schemes"]) for device in devices)
    table = Table("name", "costs", "schemes it can use", "deployment", "what it is", title="Devices")
    table.title_justify, table.title_style = "left", "bold"
    for device in devices:
        names = "all" if len(device["schemes"]) == most else ", ".join(device["schemes"])
        deployment = device["deployment"] or "none: costs alone"
        table.add_row(device["name"], device["kind"], names or "dense alone", deployment, device["about"])
    return table


def cost_table(network: str, costs: Sequence[dict[str, Any]]) -> Table:
    """One sample of a network on several devices; below them those that cannot run it, and why."""
    table = Table(title=f"{network}: one sample", title_justify="left", title_style="bold")
    for head in ("device", "costs", "latency", "energy", "samples a second", "weights"):
        table.add_column(head, justify="left" if head in ("device", "costs") else "right")
    for cost in (cost for cost in costs if not cost["reason"]):
        size = f"{figures.count(cost['weight_bytes'])}B"
        times = figures.seconds(cost["latency_seconds"]), figures.joules(cost["energy_joules"])
        table.add_row(cost["name"], cost["kind"], *times, figures.count(cost["samples_per_second"]), size)
    reasons = [f"{cost['name']}: {cost['reason']}" for cost in costs if cost["reason"]]
    reasons += [f"{cost['name']}: {told}" for cost in costs if not cost["reason"] for told in left_out(cost)]
    table.caption, table.caption_justify = "\n".join(reasons) or None, "left"
    return table


def comparison_table(rows: Sequence[dict[str, Any]], caption: str | None = None) -> Table:
    """Time beside the peers: rows as in `result.json`'s `table`."""
    heads = ("one sample, one thread", "precision", "median", "quartiles", "speed-up")
    cells = [
        (
            Text(row["name"], style="bold" if row["own"] else ""),
            row["precision"],
            figures.seconds(row["median_seconds"]),
            f"{figures.seconds(row['lower_quartile'])} to {figures.seconds(row['upper_quartile'])}",
            "" if row["own"] else figures.times(row["speedup"]),
        )
        for row in rows
    ]
    return plain_table("Beside the peers (measured)", heads, cells, caption)


def result_table(result: dict[str, Any]) -> Table:
    """The one table of a finished run."""
    rows = [
        ("weights, pruned layers", f"{figures.times(result['compression'])} fewer"),
        ("weights, whole network", f"{figures.times(result['compression_network'])} fewer"),
        ("accuracy, dense network", figures.percent(result["dense_accuracy"])),
        ("accuracy, deployment", figures.percent(result["deployment_accuracy"])),
        ("accuracy, same plan at random", figures.percent(result["random_baseline_accuracy"])),
        ("largest relative error against PyTorch", f"{result['max_relative_error']:.1e}"),
    ]
    rows += token_lines(result.get("tokens"))
    rows += [_peer_line(row) for row in result["table"]]
    rows.append(
        (f"speed-up over {result['best_dense_peer']}", figures.times(result["speedup_over_best_dense_fp32"]))
    )
    machine = result["machine"]
    caption = f"{machine['cpu']}, {machine['isa']}; one sample, one thread, all times measured in one run"
    caption = "\n".join([caption, *result["short_of_budget"]])
    return plain_table(f"{result['recipe']['network']}, fitted", ("", "measured"), rows, caption)


def token_lines(tokens: dict[str, Any] | None) -> list[tuple[str, str]]:
    """Tokens from each reducer on, mean and tail, and the time of an image."""
    if tokens is None:
        return []
    lines = [
        (
            f"tokens from block {one['before']} on, of {tokens['all_tokens']}",
            f"{one['tokens']['mean']:.1f}, 95 % at most {one['tokens']['tail']}",
        )
        for one in tokens["reducers"]
    ]
    times = tokens["image_seconds"]
    told = f"{figures.seconds(times['mean'])}, 95 % at most {figures.seconds(times['tail'])}"
    return [*lines, ("time of an image, one by one", told)]


def modelled_table(result: dict[str, Any]) -> Table:
    """The one table of a finished run on a modelled device."""
    cost, dense = result["cost"], result["dense_cost"] or {}
    told: tuple[tuple[str, str, Callable[[float | None], str]], ...] = (
        ("latency of a sample", "latency_seconds", figures.seconds),
        ("energy of a sample", "energy_joules", figures.joules),
        ("samples a second", "samples_per_second", figures.count),
        ("bytes of weights", "weight_bytes", figures.count),
    )
    costs = [
        (f"{what}, modelled", tell(dense.get(key)), tell(cost[key]))
        for what, key, tell in told
        if cost[key] is not None
    ]
    rows = [
        (
            "accuracy, float32",
            figures.percent(result["dense_accuracy"]),
            figures.percent(result["fitted_accuracy"]),
        ),
        ("accuracy on the device", "-", figures.percent(result["deployment_accuracy"])),
        ("accuracy, same plan at random", "-", figures.percent(result["random_baseline_accuracy"])),
        ("weights, planned layers", "-", f"{figures.times(result['compression'])} fewer"),
        *costs,
    ]
    caption = f"accuracy measured on {result['deployed_by']}; modelled: {cost['source']}"
    caption = "\n".join([caption, *caveats(result)])
    title = f"{result['recipe']['network']}, fitted to {result['device']['name']}"
    return plain_table(title, ("", "dense", "fitted"), rows, caption)


def modelled_layer_table(rows: Sequence[dict[str, Any]]) -> Table:
    """The layers of a finished run on a modelled device."""
    heads = ("layer", "weight", "scheme", "density", "dense", "fitted")
    cells = [
        (
            row["layer"],
            figures.shape(row["weight_shape"]) if row["weight_shape"] else "-",
            row["scheme"] or "-",
            "-" if row["density"] is None else figures.percent(row["density"], 1),
            figures.seconds(row["dense_modelled"]),
            figures.seconds(row["modelled"]),
        )
        for row in rows
    ]
    return plain_table("Layer by layer (modelled)", heads, cells)


def run_tables(result: dict[str, Any]) -> tuple[Table, Table]:
    """The layers and the figures of a finished run, measured here or modelled."""
    if "table" in result:
        return layer_table(result["layers"]), result_table(result)
    return modelled_layer_table(result["layers"]), modelled_table(result)


def _peer_line(row: dict[str, Any]) -> tuple[str, str]:
    return f"time, {row['name']} ({row['precision']})", figures.seconds(row["median_seconds"])


def layer_table(rows: Sequence[dict[str, Any]]) -> Table:
    """The layers of a finished run, dense and pruned: rows as in `result.json`'s `layers`."""
    heads = ("layer", "weight", "density", "dense", "pruned", "speed-up", "kernel")
    cells = []
    for row in rows:
        before, after = row["dense_seconds"], row["seconds"]
        cells.append(
            (
                row["layer"],
                figures.shape(row["weight_shape"]) if row["weight_shape"] else "-",
                "-" if row["density"] is None else figures.percent(row["density"], 1),
                figures.seconds(before),
                figures.seconds(after),
                figures.times(before / after) if before and after else "-",
                row["kernel"],
            )
        )
    return plain_table("Layer by layer (measured)", heads, cells)


def profile_table(profile: dict[str, Any]) -> Table:
    """Where a network spends its time and weights on a device: rows as in `devices.profile`."""
    heads = ("layer", "operator", "weight", "weights", "multiply-adds", "time", "share", "kernel")
    cells = [
        (
            row["layer"],
            row["operator"],
            figures.shape(row["shape"]) if row["shape"] else "-",
            figures.count(row["weights"]) if row["weights"] else "-",
            figures.count(row["multiply_adds"]) if row["multiply_adds"] else "-",
            figures.seconds(row["seconds"]),
            figures.percent(row["share"], 1),
            row["kernel"],
        )
        for row in profile["rows"]
    ]
    title = f"{profile['device']}: {figures.seconds(profile['seconds'])} a sample ({profile['kind']})"
    left = [f"{name} leaves {figures.count(tokens)} tokens" for name, tokens in profile["tokens"].items()]
    return plain_table(title, heads, cells, "; ".join([profile["source"], *left]))
