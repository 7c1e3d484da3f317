"""The house as it was meant: who may import whom, what a script does not pay for, which packages we stand on."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest

REPOSITORY = Path(__file__).parents[1]
PACKAGE = REPOSITORY / "lrwidget"

# What each room may import, besides itself: ui → session → state → engine, and nothing points back; in the engine
# runs → plans, sweeps → loops → borrowing → what lies at its top. A module is in the innermost room that is named here.
ENGINE = {"engine", "engine.borrowing", "engine.loops", "engine.plans", "engine.sweeps", "engine.runs"}
UI = {"ui.parts", "ui.chart", "ui.views", "ui.notebook", "ui"}
ROOMS: dict[str, set[str]] = {
    "engine": set(),
    "engine.borrowing": {"engine"},
    "engine.loops": {"engine", "engine.borrowing"},
    "engine.plans": {"engine", "engine.loops"},
    "engine.sweeps": {"engine", "engine.borrowing", "engine.loops"},
    "engine.runs": ENGINE,
    "look": ENGINE,
    "static": {*ENGINE, "look"},
    "state": {*ENGINE, "look"},
    "session.jobs": ENGINE,
    "session.picks": ENGINE,
    "session.messages": ENGINE,
    "session.kept_sweeps": {*ENGINE, "state"},
    "session.planning": {*ENGINE, "state"},
    "session.screen": {"state"},
    "session.pace": {"session.jobs", "state"},
    "session.on_screen": {*ENGINE, "session.jobs", "session.messages", "session.pace", "session.screen", "state"},
    "session.job_control": {*ENGINE, "session.jobs", "session.messages", "session.screen", "state"},
    "session": {*ENGINE, "state"}
    | {f"session.{name}" for name in ("jobs", "picks", "messages", "kept_sweeps")}
    | {f"session.{name}" for name in ("planning", "screen", "on_screen", "job_control")},
    "ui.parts": {*ENGINE, "look", "state"},
    "ui.chart": {*ENGINE, "look", "state", "ui.parts"},
    "ui.views": {*ENGINE, "look", "state", "ui.parts", "ui.chart"},
    "ui.notebook": {*ENGINE, "look", "static", "state", "session", "session.jobs", "ui.parts", "ui"},
    "ui": {*ENGINE, *UI, "look", "static", "state", "session", "session.jobs"},
    "": {*ENGINE, "session", *UI},  # the package's own front door
}
# In ui/, whatever draws is a view, except the one module that puts the screen together.
COMPOSER = "ui.widget"
VIEWS = {
    "ui.chart.chart",
    "ui.views.exports",
    "ui.views.group_table",
    "ui.views.pick_bar",
    "ui.views.run_controls",
    "ui.views.runs",
    "ui.views.schedule",
    "ui.views.schedule_numbers",
    "ui.views.status",
    "ui.views.sweeps",
    "ui.views.toolbar",
}
DEPENDENCIES = {"torch", "ipywidgets", "bqplot", "matplotlib", "numpy"}
OPTIONAL = {"safetensors": "checkpoint"}  # package → the extra that brings it
NOTEBOOK = {"IPython", "ipykernel", "ipywidgets", "bqplot", "comm", "tornado"}


class Import(NamedTuple):
    """One imported name, such as `lrwidget.engine.sweeps.curve.LossCurve`.

    Attributes:
        name: module and, after `from ... import`, the name taken from it.
        lazy: only when a function is called.
        for_types: only for the type checker.
    """

    name: str
    lazy: bool
    for_types: bool


class Finder(ast.NodeVisitor):
    """Collects what a module imports, wherever in the file it does."""

    def __init__(self) -> None:
        self.found: list[Import] = []
        self._lazy = False
        self._for_types = False

    def visit_Import(self, node: ast.Import) -> None:
        self.found += [Import(alias.name, self._lazy, self._for_types) for alias in node.names]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        assert node.level == 0, f"a relative import hides what it imports: {ast.unparse(node)}"
        self.found += [Import(f"{node.module}.{alias.name}", self._lazy, self._for_types) for alias in node.names]

    def visit_If(self, node: ast.If) -> None:
        before, self._for_types = self._for_types, self._for_types or "TYPE_CHECKING" in ast.unparse(node.test)
        self.generic_visit(node)
        self._for_types = before

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        before, self._lazy = self._lazy, True
        self.generic_visit(node)
        self._lazy = before

    visit_AsyncFunctionDef = visit_FunctionDef


def read_imports(path: Path) -> list[Import]:
    finder = Finder()
    finder.visit(ast.parse(path.read_text(encoding="utf-8")))
    return finder.found


def dotted(path: Path) -> str:
    """A module's name below the package: "engine.curve", "ui" for ui/__init__.py, "" for the package itself."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


IMPORTS = {dotted(path): read_imports(path) for path in sorted(PACKAGE.rglob("*.py"))}


def room(module: str) -> str:
    while module not in ROOMS:
        module = module.rpartition(".")[0]
    return module


def storey(module: str) -> str:
    """The part of the package that a module is in: "engine", "ui"; "" for the front door."""
    return module.partition(".")[0]


def own(found: Import) -> str | None:
    """The module of this package that an import is of, or None for somebody else's."""
    top, _, rest = found.name.partition(".")
    if top != "lrwidget":
        return None
    while rest and rest not in IMPORTS:
        rest = rest.rpartition(".")[0]
    return rest


def siblings(module: str) -> set[str]:
    """The modules of this package that a module imports in any way: a type from another room ties to it, too."""
    return {name for found in IMPORTS[module] if (name := own(found)) is not None}


def foreign(module: str, *, for_types: bool = True) -> set[str]:
    """The top-level names of other packages that a module imports; those for types alone can be left out."""
    return {
        found.name.partition(".")[0]
        for found in IMPORTS[module]
        if own(found) is None and (for_types or not found.for_types)
    }


def loaded_with(module: str) -> set[str]:
    """What is loaded at once with a module, by itself and through its own package's modules."""
    seen, ahead = set(), [module]
    packages: set[str] = set()
    while ahead:
        current = ahead.pop()
        seen.add(current)
        for found in IMPORTS[current]:
            if found.lazy or found.for_types:
                continue
            name = own(found)
            if name is None:
                packages.add(found.name.partition(".")[0])
            elif name not in seen:
                ahead.append(name)
    return packages


def test_the_house_has_its_rooms() -> None:
    assert {room(module) for module in IMPORTS} == set(ROOMS)
    unknown = {module for module in IMPORTS if module and not room(module)}
    assert not unknown, f"say in ROOMS what {sorted(unknown)} may import"


@pytest.mark.parametrize("module", IMPORTS)
def test_imports_point_towards_the_engine_only(module: str) -> None:
    allowed = ROOMS[room(module)] | {room(module)}
    if storey(module) == "engine":
        # curve.plot() and its like draw with `static`, imported when called.
        allowed |= {"static"} if all(found.lazy for found in IMPORTS[module] if own(found) == "static") else set()
    found = {room(name) for name in siblings(module)} - allowed
    assert not found, f"imports {sorted(found)}; may import {sorted(allowed)}"


def draws(module: str) -> bool:
    return storey(module) == "ui" and module != COMPOSER and bool(foreign(module) & {"ipywidgets", "bqplot"})


@pytest.mark.parametrize("module", sorted({name for name in IMPORTS if draws(name)} | VIEWS))
def test_a_view_knows_neither_the_session_nor_torch_nor_another_view(module: str) -> None:
    assert "session" not in {storey(name) for name in siblings(module)}
    assert not siblings(module) & (VIEWS | {COMPOSER}) - {module}
    assert "torch" not in foreign(module)


@pytest.mark.parametrize("module", [name for name in IMPORTS if storey(name) != "ui"])
def test_only_ui_imports_the_notebook_s_packages(module: str) -> None:
    # The front door names IPython's shell in the signature of load_ipython_extension, for the type checker.
    assert not foreign(module, for_types=module != "") & NOTEBOOK


@pytest.mark.parametrize("module", IMPORTS)
def test_matplotlib_has_one_door_and_it_is_not_pyplot(module: str) -> None:
    # To name `Figure` in a signature is not to draw.
    assert module == "static" or "matplotlib" not in foreign(module, for_types=False), "draw in lrwidget/static.py"
    assert not [found.name for found in IMPORTS[module] if found.name.startswith("matplotlib.pyplot")]


@pytest.mark.parametrize("module", ["centred", "curve", "suggest", "tracker"])
def test_curves_and_suggestions_need_no_torch(module: str) -> None:
    assert "torch" not in foreign(f"engine.sweeps.{module}")
    assert "torch" not in loaded_with(f"engine.sweeps.{module}")


def test_plans_load_no_torch() -> None:
    assert "torch" not in loaded_with("engine.plans.plan")


@pytest.mark.parametrize("module", IMPORTS)
def test_every_foreign_import_is_declared(module: str) -> None:
    # These come with ipywidgets, and the last with matplotlib: nobody has a widget or a figure without them.
    arrive_together = {"traitlets", "IPython", "ipykernel", "comm", "tornado", "PIL"}
    assert not foreign(module) - DEPENDENCIES - set(OPTIONAL) - arrive_together - sys.stdlib_module_names


def test_the_runtime_dependencies_are_these_five() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert {requirement.partition(">")[0] for requirement in project["dependencies"]} == DEPENDENCIES


@pytest.mark.parametrize("package", OPTIONAL)
def test_what_is_optional_has_an_extra_and_is_imported_when_it_is_used(package: str) -> None:
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert any(requirement.startswith(package) for requirement in extras[OPTIONAL[package]])
    used = [found for imports in IMPORTS.values() for found in imports if found.name.startswith(package)]
    assert used and all(found.lazy or found.for_types for found in used)


SCRIPT = """
import sys
import torch
import lrwidget

torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
optimizer = torch.optim.AdamW(
    [{"params": model[0].parameters(), "lr": 1e-4}, {"params": model[2].parameters(), "lr": 1e-3}]
)
data = torch.utils.data.TensorDataset(torch.randn(32, 4), torch.randint(3, (32,)))
batches = torch.utils.data.DataLoader(data, batch_size=8)
loss_fn = torch.nn.CrossEntropyLoss()

curve = lrwidget.range_test(model, optimizer, batches, loss_fn, num_steps=20)
assert curve.suggest()["recommended"].why
plan = lrwidget.one_cycle(max_lr=slice(1e-4, 1e-3), total_steps=8, groups=optimizer)
lrwidget.fit(model, optimizer, batches, loss_fn, plan, valid_dl=batches)
lrwidget.fine_tune(model, optimizer, batches, loss_fn, epochs=1, base_lr=1e-3)

screen = ["IPython", "ipywidgets", "ipykernel", "bqplot", "matplotlib", "pandas"]
loaded = [name for name in screen if name in sys.modules]
assert not loaded, f"a script that shows nothing has imported {loaded}"
"""


def test_a_script_that_sweeps_and_trains_imports_nothing_of_the_screen() -> None:
    ran = subprocess.run([sys.executable, "-W", "error", "-c", SCRIPT], capture_output=True, text=True, cwd=REPOSITORY)
    assert ran.returncode == 0, ran.stderr
