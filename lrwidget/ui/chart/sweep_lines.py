"""How kept sweeps look beside the chosen one, the same in the chart and in the list: by colour and by dashes."""

from typing import NamedTuple

COLORS = ("#8E6FC0", "#B0714B", "#348A8A", "#C25A8A", "#75883A")
"""Not those of the groups, and read on white and on black alike."""

DASHES = {"solid": "none", "dash_dotted": "10,5,2,5", "dashed": "10,10"}
"""bqplot's names of line styles, and what it draws; the fourth, dotted, can hardly be seen at this width."""

CHOSEN_WIDTH, KEPT_WIDTH = 3.0, 1.8
"""Widths in px of the chosen sweep's line and of the others'."""


LINES = f'.lrw-chart g[clip-path]:has(> .curve > path.line[style*="stroke-width: {KEPT_WIDTH}"])'
STYLE = f"""
{LINES} {{ mix-blend-mode: darken; }}
[data-jp-theme-light=false] {LINES} {{ mix-blend-mode: lighten; }}
"""
"""Others lie above the chosen line, because what a browser draws anew must come last; but it shows through them."""


class LineLook(NamedTuple):
    """A line that is told from its neighbours, by those who see no colours as well.

    Attributes:
        color: a CSS colour.
        style: bqplot's name of its dashes.
    """

    color: str
    style: str


def line_look(index: int) -> LineLook:
    """The look of the kept sweep at an index; fifteen differ, then they come round again.

    >>> line_look(0).style, line_look(1).style, line_look(15) == line_look(0)
    ('solid', 'dash_dotted', True)
    """
    return LineLook(COLORS[index % len(COLORS)], list(DASHES)[index % len(DASHES)])
