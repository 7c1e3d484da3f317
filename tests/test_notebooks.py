"""Every notebook runs from top to bottom, without a browser, and shows pictures where it has a widget."""

import subprocess
import sys
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


@pytest.mark.notebook
@pytest.mark.parametrize("tool", ["nbconvert", "papermill"])
def test_the_quickstart_runs_without_a_person_and_ends_with_pictures_of_what_it_found(
    tool: str, tmp_path: Path
) -> None:
    """As a scheduler or a build runs it: sweeps and runs are over when their cells are, because nobody could wait."""
    source, executed = NOTEBOOKS / "1-quickstart.ipynb", tmp_path / "executed.ipynb"
    command = {
        "nbconvert": ["nbconvert", "--to", "notebook", "--execute", f"--output={executed}", str(source)],
        "papermill": ["papermill", "--no-progress-bar", f"--cwd={NOTEBOOKS}", str(source), str(executed)],
    }
    done = subprocess.run(
        [sys.executable, "-m", *command[tool]], capture_output=True, text=True, timeout=240, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    found = outputs(nbformat.read(executed, as_version=4))
    assert not [output for output in found if output.output_type == "error"]
    pictures = [output.data for output in found if "lrwidget-picture" in output.get("data", {}).get("text/html", "")]
    assert [data["text/plain"].partition(".")[0] for data in pictures] == ["Loss over learning rate", "Loss over steps"]
    assert all("image/png" in data for data in pictures)


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebook_is_kept_without_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    assert not outputs(notebook), "clear the outputs before committing: they would go stale"
    assert notebook.metadata.kernelspec.name == "python3", "without it JupyterLab asks which kernel to start"
    assert "widgets" not in notebook.metadata
