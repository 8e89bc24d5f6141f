"""One self-contained HTML page about a run: no scripts, no outside files; light, dark, and on a phone."""

from collections.abc import Iterable, Sequence
from html import escape
from importlib import resources
from string import Template
from typing import Any

from spokeshave.report import figures
from spokeshave.report.chart import style
from spokeshave.report.charts import accuracy_chart, layer_chart, residual_chart, time_chart, training_chart

Result = dict[str, Any]


def page(result: Result) -> str:
    """The page of a run's `result.json`."""
    body = "\n".join(
        [_head(result), _facts(result), _charts(result), _peers(result), _layers(result), _origin(result)]
    )
    template = Template(resources.files("spokeshave.report").joinpath("page.html").read_text())
    return template.substitute(title=escape(_title(result)), chart_style=style(), body=body)


def _title(result: Result) -> str:
    return f"{result['recipe']['network']} fitted to {result['recipe']['device']}"


def _head(result: Result) -> str:
    machine = result["machine"]
    conditions = f"{machine['cpu']}, {result['machine']['isa']}, one thread, batch of one"
    what = (
        f"{figures.times(result['compression'])} fewer weights in the pruned layers, "
        f"{figures.times(result['speedup_over_best_dense_fp32'])} the speed of {result['best_dense_peer']}."
    )
    measured = f"<p class='soft'>Measured on {escape(conditions)}.</p>"
    return f"<h1>{escape(_title(result))}</h1><p>{escape(what)}</p>{measured}"


def _facts(result: Result) -> str:
    facts = [
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
    cells = [
        f"<div class='fact'><b>{escape(value)}</b><span class='soft'>{escape(what)}</span></div>"
        for value, what in facts
    ]
    return f"<div class='facts'>{''.join(cells)}</div>"


def _charts(result: Result) -> str:
    cards = [
        _card(
            "Time of one sample", "Median and quartiles of one interleaved run, measured.", time_chart(result)
        ),
        _card(
            "Accuracy", f"On {result['held_out_samples']} held-out samples, measured.", accuracy_chart(result)
        ),
    ]
    if result["epochs"]:
        note = f"Accuracy on the held-out data after each epoch.{figures.examples(result['epochs'])}"
        cards.append(_card("Training", note, training_chart(result)))
    if any(epoch["residual"] is not None for epoch in result["epochs"]):
        note = (
            "Distance of the weights to their scheme, relative to the weights; the dual one is what ADMM's points "
            "in the scheme moved by; largest layer."
        )
        cards.append(_card("Residual", note, residual_chart(result)))
    return f"<div class='grid'>{''.join(cards)}</div>"


def _peers(result: Result) -> str:
    heads = ("", "precision", "median", "quartiles", "speed-up of the deployment", "version")
    rows = [_peer_row(row) for row in result["table"]]
    own = [row["own"] for row in result["table"]]
    absent = "; ".join(f"{entry['name']}: {entry['reason']}" for entry in result["absent"])
    note = f"<p class='soft'>Not in the run: {escape(absent)}.</p>" if absent else ""
    return _wide("Beside the peers", f"{_table(heads, rows, own)}{note}")


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
    return _wide("Layer by layer", f"{legend}{layer_chart(result)}{_table(heads, rows)}")


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


def _origin(result: Result) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items() if version)
    machine, recipe = result["machine"], result["recipe"]
    seconds = figures.seconds(sum(result["wall_seconds"].values()))
    lines = [
        f"Made by <code>{escape(result['command'])}</code> in {escape(seconds)}.",
        f"{escape(machine['cpu'])}, {machine['cores']} cores, {escape(machine['isa'])}; timed at one thread.",
        f"Trained at {recipe['threads']} threads with seed {recipe['seed']}. {escape(versions)}.",
        f"Recipe <code>{result['recipe_digest'][:16]}</code>. Every figure here was measured in this run.",
    ]
    return _wide("Where this comes from", "".join(f"<p class='soft'>{line}</p>" for line in lines))


def _card(title: str, note: str, chart: str) -> str:
    return (
        f"<section class='card'><h2>{escape(title)}</h2><p class='soft'>{escape(note)}</p>{chart}</section>"
    )


def _wide(title: str, content: str) -> str:
    return f"<section class='card wide'><h2>{escape(title)}</h2>{content}</section>"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], own: Sequence[bool] = ()) -> str:
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    body = []
    for index, row in enumerate(rows):
        mark = " class='own'" if index < len(own) and own[index] else ""
        body.append(f"<tr{mark}>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>")
    return f"<div class='scroll'><table><tr>{head}</tr>{''.join(body)}</table></div>"
