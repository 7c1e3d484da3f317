"""What a user does to widgets, as the browser tells it, and what there is to read."""

from typing import Any

import ipywidgets

INSTANCES = ipywidgets.widgets.widget._instances


def type_into(field: Any, text: str) -> None:
    """What the browser sends when a text is entered."""
    field.view.set_state({"value": text})


def press(button: ipywidgets.Button) -> None:
    """What the browser sends when a button is pressed."""
    button._handle_custom_msg({"event": "click"}, [])


def texts_of(view: ipywidgets.Widget) -> str:
    """All HTML below a widget."""
    found = view.value if isinstance(view, ipywidgets.HTML) else ""
    return found + "".join(map(texts_of, getattr(view, "children", ())))
