"""Execute a notebook without a browser, print what its `summary` cells printed, and keep the executed copy.

Usage: python scripts/execute_notebook.py notebooks/1-quickstart.ipynb build/1-quickstart.ipynb
"""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError


def printed(cell: nbformat.NotebookNode) -> str:
    """What a code cell wrote to its standard output."""
    return "".join(output.text for output in cell.outputs if output.get("name") == "stdout")


def main(source: Path, target: Path) -> int:
    """Execute `source` into `target`; the exit status is 1 when a cell raised."""
    notebook = nbformat.read(source, as_version=4)
    client = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(source.parent)}})
    print(f"executing {source} ...", flush=True)
    failure = None
    try:
        client.execute()
    except CellExecutionError as error:
        failure = error

    target.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, target)
    if failure is not None:
        print(f"{failure}\nThe notebook as far as it came: {target}", file=sys.stderr)
        return 1
    for cell in notebook.cells:
        if "summary" in cell.metadata.get("tags", []):
            print(printed(cell).rstrip())
    print(f"executed notebook, with its pictures: {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
