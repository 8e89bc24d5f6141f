"""The sections about a run on this CPU: times beside the peers, measured layer by layer."""

from html import escape
from typing import Any

from spokeshave.report import figures, html
from spokeshave.report.charts import accuracy_chart, layer_chart, time_chart
from spokeshave.report.device_charts import drawn

Result = dict[str, Any]


def summary(result: Result) -> tuple[str, str]:
    """What came out in a sentence, and the conditions."""
    machine = result["machine"]
    what = f"{figures.times(result['compression'])} fewer weights in the pruned layers, "
    if "tokens" in result:
        last = result["tokens"]["reducers"][-1]["tokens"]
        kept = f"{last['mean']:.1f} of {result['tokens']['all_tokens']} tokens reach the last block, "
        what = kept if result["compression"] == 1 else what + kept
    what += (
        f"{figures.times(result['speedup_over_best_dense_fp32'])} the speed of {result['best_dense_peer']}."
    )
    measured = f"Measured on {machine['cpu']}, {machine['isa']}, one thread, batch of one."
    return what, " ".join([measured, *result["short_of_budget"]])


def facts(result: Result) -> list[tuple[str, str]]:
    """The figures at the top."""
    return [
        (
            figures.times(result["speedup_over_best_dense_fp32"]),
            f"speed of {result['best_dense_peer']}, measured",
        ),
        (figures.times(result["compression"]), "fewer weights in the pruned layers"),
        (figures.times(result["compression_network"]), "fewer weights in the network"),
        (figures.percent(result["deployment_accuracy"]), "accuracy of the deployment, held-out data"),
        (figures.percent(result["dense_accuracy"]), "accuracy of the dense network"),
        (f"{result['max_relative_error']:.1e}", "largest relative error against PyTorch"),
    ]


def cards(result: Result) -> list[str]:
    """Time and accuracy."""
    timed = "Median and quartiles of one interleaved run, measured."
    judged = f"On {result['held_out_samples']} held-out samples, measured."
    return [
        html.card("Time of one sample", timed, time_chart(result)),
        html.card("Accuracy", judged, accuracy_chart(result)),
        *(html.card(one["title"], one["note"], drawn(one)) for one in _pictures(result)),
    ]


def _pictures(result: Result) -> list[dict[str, Any]]:
    return result["tokens"]["pictures"] if "tokens" in result else []


def sections(result: Result) -> list[str]:
    """Peers, tokens where some leave, and layers."""
    tokens = [_tokens(result["tokens"])] if "tokens" in result else []
    return [_peers(result), *tokens, _layers(result)]


def _tokens(tokens: dict[str, Any]) -> str:
    heads = (
        "from block",
        "scorer",
        "decision",
        "rest",
        "share aimed at",
        "tokens",
        "deviation",
        "95 % at most",
    )
    rows = [
        [
            str(one["before"]),
            *(one[part]["name"].replace("_", " ") for part in ("scorer", "decision", "rest")),
            figures.percent(one["keep"], 0),
            f"{one['tokens']['mean']:.1f} of {tokens['all_tokens']}",
            f"{one['tokens']['deviation']:.1f}",
            str(one["tokens"]["tail"]),
        ]
        for one in tokens["reducers"]
    ]
    times = tokens["image_seconds"]
    note = (
        f"<p class='soft'>One image takes {figures.seconds(times['mean'])} on average and at most "
        f"{figures.seconds(times['tail'])} in 95 % of cases, measured at one thread.</p>"
    )
    return html.wide("Tokens", f"{html.table(heads, rows)}{note}")


def _peers(result: Result) -> str:
    heads = ("", "precision", "median", "quartiles", "speed-up of the deployment", "version")
    rows = [_peer_row(row) for row in result["table"]]
    own = [row["own"] for row in result["table"]]
    absent = "; ".join(f"{entry['name']}: {entry['reason']}" for entry in result["absent"])
    note = f"<p class='soft'>Not in the run: {escape(absent)}.</p>" if absent else ""
    return html.wide("Beside the peers", f"{html.table(heads, rows, own)}{note}")


def _peer_row(row: dict[str, Any]) -> list[str]:
    quartiles = f"{figures.seconds(row['lower_quartile'])} to {figures.seconds(row['upper_quartile'])}"
    speed_up = "" if row["own"] else figures.times(row["speedup"])
    median = figures.seconds(row["median_seconds"])
    return [row["name"], row["precision"], median, quartiles, speed_up, row["version"]]


def _layers(result: Result) -> str:
    heads = ("layer", "weight", "density", "dense", "pruned", "speed-up", "kernel")
    rows = [_layer_row(row) for row in result["layers"]]
    legend = (
        "<p class='soft'>Time of one sample in the compiled network, measured at one thread"
        "<span class='legend' style='--swatch: #9aa7b4'>dense</span>"
        "<span class='legend' style='--swatch: var(--own)'>pruned</span></p>"
    )
    return html.wide("Layer by layer", f"{legend}{layer_chart(result)}{html.table(heads, rows)}")


def _layer_row(row: dict[str, Any]) -> list[str]:
    before, after = row["dense_seconds"], row["seconds"]
    ratio = figures.times(before / after) if before and after else "-"
    weight = figures.shape(row["weight_shape"]) if row["weight_shape"] else "-"
    density = "-" if row["density"] is None else figures.percent(row["density"], 1)
    return [
        row["layer"],
        weight,
        density,
        figures.seconds(before),
        figures.seconds(after),
        ratio,
        row["kernel"],
    ]
