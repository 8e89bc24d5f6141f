"""One self-contained HTML page about a run: no scripts, no outside files; light, dark, and on a phone."""

from html import escape
from importlib import resources
from string import Template
from typing import Any

from spokeshave.report import figures, html, modelled_page, native_page
from spokeshave.report.chart import style
from spokeshave.report.charts import residual_chart, training_chart

Result = dict[str, Any]


def page(result: Result) -> str:
    """The page of a run's `result.json`."""
    about = native_page if is_native(result) else modelled_page
    what, conditions = about.summary(result)
    head = f"<h1>{escape(_title(result))}</h1><p>{escape(what)}</p><p class='soft'>{escape(conditions)}</p>"
    cards = html.grid([*about.cards(result), *_training(result)])
    body = "\n".join(
        [head, html.fact_grid(about.facts(result)), cards, *about.sections(result), _origin(result)]
    )
    template = Template(resources.files("spokeshave.report").joinpath("page.html").read_text())
    return template.substitute(title=escape(_title(result)), chart_style=style(), body=body)


def is_native(result: Result) -> bool:
    """Whether the run was for this CPU, and so has times that were measured."""
    return "table" in result


def _title(result: Result) -> str:
    return f"{result['recipe']['network']} fitted to {result['recipe']['device']}"


def _training(result: Result) -> list[str]:
    cards = []
    if result["epochs"]:
        note = f"Accuracy on the held-out data after each epoch.{figures.examples(result['epochs'])}"
        cards.append(html.card("Training", note, training_chart(result)))
    if any(epoch["residual"] is not None for epoch in result["epochs"]):
        note = (
            "Distance of the weights to their scheme, relative to the weights; the dual one is what ADMM's points "
            "in the scheme moved by; largest layer."
        )
        cards.append(html.card("Residual", note, residual_chart(result)))
    return cards


def _origin(result: Result) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items() if version)
    machine, recipe = result["machine"], result["recipe"]
    seconds = figures.seconds(sum(result["wall_seconds"].values()))
    measured = "Every figure here was measured in this run."
    if not is_native(result):
        measured = "Accuracies were measured in this run; what is called modelled was not."
    lines = [
        f"Made by <code>{escape(result['command'])}</code> in {escape(seconds)}.",
        f"{escape(machine['cpu'])}, {machine['cores']} cores, {escape(machine['isa'])}; timed at one thread.",
        f"Trained at {recipe['threads']} threads with seed {recipe['seed']}. {escape(versions)}.",
        f"Recipe <code>{result['recipe_digest'][:16]}</code>. {measured}",
    ]
    return html.wide("Where this comes from", "".join(f"<p class='soft'>{line}</p>" for line in lines))
