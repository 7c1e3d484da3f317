"""The names of a plan's phases, in a strip above a chart of its steps."""

import html
import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lrwidget.engine.plans.plan import Plan

MARGIN = {"left": 62, "right": 24}
"""Between the sides of a figure and its plot, px: the strip is as wide as the plot."""

NARROW = 3.0
"""Percent of the plot below which a phase has no room for even the first letters of its name; its tooltip has it."""

STRIP = f"display: flex; margin: 0 {MARGIN['right']}px 0 {MARGIN['left']}px; font-size: 11px; line-height: 16px"
NAME = "min-width: 0; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; box-sizing: border-box"
EDGE_ALONE = "; border-left: 1px solid var(--jp-border-color2, #dddddd)"
EDGE = f"{EDGE_ALONE}; padding-left: 5px"


def phase_strip(plan: "Plan | None", last: float) -> str:
    """The names as HTML, each over its phase however wide the page is; one that is too long for it ends in dots.

    Args:
        plan: whose phases; without one the strip is empty and keeps its height.
        last: the step at the right end of the chart; at the left end is step 0.
    """
    begins: tuple[tuple[float, str], ...] = ((0.0, ""),) if plan is None else plan.boundaries()
    cells = []
    for (begin, name), (end, _) in itertools.pairwise((*begins, (last, ""))):
        name = html.escape(name)
        share = 100 * max(0.0, end - begin) / last
        shown = name if share > NARROW else ""
        edge = "" if begin <= 0 else EDGE if shown else EDGE_ALONE
        style = f"flex: 0 0 {share:.4g}%; {NAME}{edge}"
        cells.append(f"<div style='{style}' title='{name}'>{shown or '&nbsp;'}</div>")
    return f"<div style='{STRIP}'>{''.join(cells)}</div>"
