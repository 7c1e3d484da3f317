"""A plan as a program: the source of a training loop in plain PyTorch, without lrwidget."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from lrwidget.engine.errors import InputError
from lrwidget.engine.plain import is_number, plain, whole
from lrwidget.engine.plans.cycle import Cycle, keep, one_of

if TYPE_CHECKING:
    from lrwidget.engine.plans.plan import Plan

CURVES = {
    "cos": """

def cos(start, end, share):
    return end + (start - end) / 2.0 * (math.cos(math.pi * share) + 1)
""",
    "linear": """

def linear(start, end, share):
    return (end - start) * share + start
""",
}

NORMS = """
norm_layers = (
    torch.nn.modules.batchnorm._BatchNorm,
    torch.nn.modules.instancenorm._InstanceNorm,
    torch.nn.GroupNorm,
    torch.nn.LayerNorm,
    torch.nn.RMSNorm,
)
norms = {id(p) for m in model.modules() if isinstance(m, norm_layers) for p in m.parameters(recurse=False)}
"""

WHOLE = """\
for group, still in zip({held}, {flags}):  # these stand still with their norm layers
    norms -= {{id(p) for p in group["params"] if still}}
"""

FREEZABLE = """
freezable = [[p for p in group["params"] if p.requires_grad{spared}] for group in {held}]
"""

FROZEN = """
for group, still in zip({held}, {flags}):
    for p in group["params"]:
        if still{spared}:
            p.requires_grad_(False)
            p.grad = None
"""

FROZEN_AT = """
frozen = {{  # from which step on: whether each group stands still
{table}
}}
"""

SET_STEP = '''

def set_step(step):
    """Prepare the optimizer for one step, counted from 0."""
{freeze}{values}
    for group, lr in zip({held}, lrs):
        if torch.is_tensor(group["lr"]):
            group["lr"].fill_(lr)
        else:
            group["lr"] = lr
{momentum}
'''

SET_FROZEN = """\
    for params, still in zip(freezable, frozen.get(step, ())):
        for p in params:
            p.requires_grad_(not still)
            if still:
                p.grad = None
"""

SET_MOMENTUM = """\
        if group.get("betas", (0,))[0]:
            group["betas"] = (momentum, *group["betas"][1:])
        elif group.get("momentum"):  # 0 stays 0
            group["momentum"] = momentum
"""

WANTED = {
    "loss_fn": "model, loss_fn, train_dl (yields inputs, targets)",
    "loss_step": "model, loss_step (model, batch -> loss), train_dl",
    "train_step": "train_step (batch -> loss; one whole step), train_dl",
}
"""What must be there for each way to take a step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSource:
    """How one step goes in the printed loop; the defaults are the loop everybody knows.

    Attributes:
        step: "loss_fn": `loss_fn(model(inputs), targets)`; "loss_step": a function of the user's gives the loss of a
            batch; "train_step": a function of the user's does the whole step.
        n_optimizers: more than one are called `optimizers`.
        amp: "fp16" or "bf16" autocast.
        accumulate: batches per optimizer step.
        clip_grad_norm: the largest total gradient norm.
    """

    step: Literal["loss_fn", "loss_step", "train_step"] = "loss_fn"
    n_optimizers: int = 1
    amp: str | None = None
    accumulate: int = 1
    clip_grad_norm: float | None = None

    def __post_init__(self) -> None:
        one_of(self.step, "step", tuple(WANTED))
        if self.amp not in (None, "fp16", "bf16"):
            raise InputError(f'Got amp={self.amp!r}; expected None, "fp16" or "bf16".')
        for name in ("n_optimizers", "accumulate"):
            keep(self, name, whole(getattr(self, name), name))
        clip = plain(self.clip_grad_norm)
        if clip is not None and not (is_number(clip) and clip > 0):
            raise InputError(f"Got clip_grad_norm={clip!r}; expected a number above 0, or None.")
        keep(self, "clip_grad_norm", clip)

    @property
    def batch(self) -> str:
        """What the loader yields, as it is taken apart."""
        return "inputs, targets" if self.step == "loss_fn" else "batch"

    def yours(self, names: Sequence[str]) -> str:
        """The comment that says what must be there."""
        # A name may hold a line break; in a comment it must not.
        groups = ", ".join(" ".join(name.split()) for name in names)
        held = "optimizer" if self.n_optimizers == 1 else f"optimizers (a list of {self.n_optimizers})"
        return f"# Yours: {WANTED[self.step]}, and {held} with the param groups: {groups}.\n"

    def setting(self) -> str:
        """Lines before the loop."""
        lines = []
        if self.step != "train_step":
            lines += ["if not model.training:", "    model.train()"]
        if self.amp == "fp16":
            lines.append("scaler = torch.amp.GradScaler(next(model.parameters()).device.type)")
        if self.accumulate > 1:
            lines.append(f"accumulate = {self.accumulate}  # batches per optimizer step")
        return "".join(f"{line}\n" for line in [*lines, "step = 0"])

    def loop(self, before: str, after: str) -> str:
        """The loop, with a line before every step and one after it."""
        if self.accumulate == 1:
            lines = ["while step < total_steps:", f"    for {self.batch} in train_dl:"]
            body = [before, *self.one_batch(), *self.update(), "step += 1", "if step == total_steps:", "    break"]
        else:
            lines = [
                "while step < total_steps:",
                "    batches = iter(train_dl)",
                "    while step < total_steps and (window := list(islice(batches, accumulate))):",
            ]
            inner = [f"    {line}" for line in self.one_batch()[1:]]
            body = [before, self.one_batch()[0], f"for {self.batch} in window:", *inner, *self.update(), "step += 1"]
            after = f"if step < total_steps:\n            {after}" if after else ""
        if self.amp == "fp16":
            # A step that the scaler skipped is none: the schedule waits for it.
            count = body.index("step += 1")
            body = [*body[:count], "if scaler.get_scale() < scale:", "    continue", *body[count:]]
        lines += [f"        {line}" for line in [*body, after] if line]
        return "".join(f"{line}\n" for line in lines)

    def one_batch(self) -> list[str]:
        """The lines from clearing the gradients to having them."""
        if self.step == "train_step":
            return ["train_step(batch)"]
        loss = "loss_fn(model(inputs), targets)" if self.step == "loss_fn" else "loss_step(model, batch)"
        share = " / len(window)" if self.accumulate > 1 else ""
        clear = self.each("{}.zero_grad()")
        if self.amp is None:
            return [clear, f"({loss}{share}).backward()" if share else f"{loss}.backward()"]
        dtype = "torch.float16" if self.amp == "fp16" else "torch.bfloat16"
        scaled = f"scaler.scale(loss{share})" if self.amp == "fp16" else f"(loss{share})" if share else "loss"
        return [
            clear,
            f"with torch.autocast(next(model.parameters()).device.type, dtype={dtype}):",
            f"    loss = {loss}",
            f"{scaled}.backward()",
        ]

    def update(self) -> list[str]:
        """The lines that move the weights."""
        if self.step == "train_step":
            return []
        clip = []
        if self.clip_grad_norm is not None:
            held = (
                "optimizer.param_groups"
                if self.n_optimizers == 1
                else "(g for o in optimizers for g in o.param_groups)"
            )
            parameters = f"[p for group in {held} for p in group['params']]"
            clip = [f"torch.nn.utils.clip_grad_norm_({parameters}, {self.clip_grad_norm!r})"]
        if self.amp != "fp16":
            return [*clip, self.each("{}.step()")]
        # The scaler refuses an optimizer whose groups are all frozen.
        has_gradients = 'any(p.grad is not None for g in o.param_groups for p in g["params"])'
        moving = [f"moving = [o for o in optimizers if {has_gradients}]"] if self.n_optimizers > 1 else []
        unscale = [self.each("scaler.unscale_({})", "moving")] if clip else []
        step = self.each("scaler.step({})", "moving")
        return ["scale = scaler.get_scale()", *moving, *unscale, *clip, step, "scaler.update()"]

    def each(self, act: str, those: str = "optimizers") -> str:
        """One line that does something with the optimizer, or with each of `those`."""
        return act.format("optimizer") if self.n_optimizers == 1 else f"[{act.format('o')} for o in {those}]"


def program(plan: "Plan", how: StepSource | None = None) -> str:
    """Source of a plain PyTorch training loop that takes every optimizer step with the plan's LRs, to the last bit.

    It is torch's own scheduler and the loop everyone knows where `OneCycleLR` can say the plan and momentum is left
    alone; else the schedule is written out as a function of the step. It runs `total_steps` optimizer steps, no more.
    """
    how = how or StepSource()
    arguments = plan.one_cycle_lr()
    if arguments is not None and plan.cycles[0].momentum is None and how.n_optimizers == 1:
        freeze = _freeze_source(plan, "optimizer.param_groups")
        schedule, before, after = _one_cycle_source(arguments, freeze), "", "scheduler.step()"
        imports = "import torch\n" if how.amp or how.clip_grad_norm is not None or freeze else ""
    else:
        schedule, before, after = _written_out(plan, how.n_optimizers > 1), "set_step(step)", ""
        imports = ""
    window = "from itertools import islice\n" if how.accumulate > 1 else ""
    return f"{how.yours(plan.names)}{window}{imports}{schedule}\n{how.setting()}{how.loop(before, after)}"


def _one_cycle_source(arguments: dict[str, Any], freeze: str) -> str:
    max_lrs, total_steps = arguments.pop("max_lr"), arguments.pop("total_steps")
    max_lr = max_lrs[0] if len(max_lrs) == 1 else max_lrs
    keywords = "".join(f"    {name}={value!r},\n" for name, value in arguments.items())
    return (
        f"from torch.optim.lr_scheduler import OneCycleLR\n{freeze}\n"
        f"total_steps = {total_steps}\nmax_lr = {max_lr}\n"
        "scheduler = OneCycleLR(\n    optimizer,\n    max_lr,\n    total_steps=total_steps,\n"
        f"{keywords}    cycle_momentum=False,  # the optimizer keeps its own\n)\n"
    )


def _written_out(plan: "Plan", several: bool) -> str:
    starts = plan.starts()
    source = f"import math\n\nimport torch\n\ntotal_steps = {plan.total_steps}\n"
    held = "optimizer.param_groups"
    if several:
        held = "param_groups"
        source += "param_groups = [group for optimizer in optimizers for group in optimizer.param_groups]\n"
    source += _freeze_source(plan, held)
    cycles = "".join(_cycle_source(cycle, f"cycle_{i}") for i, (_, cycle) in enumerate(starts, 1))
    source += "".join(text for curve, text in CURVES.items() if f"{curve}(" in cycles) + cycles
    return source + SET_STEP.format(
        held=held,
        freeze=SET_FROZEN if len({cycle.frozen for cycle in plan.cycles}) > 1 else "",
        values="\n".join(_values_source(plan)),
        momentum=SET_MOMENTUM if plan.cycles[0].momentum is not None else "",
    )


def _freeze_source(plan: "Plan", held: str) -> str:
    """What freezes groups: once for the whole program, or a table for `set_step` where it changes on the way."""
    still_CG = [list(cycle.frozen or (False,) * plan.n_groups) for cycle in plan.cycles]
    freezes_G = [any(still_C) for still_C in zip(*still_CG, strict=True)]
    spares_G = [any(spared_C) for spared_C in zip(*(cycle.spared() for cycle in plan.cycles), strict=True)]
    if not any(freezes_G):
        return ""
    whole_G = [frozen and not spared for frozen, spared in zip(freezes_G, spares_G, strict=True)]
    source = NORMS if any(spares_G) else ""
    source += WHOLE.format(held=held, flags=whole_G) if any(spares_G) and any(whole_G) else ""
    spared = " and id(p) not in norms" if any(spares_G) else ""
    if all(still_G == still_CG[0] for still_G in still_CG):
        return source + FROZEN.format(held=held, flags=freezes_G, spared=spared)
    rows = (f"    {first}: {still_G}," for (first, _), still_G in zip(plan.starts(), still_CG, strict=True))
    return source + FREEZABLE.format(held=held, spared=spared) + FROZEN_AT.format(table="\n".join(rows))


def _cycle_source(cycle: Cycle, name: str) -> str:
    """One cycle as a function of its step and of the values between which it moves."""
    levels = ("start", "peak", "final") if cycle.phases == 2 else ("start", "peak", "start", "final")
    lines = [f"def {name}(step, start, peak, final):"]
    begin = 0.0
    for i, end in enumerate(cycle.phase_ends()):
        if begin < end:
            since = f"(step - {begin})" if begin else "step"
            value = f"{cycle.phase_anneal(i)}({levels[i]}, {levels[i + 1]}, {since} / {end - begin})"
        else:
            value = levels[i + 1]
        if end >= cycle.steps - 1:  # no step comes behind
            break
        lines += [f"    if step <= {end}:", f"        return {value}"]
        begin = end
    return "\n\n" + "\n".join([*lines, f"    return {value}"]) + "\n"


def _values_source(plan: "Plan") -> Iterator[str]:
    """Lines that find the LRs and the momentum of a step, cycle by cycle."""
    *_, (last, _) = plan.starts()
    for i, (first, cycle) in enumerate(plan.starts(), 1):
        step = f"step - {first}" if first else "step"
        indent = "    "
        if last:
            end = first + cycle.steps
            yield f"    {'else' if first == last else f'elif step < {end}' if first else f'if step < {end}'}:"
            indent *= 2
        final = (
            f"lr / {cycle.div} / {cycle.div_final}" if cycle.div_final_of == "initial" else f"lr / {cycle.div_final}"
        )
        yield f"{indent}max_lrs = {list(cycle.max_lrs)}"
        yield f"{indent}lrs = [cycle_{i}({step}, lr / {cycle.div}, lr, {final}) for lr in max_lrs]"
        if cycle.momentum is not None:
            low, high = cycle.momentum
            yield f"{indent}momentum = cycle_{i}({step}, {high}, {low}, {high})"
