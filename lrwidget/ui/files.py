"""What is on the screen as the content of files: pictures, and the numbers of the run."""

from pathlib import Path
from tempfile import TemporaryDirectory

from lrwidget.engine.runs.history import History
from lrwidget.state import LRState

WRITERS = {"csv": History.to_csv, "json": History.save}
"""How each kind of file is written."""


def picture_file(state: LRState, what: str, kind: str) -> bytes | None:
    """The `"sweep"` with its pick, the `"schedule"` or the `"run"` as `"png"` or `"svg"`; None while there is none."""
    from lrwidget import static  # and matplotlib with it, a quarter of a second, when the first picture is drawn

    if what == "sweep" and state.curve is not None:
        names = [group.name for group in state.groups]
        figure = static.curve_figure(state.curve, lrs=state.lrs, names=names, advice=state.advice)
    elif what == "schedule" and state.plan is not None:
        figure = static.plan_figure(state.plan)
    elif what == "run" and state.history is not None:
        figure = static.history_figure(state.history)
    else:
        return None
    return {"png": static.png, "svg": static.svg}[kind](figure)


def history_file(state: LRState, kind: str) -> bytes | None:
    """Every step of the run as `"csv"` or `"json"`; None before the first."""
    if state.history is None:
        return None
    with TemporaryDirectory() as folder:
        return WRITERS[kind](state.history, Path(folder) / "history").read_bytes()
