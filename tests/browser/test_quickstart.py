"""The quickstart as its reader meets it: opened in JupyterLab, "Run All", and a look at the page."""

from pathlib import Path

import nbformat

from tests.browser.conftest import Lab

QUICKSTART = Path(__file__).parents[2] / "notebooks" / "1-quickstart.ipynb"


def test_run_all_sweeps_trains_and_ends_without_an_error(lab: Lab) -> None:
    source = nbformat.read(QUICKSTART, as_version=4)
    notebook = lab.open_notebook(source, viewport=(1300, 4500))
    notebook.run_all()
    last = len(source.cells) - 1
    notebook.wait_done(last, timeout=120)
    notebook.wait_idle()

    assert notebook.page.locator("[data-mime-type='application/vnd.jupyter.error']").count() == 0
    assert "OneCycleLR" in notebook.output(last)
    assert notebook.kernel_value("w.lrs") == notebook.kernel_value("list(w.plan(epochs=5).max_lrs)")
    assert notebook.kernel_value("accuracy()") > 0.9
    assert not notebook.errors
    notebook.screenshot("quickstart")
