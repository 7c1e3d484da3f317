"""A sweep of 100 steps and a run under a one-cycle plan, over the same steps without either."""

import functools
from collections.abc import Callable, Mapping

import lrwidget
from benchmarks import loops
from benchmarks.loops import Training
from benchmarks.measure import Ratio, race
from benchmarks.report import Row

STEPS = 100

Finder = Callable[[Training, int], object]


def ours(training: Training, steps: int) -> None:
    """lrwidget, as a script uses it."""
    curve = lrwidget.range_test(
        training.model,
        training.optimizer,
        training.loader,
        loops.loss_fn,
        start_lr=loops.START_LR,
        end_lr=loops.END_LR,
        num_steps=steps,
        diverge_ratio=None,
    )
    assert len(curve) == steps


def fit(training: Training, plan: lrwidget.Plan) -> None:
    """A run of lrwidget's."""
    lrwidget.fit(training.model, training.optimizer, training.loader, loops.loss_fn, plan)


def bare_fit(training: Training, plan: lrwidget.Plan) -> None:
    """The bare loop with the scheduler that the plan is."""
    training.run(plan.total_steps, plan.scheduler(training.optimizer))


def sweep_ratios(
    make: Callable[[], Training], finders: Mapping[str, Finder], rounds: int, steps: int = STEPS
) -> dict[str, Ratio]:
    """Each finder's time over the bare loop's, each on a model of its own."""
    bare = make()
    contestants: dict[str, Callable[[], object]] = {"bare loop": lambda: bare.run(steps)}
    for name, find in {"lrwidget": ours, **finders}.items():
        contestants[name] = functools.partial(find, make(), steps)
    ratios = race(contestants, rounds)
    del ratios["bare loop"]
    return ratios


def fit_ratio(rounds: int, steps: int = STEPS) -> Ratio:
    """The time of `lrwidget.fit` over that of the bare loop with the same scheduler."""
    bare, own = loops.mlp(), loops.mlp()
    plan = lrwidget.one_cycle(1e-4, steps, groups=own.optimizer)
    return race({"bare": lambda: bare_fit(bare, plan), "fit": lambda: fit(own, plan)}, rounds)["fit"]


def rows(finders: Mapping[str, Finder], *, quick: bool) -> list[Row]:
    """For the report."""
    found = []
    for name, make in loops.TRAININGS.items():
        rounds = 6 if quick else 20 if name.startswith("7") else 100
        ratios = sweep_ratios(make, finders, rounds)
        best_peer = min((ratio.processor for peer, ratio in ratios.items() if peer != "lrwidget"), default=float("inf"))
        for finder, ratio in ratios.items():
            limit = 1.03 if finder == "lrwidget" and name == "0.8 ms MLP" else None
            found.append(_row(f"sweep over bare loop, {name} step: {finder}", ratio, limit))
        if name == "0.8 ms MLP" and finders:
            lead = ratios["lrwidget"].processor / best_peer
            found.append(Row("the same: lrwidget over the best of the others", lead, 1.0, "{:.3f}"))
    found.append(_row("fit over bare loop with the same scheduler", fit_ratio(8 if quick else 150), 1.03))
    return found


def _row(what: str, ratio: Ratio, limit: float | None) -> Row:
    detail = f"by the clock {ratio.best:.3f}, rounds {ratio.rounds.told('.2f')}"
    return Row(what, ratio.processor, limit, detail=detail)
