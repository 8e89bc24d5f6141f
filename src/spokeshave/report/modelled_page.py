"""The sections about a run on a modelled device: what it computes, measured; what it costs, modelled; its pictures."""

from html import escape
from typing import Any

from spokeshave.report import figures, html
from spokeshave.report.caveats import caveats
from spokeshave.report.charts import device_accuracy_chart
from spokeshave.report.device_charts import drawn

Result = dict[str, Any]
NOTABLE = 1.3  # times fewer weights: quantizers leave some zeros, which nobody asked for


def summary(result: Result) -> tuple[str, str]:
    """What came out in a sentence, and the conditions."""
    cost, device = result["cost"], result["device"]
    parts = [
        f"{figures.seconds(cost['latency_seconds'])} a sample" if cost["latency_seconds"] else "",
        f"{figures.joules(cost['energy_joules'])} a sample" if cost["energy_joules"] else "",
    ]
    spent = " and ".join(part for part in parts if part)
    what = f"{spent} (modelled), {figures.percent(result['deployment_accuracy'])} correct there."
    judged = f"Accuracies were measured on {result['deployed_by']}"
    told = f"{device['about']}. {judged}; costs are modelled: {cost['source']}."
    return what, " ".join([told, *caveats(result)])


def facts(result: Result) -> list[tuple[str, str]]:
    """The figures at the top."""
    cost = result["cost"]
    modelled = [
        (figures.seconds(cost["latency_seconds"]), "latency of a sample, modelled", cost["latency_seconds"]),
        (figures.joules(cost["energy_joules"]), "energy of a sample, modelled", cost["energy_joules"]),
        (
            figures.count(cost["samples_per_second"]),
            "samples a second, modelled",
            cost["samples_per_second"],
        ),
        (f"{figures.count(cost['weight_bytes'])}B", "of weights, modelled", cost["weight_bytes"]),
    ]
    ratio = gain(result)
    return [
        *(
            [(figures.times(ratio), "the speed of the dense network there, modelled")]
            if ratio is not None
            else []
        ),
        *((value, what) for value, what, known in modelled if known),
        *(
            [(figures.times(result["compression"]), "fewer weights in the planned layers")]
            if result["compression"] > NOTABLE
            else []
        ),
        (figures.percent(result["deployment_accuracy"]), "accuracy on the device, measured"),
        (figures.percent(result["dense_accuracy"]), "accuracy of the dense network"),
    ]


def gain(result: Result) -> float | None:
    """Times the speed of the dense network there, None where either has no latency."""
    dense, fitted = ((result[key] or {}).get("latency_seconds") for key in ("dense_cost", "cost"))
    return dense / fitted if dense and fitted else None


def cards(result: Result) -> list[str]:
    """Accuracy, and the device's own pictures."""
    judged = f"On {result['held_out_samples']} held-out samples, measured on {result['deployed_by']}."
    own = [html.card(one["title"], one["note"], drawn(one)) for one in result["pictures"]]
    return [html.card("Accuracy", judged, device_accuracy_chart(result)), *own]


def sections(result: Result) -> list[str]:
    """Layers."""
    heads = ("layer", "weight", "scheme", "density", "dense there", "fitted", "ratio")
    reason = result["no_dense_cost"]
    why = f" The dense network has no cost there: {reason}." if reason else ""
    note = f"<p class='soft'>Time of one sample, modelled.{escape(why)}</p>"
    return [html.wide("Layer by layer", f"{note}{html.table(heads, map(_layer_row, result['layers']))}")]


def _layer_row(row: dict[str, Any]) -> list[str]:
    before, after = row["dense_modelled"], row["modelled"]
    return [
        row["layer"],
        figures.shape(row["weight_shape"]) if row["weight_shape"] else "-",
        row["scheme"] or "-",
        "-" if row["density"] is None else figures.percent(row["density"], 1),
        figures.seconds(before),
        figures.seconds(after),
        figures.times(before / after) if before and after else "-",
    ]
