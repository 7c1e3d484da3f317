"""Labels that say more when the pointer rests on them."""

import html
from typing import Any


def hinted(label: str, hint: str) -> dict[str, Any]:
    """The traits of a widget with such a label. Its own `tooltip` would do, but is never shown beside a description."""
    return {
        "description": f'<abbr title="{html.escape(hint)}" style="cursor: help">{html.escape(label)}</abbr>',
        "description_allow_html": True,
    }
