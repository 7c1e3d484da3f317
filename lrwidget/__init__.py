"""lrwidget: choose PyTorch learning rates by hand and by eye.

In a notebook, `%load_ext lrwidget` and then `%lrfind model optimizer train_dl loss_fn`, or `lrwidget.attach(...)`. In a
script, `range_test`, `one_cycle`, `fit` and `fine_tune`. The widget's room is entered only when it is asked for:
importing lrwidget loads neither IPython, ipywidgets, bqplot nor matplotlib.
"""

from typing import TYPE_CHECKING, Any

from lrwidget.engine.borrowing.preserve import preserved
from lrwidget.engine.errors import LRWidgetError
from lrwidget.engine.loops.layers import layer_groups
from lrwidget.engine.plans.plan import Plan, fine_tune_plan, one_cycle
from lrwidget.engine.record import load
from lrwidget.engine.runs.fit import fine_tune, fit, resume
from lrwidget.engine.runs.history import History
from lrwidget.engine.sweeps.curve import LossCurve, StopReason
from lrwidget.engine.sweeps.sweep import range_test

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from lrwidget.ui.widget import LRWidget, attach

__version__ = "0.1.0"

__all__ = [
    "History",
    "LRWidget",
    "LRWidgetError",
    "LossCurve",
    "Plan",
    "StopReason",
    "attach",
    "fine_tune",
    "fine_tune_plan",
    "fit",
    "layer_groups",
    "load",
    "one_cycle",
    "preserved",
    "range_test",
    "resume",
]


def __getattr__(name: str) -> Any:
    """Enter the widget's room at the first use of one of its names."""
    if name not in ("LRWidget", "attach"):
        raise AttributeError(f"module 'lrwidget' has no attribute {name!r}")
    try:
        from lrwidget.ui import widget
    except ImportError as error:
        raise ImportError(
            f"lrwidget.{name} needs {error.name}, which is not installed; expected the widget's packages. "
            "Run: pip install ipywidgets bqplot matplotlib"
        ) from error
    return getattr(widget, name)


def load_ipython_extension(ipython: "InteractiveShell") -> None:
    """`%load_ext lrwidget`: register `%lrfind`."""
    from lrwidget.ui.notebook import magics

    magics.register(ipython)


def unload_ipython_extension(ipython: "InteractiveShell") -> None:
    """`%unload_ext lrwidget`: take away what was registered."""
    from lrwidget.ui.notebook import kernel, magics

    magics.unregister(ipython)
    kernel.unload()
