"""What the page itself does for text fields; that it works is for a browser to show."""

import html
import re

from lrwidget.ui.parts.keys import LISTEN, NAMES, page_help
from lrwidget.ui.widget import ROOT_CLASS


def test_the_script_arrives_whole_in_the_attribute_it_is_put_into() -> None:
    (onload,) = re.findall(r'<style onload="([^"]*)">', page_help().value)
    assert html.unescape(onload) == LISTEN % NAMES


def test_it_listens_where_widgets_are_and_steps_the_fields_for_lrs() -> None:
    script = html.unescape(page_help().value)
    assert f"this.closest('.{ROOT_CLASS}')" in script
    assert f".{NAMES['lr']} input" in script and "* 1.05" in script
