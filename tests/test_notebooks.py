"""Every notebook runs from top to bottom, without a browser, and shows pictures where it has a widget."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"

# notebook → {source as written: what is executed instead}, to shorten what takes long; each must be found.
SHORTER: dict[str, dict[str, str]] = {}


def shortened(path: Path) -> nbformat.NotebookNode:
    notebook = nbformat.read(path, as_version=4)
    for written, instead in SHORTER.get(path.name, {}).items():
        cells = [cell for cell in notebook.cells if cell.cell_type == "code" and written in cell.source]
        assert cells, f"{path.name} no longer contains {written!r}: mend SHORTER"
        for cell in cells:
            cell.source = cell.source.replace(written, instead)
    return notebook


def outputs(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def test_shortened_notebooks_exist() -> None:
    assert set(SHORTER) <= {path.name for path in NOTEBOOKS.glob("*.ipynb")}


@pytest.mark.notebook
@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebook_runs_and_shows_pictures(path: Path) -> None:
    notebook = shortened(path)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(NOTEBOOKS)}}).execute()

    failed = [f"{output.ename}: {output.evalue}" for output in outputs(notebook) if output.output_type == "error"]
    assert not failed
    warned = [output.text for output in outputs(notebook) if output.get("name") == "stderr"]
    assert not warned, "a reader would wonder what this is"
    assert any("image/png" in output.get("data", {}) for output in outputs(notebook)), "no picture in any output"


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebook_is_kept_without_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    assert not outputs(notebook), "clear the outputs before committing: they would go stale"
    assert notebook.metadata.kernelspec.name == "python3", "without it JupyterLab asks which kernel to start"
    assert "widgets" not in notebook.metadata
