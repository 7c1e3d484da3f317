"""Borrowed, given back: what a sweep touches is remembered before it starts and put back bit for bit after it.

`preserved(...)` walks from the things it is given (models, optimizers, schedulers, scalers, loaders) through their
attributes and containers and keeps every tensor, container, attribute and generator it meets. On leaving, however
that happens, each is put back *in place*: tensors keep their identity and their storage, dicts and lists stay the
same objects with the same entries in the same order, so that views, tied weights and references from elsewhere
stay valid. `optimizer.load_state_dict` could not do this: it replaces the group dicts and the state.

The rooms next door: `keep.py` walks, with `reach.py` through functions; `kept.py` knows how each kind of thing is put
back; `frozen.py` what need not be copied; `interrupts.py` keeps Ctrl-C out of the giving back.
"""

from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

import torch
from torch import nn

from lrwidget.engine.borrowing.interrupts import InterruptShield, expect_workers
from lrwidget.engine.borrowing.keep import Keeper
from lrwidget.engine.borrowing.kept import shut_down
from lrwidget.engine.errors import GiveBackError, InputError, InputTypeError

LAZY_PARAMETERS = """Got a {model} whose parameter {name!r} is not initialised yet (a lazy module); expected a model
that has seen its first batch, because nothing can be given back that is not there. Run one batch through the model,
make the optimizer after that, and sweep again."""

META_PARAMETERS = """Got a {model} whose parameter {name!r} is on the meta device, where there are no values; expected
weights that can be trained. Load or initialise the model on a real device first (`model.to_empty(device=...)`)."""


NO_DEVICE = 'Got snapshot={snapshot!r}; expected None or a device that copies can live on, such as "cpu".'

GONE = """Got {problem}{more} after giving back; expected everything as before. All else has been put back. What a step
changes and nothing here could know of is named in also=[...], or in whole=[...] of preserved()."""


class preserved:
    """A context in which anything may be done to the things named; on leaving, they are bit for bit as before.

    Kept and given back, whether the block finishes, raises, or is interrupted (also twice, also while giving back):

    - of modules: parameters, all buffers (non-persistent ones too), `requires_grad`, `.grad`, hooks, the train/eval
      mode of every submodule, and the plain attributes a forward pass may write (hidden states, counters);
    - of optimizers: state, every key of every param group, the groups' own order; a fresh optimizer has no state
      afterwards either;
    - of schedulers, gradient scalers, samplers and weight averages: all their attributes;
    - of a loader: its generator, sampler and batch sampler, generators its dataset holds, its persistent workers;
    - Python's, NumPy's and torch's global generators, on every device that is in use.

    Memory that several tensors look at is copied once. Parameters that are frozen, and no slow twin of others that
    train (see `frozen.py`), are not copied, because no training step changes them: fine-tuning an adapter on a large
    model costs the adapter. Should one have changed all the same, leaving raises `GiveBackError`; name it in `whole` to
    have it copied.

    What a function of the user's refers to (a discriminator that a step closes over, a generator that an augmentation
    draws from) is found and kept as well; see `reach.py`.

    What cannot be given back, because Python has no way to: the position of a one-shot generator or an open file,
    and what code outside the block did meanwhile.

    Args:
        *things: models, optimizers, schedulers, scalers, tensors, generators, functions, plain objects, lists of them.
        loaders: the loaders the block will read from; of their data nothing is copied.
        whole: further things, copied with all that is frozen in them.
        snapshot: where copies live: None for beside the original, or a device such as "cpu" to spare the
            accelerator's memory.
        frozen: whether everything that is frozen is copied too; default False.
        verify: compare everything with what was kept after giving it back, and raise if anything differs. Reads all
            of it once more, which is why it is off by default.

    Raises:
        GiveBackError: on leaving, when something could not be put back, naming the first such thing; everything
            else has been put back.
        InputError: a parameter is on the meta device or not initialised yet.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(2, 1)
        >>> before = model.weight.clone()
        >>> with preserved(model):
        ...     _ = torch.nn.init.zeros_(model.weight)
        >>> bool(torch.equal(model.weight, before))
        True
    """

    def __init__(
        self,
        *things: Any,
        loaders: Iterable[Any] = (),
        whole: Iterable[Any] = (),
        snapshot: str | torch.device | None = None,
        frozen: bool = False,
        verify: bool = False,
    ) -> None:
        whole = tuple(whole)
        for thing in (*things, *whole):
            check_keepable(thing)
        self._roots, self._whole, self._loaders = _named(things), _named(whole), _named(loaders)
        self._device = None if snapshot is None else _device_for_copies(snapshot)
        self._frozen = frozen
        self._verify = verify
        self._keeper: Keeper | None = None
        self._shield = InterruptShield(preserved.__exit__, preserved._abandon, shut_down)
        self.verified: bool | None = None
        """After leaving with `verify=True`: whether everything was as before. None otherwise."""

    def __enter__(self) -> Self:
        expect_workers(self._loaders.values())
        try:
            self._shield.__enter__()
            self._keeper = Keeper(
                self._roots, whole=self._whole, loaders=self._loaders, device=self._device, frozen=self._frozen
            )
            self._keeper.take()
            return self
        except BaseException as error:
            self._abandon(error)
            raise

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        failure: type[BaseException] | None = GiveBackError
        try:
            self._give_back(exc)
            failure = exc_type
        finally:
            self._shield.__exit__(failure)

    @property
    def n_bytes(self) -> int:
        """How much memory the copies of tensors take while the context lasts, in bytes."""
        return 0 if self._keeper is None else self._keeper.n_bytes()

    def catch_up(self) -> None:
        """Copy what was frozen on entering and has been unfrozen since, before an optimizer moves it.

        A loop whose step unfreezes layers calls this before its optimizer's; sweeps do.
        """
        if self._keeper is not None:
            self._keeper.catch_up()

    def _abandon(self, error: BaseException) -> None:
        """Leave before the block was entered: all that has been touched so far is which workers a loader has."""
        self.__exit__(type(error), error, None)

    def _give_back(self, cause: BaseException | None) -> None:
        keeper, self._keeper = self._keeper, None
        problems = [] if keeper is None else keeper.give_back()
        if self._verify and keeper is not None:
            problems = problems or keeper.differences()
            self.verified = not problems
        if problems:
            more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
            raise GiveBackError(GONE.format(problem=problems[0], more=more)) from cause


def _device_for_copies(snapshot: str | torch.device) -> torch.device:
    try:
        device = torch.device(snapshot)
        torch.empty(0, device=device)
    except (RuntimeError, TypeError, AssertionError) as error:  # the last where torch was built without CUDA
        raise InputError(NO_DEVICE.format(snapshot=snapshot)) from error
    if device.type == "meta":
        raise InputError(NO_DEVICE.format(snapshot=snapshot))
    return device


def check_keepable(thing: Any) -> None:
    """Raise for a class in place of an object, and for a model whose weights are not there to be copied."""
    if isinstance(thing, type):
        raise InputTypeError(
            f"Got the class {thing.__name__}; expected an object made from it. Write {thing.__name__}(...)."
        )
    if not isinstance(thing, nn.Module):
        return
    for name, parameter in thing.named_parameters():
        if isinstance(parameter, nn.parameter.UninitializedParameter):
            raise InputError(LAZY_PARAMETERS.format(model=type(thing).__name__, name=name))
        if parameter.is_meta:
            raise InputError(META_PARAMETERS.format(model=type(thing).__name__, name=name))


def _named(things: Iterable[Any]) -> dict[str, Any]:
    """Things by the names of their classes, numbered where there are several."""
    named: dict[str, Any] = {}
    for thing in things:
        kind = type(thing).__name__
        count = sum(name.partition(" ")[0] == kind for name in named)
        named[kind if count == 0 else f"{kind} {count + 1}"] = thing
    return named
