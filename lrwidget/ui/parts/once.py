"""What a press of a button does in the page after the kernel has answered: only a page has a clipboard and downloads.

ipywidgets writes HTML into a page in a way in which its scripts never run; the handler of a broken image does.
"""

import html
from uuid import uuid4

GUARDED = """
    let done;
    try {{ done = sessionStorage; }} catch {{ done = window.lrwDone ??= {{}}; }}
    if (!done['lrw-{name}'] && navigator.userActivation?.isActive !== false) {{
        done['lrw-{name}'] = 'done';
        {script}
    }}
"""
"""The session's storage is the tab's, and is there again when the page is; some frames have none."""


def once(script: str) -> str:
    """HTML that runs a script when it arrives, while the press that asked for it still counts as one.

    It runs once for all places that show the HTML, however often they draw it. It does not run again when the page is
    loaded again, nor when the kernel took its time: a page that acts by itself would surprise. So what it does must be
    reachable by hand as well.

    Args:
        script: statements; `this` is an element among those it stands with.
    """
    name = uuid4().hex
    return f'<img hidden alt="" src="data:," onerror="{html.escape(GUARDED.format(name=name, script=script))}">'
