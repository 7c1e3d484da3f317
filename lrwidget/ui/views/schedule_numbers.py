"""What a schedule comes to, in numbers: the peaks before a run, and while one trains LRs and momentum as they are."""

import html
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import ipywidgets
import numpy as np

from lrwidget.engine.words import format_lr
from lrwidget.look.colors import group_color
from lrwidget.look.markers import short_names
from lrwidget.look.schedule import last_step, trained_lrs
from lrwidget.ui.parts.palette import FAINT, close_all, hidden, put
from lrwidget.ui.parts.view import CALM_S, View
from lrwidget.ui.views.phases import MARGIN

if TYPE_CHECKING:
    from lrwidget.engine.plans.plan import Plan
    from lrwidget.state import LRState

MOST_NUMBERS = 6
"""Groups whose LRs are written out one by one while a run trains; of more it is the range."""

MOST_LETTERS = 24
"""Of a name among the numbers; of a longer one the middle is left out, and its hint has it."""

# As many lines as the numbers need. Each is as wide whatever it says, before a run and in one, so that no line breaks
# elsewhere then: a chart must not move under the hand.
STYLE = """<style>
.lrw-numbers { display: flex; flex-wrap: wrap; align-content: center; column-gap: 10px; min-height: 28px;
  font-size: 11px; line-height: 14px; font-variant-numeric: tabular-nums }
.lrw-numbers > span { white-space: nowrap; max-width: 100%; overflow: hidden; text-overflow: ellipsis }
.lrw-numbers i { font-style: normal; display: inline-block; min-width: 4.5em }
.lrw-numbers i.lrw-wide { min-width: 9em }
.lrw-numbers > span:first-child i { min-width: 2.5em }
</style>"""

DASHES = f"<span aria-hidden='true' style='color: {FAINT}'>&#9476;&#9476;</span>"
"""How momentum is drawn."""


class ScheduleNumbers(View):
    """A line of numbers above a schedule.

    Attributes:
        view: the widget to show.
        watches: traits of the state that `render` reads.
        refresh_s: seconds between two redraws while a job streams.
    """

    watches = ("plan", "frozen", "phase", "progress")
    refresh_s = CALM_S

    def __init__(self) -> None:
        self._line = ipywidgets.HTML()
        self.view = ipywidgets.VBox(
            [hidden(STYLE), self._line],
            layout=ipywidgets.Layout(
                flex="1 1 0%", min_width="0", overflow="hidden", margin=f"0 0 0 {MARGIN['left']}px"
            ),
        )

    def render(self, state: "LRState") -> None:
        """Show the plan's peaks, or where a run is; nothing without a plan."""
        plan, now = state.plan, state.progress if state.phase == "training" else None
        if plan is None:
            put(self._line, value="")
        elif now is None:
            put(self._line, value=small_print("peak", [*peak_lrs(plan, state.frozen), *momentum_cycled(plan)]))
        else:
            step = last_step(plan, now.step)
            put(self._line, value=small_print("now", [*lrs_at(plan, step, state.frozen), *momentum_at(plan, step)]))

    def stream(self, state: "LRState") -> None:
        """Show where a run is; a sweep's progress is nothing to a schedule."""
        if state.phase == "training":
            self.render(state)

    def close(self) -> None:
        """Let go of the browser's copies."""
        close_all(self.view)


def lrs_at(plan: "Plan", step: int, frozen: Sequence[bool] = ()) -> list[str]:
    """The LR of every group at a step, as HTML; of many groups the range."""
    (lr_G,) = trained_lrs(plan, np.array([step]), frozen)
    return lrs_told(plan.names, lr_G.tolist())


def peak_lrs(plan: "Plan", frozen: Sequence[bool] = ()) -> list[str]:
    """The highest LR that every group is to have, likewise: what was picked, though no step may hit it."""
    still = dict(enumerate(frozen))
    return lrs_told(plan.names, [math.nan if still.get(group) else lr for group, lr in enumerate(plan.max_lrs)])


def lrs_told(names: Sequence[str], lrs: Sequence[float]) -> list[str]:
    """Every group's LR, as HTML, NaN where it is frozen; of many groups the range."""
    if len(lrs) <= MOST_NUMBERS:
        return [
            f"<b style='color: {group_color(group, len(lrs))}'>&#9632;</b> "
            f"<span title='{html.escape(name)}'>{html.escape(short)}</span> "
            f"<i>{format_lr(lr) if math.isfinite(lr) else 'frozen'}</i>"
            for group, (name, short, lr) in enumerate(zip(names, short_names(names, MOST_LETTERS), lrs, strict=True))
        ]
    trained = [lr for lr in lrs if math.isfinite(lr)]
    return [f"lr <i class='lrw-wide'>{format_lr(min(trained))} to {format_lr(max(trained))}</i>"] if trained else []


def momentum_at(plan: "Plan", step: int) -> list[str]:
    """The momentum at a step, as HTML; nothing where it is left alone."""
    momentum = float(plan.momentum_at(step)[0])
    return [f"{DASHES} momentum <i class='lrw-wide'>{momentum:.3g}</i>"] if math.isfinite(momentum) else []


def momentum_cycled(plan: "Plan") -> list[str]:
    """Between which two momenta the plan goes, likewise."""
    momentum = plan.cycles[0].momentum
    if momentum is None:
        return []
    return [f"{DASHES} momentum <i class='lrw-wide'>{momentum[1]:.3g} to {momentum[0]:.3g}</i>"]


def small_print(when: str, parts: Sequence[str]) -> str:
    """Numbers to be written above the plot, after a word that says when they hold."""
    told = "".join(f"<span>{part}</span>" for part in (f"<i>{when}</i>", *parts))
    return f"<div class='lrw-numbers'>{told}</div>" if parts else ""
