"""Kernels of two ipykernel generations, as kernelspecs that point at this very environment."""

import json
import sys
from pathlib import Path

IPYKERNEL6 = Path(sys.prefix) / "ipykernel6"
NAMES = {6: "ipykernel6", 7: "ipykernel7"}


def environment(generation: int) -> dict[str, str]:
    """Environment variables that make `import ipykernel` give the wanted generation.

    Raises:
        RuntimeError: when the second generation was not installed; it says which command does it.
    """
    if generation == 7:
        return {}
    if not (IPYKERNEL6 / "ipykernel" / "__init__.py").exists():
        raise RuntimeError(
            f"No ipykernel 6 in {IPYKERNEL6}. It is installed beside the environment's own: run `make kernel`."
        )
    return {"PYTHONPATH": str(IPYKERNEL6)}


def write(folder: Path, generation: int) -> str:
    """Write the kernelspec of one generation under `folder`, a `kernels` directory; returns its name."""
    name = NAMES[generation]
    spec = {
        "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": f"Python 3 (ipykernel {generation})",
        "language": "python",
        "env": environment(generation),
        "metadata": {"debugger": False},
    }
    target = folder / name / "kernel.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(spec))
    return name
