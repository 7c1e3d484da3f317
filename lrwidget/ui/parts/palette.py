"""What the views share: colours that follow the notebook's theme, axes, and how a trait is assigned."""

from collections.abc import Callable, Iterator, Sequence
from html import escape
from typing import Any

import bqplot
import ipywidgets
import numpy as np
import numpy.typing as npt

# A theme's variable and what to use where there is none (VS Code, Colab, a saved page).
TEXT = "var(--jp-content-font-color1, #333333)"
FAINT = "var(--jp-content-font-color3, #888888)"
GRID = "var(--jp-border-color2, #dddddd)"
BRAND = "var(--jp-brand-color1, #1976d2)"
PICKED = "#D55E00"
"""What is recommended: the one colour of the palette that stands out from all others for any eye."""
UNSEEN = "position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap"
"""Out of sight, and still there for screen readers."""
MESSAGE = "line-height: 1.4; margin: 4px 0; overflow-wrap: anywhere"
"""Of sentences: ipywidgets gives every line the height of a button."""


def put(widget: Any, **traits: Any) -> None:
    """Assign the traits whose values differ, so that nothing travels to the browser twice."""
    for name, value in traits.items():
        old = getattr(widget, name)
        same = np.array_equal(old, value) if isinstance(value, np.ndarray) else old == value
        if not same:
            setattr(widget, name, value)


def put_together(widget: Any, **traits: Any) -> None:
    """`put` in one message: the browser draws after each, and an `x` without its `y` is another curve.

    Not for marks that the browser writes as well: what it sends meanwhile would be held back too.
    """
    with widget.hold_sync():
        put(widget, **traits)


def figure(axes: Sequence[Any], height: int, **traits: Any) -> Any:
    """A bqplot figure as wide as the notebook and `height` px high; give it its marks later."""
    shown = bqplot.Figure(
        axes=list(axes),
        marks=[],
        layout=ipywidgets.Layout(width="auto", height=f"{height}px"),
        **traits,
    )
    if shown.has_trait("display_toolbar"):  # bqplot 0.13
        shown.display_toolbar = False
    shown.add_class("lrw-chart")
    return shown


def axis(scale: Any, label: str, **traits: Any) -> Any:
    """An axis that can be read in both themes."""
    style = {
        "grid_lines": "solid",
        "grid_color": GRID,
        "color": FAINT,
        "label_color": TEXT,
        "tick_style": {"fill": TEXT, "font-size": "11px"},
    }
    return bqplot.Axis(scale=scale, label=label, **{**style, **traits})


def unit_scale() -> Any:
    """A scale on which 0 and 1 are the ends, whatever is drawn."""
    return bqplot.LinearScale(min=0.0, max=1.0, allow_padding=False)


def put_axis(axis: Any, values: Sequence[float], label: Callable[[float], str] = "{:g}".format, **ends: float) -> None:
    """Give an axis exactly these ticks, and its scale these ends (`min`, `max`), where they differ from what it has.

    There must be a tick: an axis without any makes its own. The labels go first. The browser writes a tick's text a
    moment after its value has come, with the labels it had when the value came.
    """
    put(axis, tick_labels={js_key(value): label(value) for value in values})
    if ends:
        put_together(axis.scale, **ends)
    put(axis, tick_values=np.array(values))


def js_key(value: float) -> str:
    """A number as JavaScript writes it, which is how the browser looks a tick's label up.

    >>> js_key(1e-7), js_key(1e-5), js_key(0.5), js_key(10.0)
    ('1e-7', '0.00001', '0.5', '10')
    """
    if value == 0 or 1e-6 <= abs(value) < 1e21:
        return np.format_float_positional(value, trim="-")
    return np.format_float_scientific(value, trim="-", exp_digits=1)


def close_all(*roots: Any) -> None:
    """Close widgets and all that they are made of: children, marks, axes, scales, layouts.

    ipywidgets keeps every widget alive until it is closed, and with it the callbacks and what those hold: a model.
    """
    for widget in list(parts_of(*roots)):
        widget.close()


def parts_of(*roots: Any) -> Iterator[ipywidgets.Widget]:
    """Widgets and all that they are made of, each once; those that are closed are left out."""
    waiting, seen = list(roots), set()
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list | tuple):
            waiting += value
        elif isinstance(value, ipywidgets.Widget) and value.comm is not None and value not in seen:
            seen.add(value)
            yield value
            waiting += [getattr(value, name) for name in value.keys]


def nothing() -> npt.NDArray[np.float64]:
    """No points."""
    return np.array([], dtype=np.float64)


class Button(ipywidgets.Button):  # type: ignore[misc]  # ipywidgets has no types
    """A button that does nothing while it is disabled: of two presses the second may be on its way before that."""

    def click(self) -> None:
        """Do what the button is for."""
        if not self.disabled:
            super().click()


def button(label: str, icon: str, hint: str, style: str) -> Button:
    """A button as wide as its label needs."""
    return Button(
        description=label,
        icon=icon,
        tooltip=hint,
        button_style=style,
        layout=ipywidgets.Layout(width="auto", min_width="90px"),
    )


def wrapped(children: Sequence[ipywidgets.Widget]) -> ipywidgets.Box:
    """A row that goes on in the next line where the page is narrow."""
    layout = ipywidgets.Layout(flex_flow="row wrap", align_items="center", grid_gap="2px 10px")
    return ipywidgets.HBox(children, layout=layout)


def hidden(content: str) -> ipywidgets.HTML:
    """HTML that takes no room: a style sheet, or what runs in the page."""
    return ipywidgets.HTML(content, layout=ipywidgets.Layout(display="none"))


def hinted(label: str, hint: str) -> dict[str, Any]:
    """The traits of a widget whose label has a hint for who rests the pointer on it; label and hint are text, not HTML.

    ipywidgets shows a `tooltip` only where there is no description; `keys.page_help` shows this one on the field, too.
    """
    text = f'<span title="{escape(hint, quote=True)}">{escape(label)}</span>' if label else ""
    return {"description": text, "description_allow_html": True}


def meter(share: float, color: str, role: str, style: str = "") -> str:
    """A bar filled to a share, 0 ... 1.

    Args:
        share: how much is filled.
        color: of what is filled.
        role: attributes that say what it is to those who do not see it.
        style: of the whole bar: its width and height.
    """
    filled = f"<div style='width: {100 * share:.3g}%; height: 100%; background: {color}'></div>"
    return f"<div {role} style='background: {GRID}; overflow: hidden; {style}'>{filled}</div>"
