"""Pieces of a page."""

from collections.abc import Iterable, Sequence
from html import escape


def card(title: str, note: str, chart: str) -> str:
    """A chart with its title and what it shows."""
    return (
        f"<section class='card'><h2>{escape(title)}</h2><p class='soft'>{escape(note)}</p>{chart}</section>"
    )


def wide(title: str, content: str) -> str:
    """A section as wide as the page."""
    return f"<section class='card wide'><h2>{escape(title)}</h2>{content}</section>"


def grid(cards: Iterable[str]) -> str:
    """Cards side by side where there is room."""
    return f"<div class='grid'>{''.join(cards)}</div>"


def fact_grid(facts: Iterable[tuple[str, str]]) -> str:
    """Figures, each with what it is."""
    cells = [
        f"<div class='fact'><b>{escape(value)}</b><span class='soft'>{escape(what)}</span></div>"
        for value, what in facts
    ]
    return f"<div class='facts'>{''.join(cells)}</div>"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], own: Sequence[bool] = ()) -> str:
    """A table that scrolls by itself; rows of `own` stand out."""
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    body = []
    for index, row in enumerate(rows):
        mark = " class='own'" if index < len(own) and own[index] else ""
        body.append(f"<tr{mark}>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>")
    return f"<div class='scroll'><table><tr>{head}</tr>{''.join(body)}</table></div>"
