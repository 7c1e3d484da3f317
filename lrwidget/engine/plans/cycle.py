"""One cycle of LRs: how it moves, in which steps, up to which LR of every group; and the presets.

A `Shape` holds shares (of the steps, of `max_lr`), so that a preset is one; a `Cycle` is a shape with its steps and
LRs, and a pure function of the step. Shapes of arrays: S steps, G param groups, P phases, L = P + 1 levels.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any, Literal, Self, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from lrwidget.engine.errors import InputError, RecordError
from lrwidget.engine.picking import resolve_lrs
from lrwidget.engine.plain import finite, whole

Anneal: TypeAlias = Literal["cos", "linear", "linear-cos"]
Ends: TypeAlias = Literal["torch", "fastai", "fastai_v1"]
FloatArray: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How a cycle moves, in shares of its steps and of its `max_lr`. The defaults are those of torch's `OneCycleLR`.

    The LR goes `max_lr/div → max_lr → final` in two phases, `max_lr/div → max_lr → max_lr/div → final` in three.

    Attributes:
        pct_start: share of the steps that warm up, 0 ... 1 (a fraction, whatever its name says); 0 starts at
            `max_lr`. With three phases 0 < pct_start <= 0.5, because the way down takes as long.
        div: the first LR is `max_lr / div`; 1 or more.
        div_final: the final LR is what `div_final_of` says, divided by this.
        div_final_of: `"initial"`: `final = max_lr / div / div_final` (torch); `"max"`: `final = max_lr / div_final`
            (fastai v2). The same number means an LR `div` times smaller in the first.
        momentum: `(low, high)`, each 0 < m < 1: `high` at both ends, `low` where the LR is highest. None, the
            default, leaves the optimizer's own alone, because overwriting a beta nobody mentioned surprises.
        anneal: `"cos"`: half a cosine per phase, `end + (start − end)/2 · (1 + cos(π·p))`; `"linear"`:
            `start + (end − start)·p`; `"linear-cos"`: a linear warm-up, then cosines.
        phases: 2, or 3 for Smith's down to the first LR and then on to the final one.
        ends: where phases end, in steps counted from 0, of T steps. `"torch"`: `pct_start·T − 1` and `T − 1`, so the
            last step has the final LR. `"fastai"`: `pct_start·T` and `T`, so the final LR is the one after the last
            step. `"fastai_v1"`: `int(pct_start·T)` and `T`. With three phases the second lasts as long as the first.
            A warm-up too short for a step of its own lasts one: then the highest LR is at least half of `max_lr`,
            with however few steps from 2 on.
    """

    pct_start: float = 0.3
    div: float = 25.0
    div_final: float = 1e4
    div_final_of: Literal["initial", "max"] = "initial"
    momentum: tuple[float, float] | None = None
    anneal: Anneal = "cos"
    phases: Literal[2, 3] = 2
    ends: Ends = "torch"

    def __post_init__(self) -> None:
        # Plain Python numbers only: numpy's are refused by OneCycleLR and by JSON.
        for name in ("pct_start", "div", "div_final"):
            keep(self, name, finite(getattr(self, name), name))
        one_of(self.phases, "phases", (2, 3))
        keep(self, "phases", int(self.phases))
        one_of(self.anneal, "anneal", get_args(Anneal))
        one_of(self.ends, "ends", get_args(Ends))
        one_of(self.div_final_of, "div_final_of", ("initial", "max"))
        if self.momentum is not None:
            keep(self, "momentum", _momentum(self.momentum))
        if not 0 <= self.pct_start <= 1:
            raise InputError(
                f"Got pct_start={self.pct_start}; expected the share of the steps that warm up, 0 to 1 (0.3 is 30 %)."
            )
        if self.phases == 3 and not 0 < self.pct_start <= 0.5:
            raise InputError(
                f"Got pct_start={self.pct_start} with three phases; expected more than 0 and at most 0.5, "
                "because the way down takes as many steps as the way up."
            )
        if not self.div >= 1:
            raise InputError(f"Got div={self.div}; expected 1 or more: the first LR is max_lr / div.")
        if not self.div_final > 0 or self.levels(1.0)[-1] > 1 + 1e-9:
            raise InputError(
                f"Got div_final={self.div_final}, which ends above max_lr; "
                f"expected {1.0 if self.div_final_of == 'max' else 1 / self.div} or more."
            )

    def levels(self, max_lr: float) -> tuple[float, ...]:
        """The LRs between which the phases run, P + 1 of them, for a group of this `max_lr`."""
        initial = max_lr / self.div
        final = (initial if self.div_final_of == "initial" else max_lr) / self.div_final
        return self._around(initial, max_lr, final)

    def momentum_levels(self) -> tuple[float, ...]:
        """The momenta at the same places; NaN when it is left alone."""
        low, high = self.momentum or (math.nan, math.nan)
        return self._around(high, low, high)

    def _around(self, start: float, peak: float, final: float) -> tuple[float, ...]:
        return (start, peak, final) if self.phases == 2 else (start, peak, start, final)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cycle(Shape):
    """One stage of a run: a shape with its steps and LRs.

    Attributes:
        steps: optimizer steps it lasts, T; 1 or more.
        max_lrs: highest LR of every group, (G,).
        frozen: for every group, whether its weights stand still but for its norm layers; empty for none. The LRs of a
            frozen group are those its norm layers train with. Freezing itself is done by `fit` and by the printed
            code: a scheduler only sets LRs.
        frozen_norms: for every frozen group, whether the weights of its norm layers stand still as well; empty for
            none, as fastai's `train_bn`: their statistics move with the data anyway, and their scale and shift
            must be able to follow.
        preset: name of the shape it was made from; a label, no number depends on it.
    """

    steps: int
    max_lrs: tuple[float, ...]
    frozen: tuple[bool, ...] = ()
    frozen_norms: tuple[bool, ...] = ()
    preset: str = "torch"

    def __post_init__(self) -> None:
        super(Cycle, self).__post_init__()
        keep(self, "steps", whole(self.steps, "steps"))
        keep(self, "max_lrs", resolve_lrs(self.max_lrs, len(self.max_lrs)))
        for name in ("frozen", "frozen_norms"):
            flags = tuple(bool(flag) for flag in getattr(self, name))
            keep(self, name, flags if any(flags) else ())
            if flags and len(flags) != len(self.max_lrs):
                raise InputError(
                    f"Got {len(flags)} {name} flags for {len(self.max_lrs)} param groups; expected one each, or none."
                )
        if self.frozen and all(self.frozen):
            raise InputError(f"Got frozen={self.frozen}; expected a group that trains, one False or more.")
        still_G = self.frozen or (False,) * len(self.max_lrs)
        if any(norms and not still for norms, still in zip(self.frozen_norms, still_G, strict=False)):
            raise InputError(
                f"Got frozen_norms={self.frozen_norms} with frozen={self.frozen}; expected True only in frozen groups."
            )

    def with_group(self, max_lr: float, at: int) -> Self:
        """The cycle with one more group, not frozen, before the one that is now number `at`."""

        def with_flag(flags: tuple[bool, ...]) -> tuple[bool, ...]:
            return (*flags[:at], False, *flags[at:]) if flags else ()

        return replace(
            self,
            max_lrs=(*self.max_lrs[:at], max_lr, *self.max_lrs[at:]),
            frozen=with_flag(self.frozen),
            frozen_norms=with_flag(self.frozen_norms),
        )

    def spared(self) -> tuple[bool, ...]:
        """For every group, whether it is frozen and its norm layers train on: (G,)."""
        none = (False,) * len(self.max_lrs)
        return tuple(
            still and not norms for still, norms in zip(self.frozen or none, self.frozen_norms or none, strict=True)
        )

    def phase_ends(self) -> tuple[float, ...]:
        """The step, possibly between two, at which each phase ends: (P,), never falling."""
        climb = self.pct_start * self.steps
        last = self.steps - 1.0 if self.ends == "torch" else float(self.steps)
        if self.ends == "torch":
            climb -= 1
        elif self.ends == "fastai_v1":
            climb = float(int(climb))
        if self.pct_start == 0:
            climb = 0.0
        elif climb <= 0 or (self.phases == 3 and climb < 1) or last == 1:
            # OneCycleLR divides by zero here, or starts behind its own peak, or leaps over it.
            climb = min(1.0, last)
        return (climb, last) if self.phases == 2 else (climb, min(2 * climb, last), last)

    def phase_begins(self) -> tuple[tuple[float, str], ...]:
        """Where each phase that has steps begins, and its name."""
        names = ("warm-up", "anneal") if self.phases == 2 else ("warm-up", "cool-down", "annihilate")
        ends = self.phase_ends()
        begins = zip((0.0, *ends), ends, names, strict=False)
        found = tuple((begin, name) for begin, end, name in begins if begin < min(end, self.steps - 1))
        return found or ((0.0, names[0]),)

    def lr_at(self, step_S: IntArray) -> FloatArray:
        """LRs at steps of this cycle, 0 ... `steps − 1`: (S, G)."""
        return self._walk(step_S, np.array([self.levels(lr) for lr in self.max_lrs]).T)

    def momentum_at(self, step_S: IntArray) -> FloatArray:
        """Momenta likewise, the same for every group: (S, G)."""
        return self._walk(step_S, np.array([self.momentum_levels() for _ in self.max_lrs]).T)

    def _walk(self, step_S: IntArray, level_LG: FloatArray) -> FloatArray:
        """Values at the steps; the operations, and their order, are OneCycleLR's, so that the last bit agrees."""
        end_P = np.array(self.phase_ends())
        begin_P = np.array((0.0, *end_P[:-1]))
        phase_S = np.searchsorted(end_P, step_S, side="left")  # the first phase with step <= end
        length_S = (end_P - begin_P)[phase_S]
        pct_S = np.divide(step_S - begin_P[phase_S], length_S, out=np.ones(len(step_S)), where=length_S > 0)
        # math.cos, because numpy's vectorised cosine may round otherwise.
        swing_S1 = np.array([math.cos(math.pi * pct) + 1 for pct in pct_S.tolist()]).reshape(-1, 1)
        start_SG, end_SG = level_LG[phase_S], level_LG[phase_S + 1]
        cos_SG = end_SG + (start_SG - end_SG) / 2.0 * swing_S1
        linear_SG = (end_SG - start_SG) * pct_S[:, None] + start_SG
        is_cos_P = np.array([self.phase_anneal(i) == "cos" for i in range(self.phases)])
        # A phase without length is over: the cosine ends at its end exactly, where the line may round.
        value_SG: FloatArray = np.where((is_cos_P[phase_S] | (length_S == 0))[:, None], cos_SG, linear_SG)
        return value_SG

    def phase_anneal(self, phase: int) -> Literal["cos", "linear"]:
        """The curve of one phase, counted from 0."""
        if self.anneal == "linear-cos":
            return "linear" if phase == 0 else "cos"
        return self.anneal

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The cycle whose fields these are."""
        return cls(**exactly(data, cls))


def keep(value: object, name: str, clean: object) -> None:
    """Write a field of a frozen dataclass; only for its own `__post_init__`, while it is being made."""
    object.__setattr__(value, name, clean)


def _momentum(value: Any) -> tuple[float, float]:
    pair = tuple(finite(m, "momentum") for m in value) if isinstance(value, Iterable) else ()
    # Not 0: a momentum of 0 is one that is off, and what is off stays off.
    if len(pair) != 2 or not 0 < pair[0] <= pair[1] < 1:
        raise InputError(
            f"Got momentum={value!r}; expected (low, high) with 0 < low <= high < 1, as (0.85, 0.95): "
            "high at both ends of the cycle, low where the LR is highest. None leaves the optimizer's momentum alone."
        )
    return pair[0], pair[1]


def one_of(value: object, what: str, known: Sequence[object]) -> None:
    """Raise unless `value` is among the known ones."""
    if isinstance(value, bool) or value not in known:
        raise InputError(f"Got {what}={value!r}; expected one of {', '.join(map(repr, known))}.")


def exactly(data: Mapping[str, Any], cls: type) -> dict[str, Any]:
    """`data` as a dict whose keys are all the fields of the dataclass and no other: a record has no optional part."""
    if not isinstance(data, Mapping):
        raise RecordError(f"Got a {type(data).__name__}; expected the fields of a {cls.__name__} by name.")
    known = {field.name for field in fields(cls)}
    unknown, missing = sorted(set(data) - known), sorted(known - set(data))
    if unknown or missing:
        raise RecordError(
            f"Got a {cls.__name__} with unknown keys {unknown} and without {missing}; expected {sorted(known)}. "
            "Was it written by another version of lrwidget?"
        )
    return dict(data)


PRESETS: Mapping[str, Shape] = MappingProxyType(
    {
        "torch": Shape(),
        "fastai": Shape(pct_start=0.25, div_final=1e5, div_final_of="max", momentum=(0.85, 0.95), ends="fastai"),
        "fine_tune": Shape(
            pct_start=0.3, div=5.0, div_final=1e5, div_final_of="max", momentum=(0.85, 0.95), ends="fastai"
        ),
        "fastai_v1": Shape(momentum=(0.85, 0.95), ends="fastai_v1"),
        "smith": Shape(pct_start=0.45, div=10.0, div_final=100.0, momentum=(0.85, 0.95), anneal="linear", phases=3),
        "linear": Shape(pct_start=0.1, div=100.0, div_final=100.0, anneal="linear"),
        "cosine": Shape(pct_start=0.1, div=100.0, div_final=100.0, anneal="linear-cos"),
    }
)
"""Shapes by name.

`torch`: `OneCycleLR`'s defaults, momentum left alone. `fastai`: v2's `fit_one_cycle`. `fine_tune`: the second, unfrozen
part of v2's `fine_tune`. `fastai_v1`: v1's `fit_one_cycle`. `smith`: up, down, then annihilation to 1/100 of the lowest
LR, after Smith, "A disciplined approach to neural network hyper-parameters" (2018), with his cyclical momentum.
`linear` and `cosine`: a tenth of the steps warms up linearly from 1/100, the rest decays to 1/10 000; close to what
Transformers does, without its first step at an LR of 0 that trains nothing.
"""

FREEZE = replace(PRESETS["fastai"], pct_start=0.99)
"""The frozen part of fastai v2's `fine_tune`: a climb nearly to the end."""
