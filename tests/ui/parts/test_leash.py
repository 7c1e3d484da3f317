"""What the page itself does for dragged handles; that it works is for a browser to show."""

import html
import re

from lrwidget.ui.parts.leash import LEASH, TOGETHER_CLASS, leash


def test_the_script_arrives_whole_in_the_attribute_it_is_put_into() -> None:
    (onload,) = re.findall(r'<style onload="([^"]*)">', leash(0.02).value)
    assert html.unescape(onload) == LEASH % {"room": 0.02, "together": TOGETHER_CLASS}
    assert "%" not in html.unescape(onload)
