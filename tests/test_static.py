"""Pictures: made on any thread, without pyplot, with every text as it is."""

import io
import subprocess
import sys
import threading
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image, ImageColor

from lrwidget import static
from lrwidget.engine.plans.plan import PRESETS, one_cycle
from lrwidget.engine.sweeps.curve import LossCurve
from lrwidget.look.colors import group_color
from tests.ui.states import LRS, NAMES, a_curve, a_history, an_advice

PNG = b"\x89PNG\r\n\x1a\n"


def texts(figure: Figure) -> list[str]:
    found = [text.get_text() for axes in figure.axes for text in axes.texts]
    for axes in figure.axes:
        legend = axes.get_legend()
        found += [text.get_text() for text in legend.get_texts()] if legend else []
    return found


def test_a_curve_is_shown_with_its_pick_and_its_suggestions() -> None:
    figure = static.curve_figure(a_curve(), LRS, NAMES, an_advice(valley=1e-3, minimum_10=None))
    assert {"stem  3e-5", "body  0.0003", "head  0.003 · max_lr", "valley"} <= set(texts(figure))
    assert "minimum/10" not in texts(figure)
    assert static.png(figure).startswith(PNG)


def test_of_many_groups_the_legend_has_the_first_and_the_last() -> None:
    plan = one_cycle(1e-3, 100, [f"layer.{number}" for number in range(12)])
    shown = static.plan_figure(plan).axes[0].get_legend()
    assert shown is not None
    assert [text.get_text() for text in shown.get_texts()] == ["layer.0  0.001", "… 10 more", "layer.11  0.001"]


def test_ticks_of_the_lr_axis_are_plain_text() -> None:
    figure = static.curve_figure(a_curve())
    static.png(figure)
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert labels == ["1e-7", "1e-6", "1e-5", "0.0001", "0.001", "0.01", "0.1", "1", "10"]


def test_a_single_group_is_called_by_what_it_is() -> None:
    figure = static.curve_figure(a_curve(), [3e-3], ["all layers"])
    assert "max_lr  0.003" in texts(figure)
    assert figure.axes[0].get_xlabel() == "learning rate"
    several = static.curve_figure(a_curve(), LRS, NAMES).axes[0]
    assert several.get_xlabel() == "learning rate of the fastest group"


@pytest.mark.parametrize(("reason", "styles"), [("diverged", {"-", "--"}), ("finished", {"-"})])
def test_only_a_diverged_curve_has_a_dashed_end(reason: str, styles: set[str]) -> None:
    lines = static.curve_figure(a_curve(stop_reason=reason)).axes[0].get_lines()
    assert {line.get_linestyle() for line in lines if len(line.get_xdata()) > 1} == styles


def test_the_bold_line_of_a_curve_falls_where_its_losses_do() -> None:
    lines = static.curve_figure(a_curve(noise=0.02)).axes[0].get_lines()
    lrs, bold = max(lines, key=lambda line: line.get_linewidth()).get_data()
    half = lrs[int(np.flatnonzero(bold < 1.5)[0])]
    assert abs(np.log10(half) + 2.5) < 0.1  # where a_curve has made half of its fall


@pytest.mark.parametrize("lr", [0.01, 0.0054])
def test_a_schedule_has_a_tick_at_its_peak(lr: float) -> None:
    figure = static.plan_figure(one_cycle(lr, 110, 1))
    static.png(figure)
    assert f"{lr:g}" in [label.get_text() for label in figure.axes[0].get_yticklabels()]


def test_the_axis_shows_the_descent_though_the_loss_went_to_the_sky() -> None:
    low, high = static.curve_figure(a_curve()).axes[0].get_ylim()
    assert low < 1 and 2 < high < 4 < a_curve().losses.max()


@pytest.mark.parametrize(
    "curve",
    [
        LossCurve(np.array([]), np.array([])),
        LossCurve(np.array([1e-3]), np.array([2.0])),
        LossCurve(np.array([1e-3, 1e-2]), np.array([np.nan, np.inf])),
        LossCurve(np.array([1e-3, 1e-2]), np.array([3.0, 3.0])),
        a_curve(points=50_000),
    ],
    ids=["empty", "one point", "not finite", "flat", "long"],
)
def test_any_curve_gives_a_picture(curve: LossCurve) -> None:
    assert static.png(static.curve_figure(curve, LRS, NAMES)).startswith(PNG)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_plan_is_drawn_with_the_plans_numbers(preset: str) -> None:
    plan = one_cycle(list(LRS), 300, NAMES, preset=preset)
    figure = static.plan_figure(plan)
    for group, line in enumerate(figure.axes[0].get_lines()[:3]):
        steps, lrs = line.get_data()
        np.testing.assert_array_equal(lrs, plan.lr_at(steps)[:, group])
    assert len(figure.axes) == (2 if plan.cycles[0].momentum else 1)
    assert "head  0.003" in texts(figure)


@pytest.mark.parametrize("steps", [1, 2])
def test_a_plan_of_hardly_any_steps_gives_a_picture(steps: int) -> None:
    assert static.png(static.plan_figure(one_cycle(1e-3, steps, 1))).startswith(PNG)


def test_a_history_is_drawn_with_its_validation() -> None:
    figure = static.history_figure(a_history(epochs=3))
    assert texts(figure) == ["training", "validation"]
    assert texts(static.history_figure(a_history())) == ["training"]
    assert static.png(static.history_figure(a_history(steps=0))).startswith(PNG)


def test_a_history_of_one_step_is_a_line_that_can_be_seen() -> None:
    history = replace(a_history(steps=1), total_steps=1, plan=one_cycle(1e-3, 1, 1))
    for axes in static.history_figure(history).axes:
        assert axes.get_lines()[0].get_xdata().tolist() == [0, 1] and axes.get_xlim() == (0, 1)


def test_a_history_that_explodes_keeps_its_fall_in_sight_and_its_validation_inside() -> None:
    history = a_history(steps=100, epochs=3)
    losses = np.concatenate([history.losses[:60], np.geomspace(1, 1e36, 40)])
    last = replace(history.epochs[-1], valid_loss=1e30)
    axes = static.history_figure(replace(history, losses=losses, epochs=(*history.epochs[:2], last))).axes[0]
    low, high = axes.get_ylim()
    assert low >= 0 and 2 < high < 6
    _, _, valid, above = axes.get_lines()
    assert valid.get_ydata().tolist() == pytest.approx([1.1, 1.0])
    assert above.get_xydata().tolist() == [[60.0, high]]


def test_a_figure_as_svg_is_a_picture_of_the_same_shape() -> None:
    figure = static.plan_figure(one_cycle(list(LRS), 100, NAMES))
    drawn = ElementTree.fromstring(static.svg(figure))
    assert drawn.tag.endswith("svg")
    _, _, width, height = map(float, drawn.attrib["viewBox"].split())
    assert width / height == pytest.approx(figure.get_figwidth() / figure.get_figheight())


def test_names_are_drawn_as_they_are() -> None:
    names = ("$x^2$", "_hidden", "50 % <b>")
    for figure in (
        static.curve_figure(a_curve(), LRS, names),
        static.plan_figure(one_cycle(list(LRS), 100, names)),
    ):
        said = " ".join(texts(figure))
        assert all(name in said for name in names)
        found = [text for axes in figure.axes for text in axes.texts]
        assert not any(text.get_parse_math() for text in found)
        assert static.png(figure).startswith(PNG)


def test_a_picture_can_be_drawn_on_a_worker_thread() -> None:
    drawn: list[bytes] = []
    thread = threading.Thread(target=lambda: drawn.append(static.png(static.curve_figure(a_curve(), LRS, NAMES))))
    thread.start()
    thread.join()
    assert drawn[0].startswith(PNG)


def test_a_figure_shows_itself_in_a_notebook() -> None:
    figure = a_curve().plot()
    assert figure._repr_png_().startswith(PNG)


def test_pyplot_is_never_imported() -> None:
    code = "import sys, lrwidget.static; assert 'matplotlib.pyplot' not in sys.modules, 'pyplot is there'"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_picture_is_small_and_keeps_the_colours_of_its_lines() -> None:
    data = static.png(static.curve_figure(a_curve(noise=0.05), LRS, NAMES, an_advice(valley=1e-3)))
    assert len(data) < 11_000, "it travels twice in an update of at most 30 kB, as base64"
    colors = [color for _, color in Image.open(io.BytesIO(data)).convert("RGB").getcolors(256) or []]
    for group in range(3):
        wanted = ImageColor.getrgb(group_color(group))
        assert min(max(abs(a - b) for a, b in zip(wanted, color, strict=False)) for color in colors) < 4
