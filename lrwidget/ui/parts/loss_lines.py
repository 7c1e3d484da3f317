"""Losses as they came, faint, and smoothed, bold: two lines of one mark, so that both travel and are drawn at once.

Every message to the browser waits for Python's lock a few times while a model trains, and what arrives later is another
drawing of the page.
"""

from typing import Any

import bqplot
import numpy as np
import numpy.typing as npt

from lrwidget.ui.parts.palette import FAINT, TEXT, nothing, put_together

MAX_POINTS = 600
"""Points of a curve that travel to the browser: one for each pixel or two, and 15 kB with both losses."""
LIVE_POINTS = 150
"""Those of a curve that still grows: as good to follow, and the browser works a fifth less than for 300."""

FAINTLY = 0.55
STYLE = f'.lrw-chart .line[style*="opacity: {FAINTLY}"] {{ stroke-width: 1px !important; }}'
"""A mark of bqplot has one width for all its lines; the faint one is told by its opacity."""

Floats = npt.NDArray[np.float64]


class LossLines:
    """The mark of both lines.

    Args:
        scales: of LRs or steps as `x`, of losses as `y`.
        width: of the smoothed line, in px.

    Attributes:
        mark: what is drawn.
    """

    def __init__(self, scales: dict[str, Any], width: float) -> None:
        self.mark = bqplot.Lines(
            x=[], y=[], scales=scales, colors=[FAINT, TEXT], opacities=[FAINTLY, 1.0], stroke_width=width
        )

    def show(self, x_M: Floats, losses_M: Floats, smoothed_M: Floats) -> None:
        """Draw them; a line is interrupted where it is not finite. All (M,), and not what is drawn already."""
        with self.mark.hold_sync():
            self.mark.x, self.mark.y = x_M, np.stack([losses_M, smoothed_M])

    def clear(self) -> None:
        """Draw nothing."""
        put_together(self.mark, x=nothing(), y=nothing())
