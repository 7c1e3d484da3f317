"""Colours of the param groups, which people with any colour vision tell apart."""

GROUP_COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#B2A100")
"""Okabe and Ito's palette, which people with any colour vision tell apart; its yellow darkened to be seen on white."""
GRADED = ("#6A5ACD", "#3F7FD0", "#2492AE", "#2F9B84", "#64A14E", "#9C9E2E", "#C89524", "#DE7F2A")
"""For more groups than those: blue to orange by way of green, read on white and on black; who sees no green sees it
go from blue to yellow."""


def group_color(index: int, count: int = 0) -> str:
    """The colour of a param group, in optimizer order.

    Args:
        index: which group.
        count: how many there are; more than the palette has are graded from the first to the last.

    >>> group_color(0), group_color(0, 30), group_color(29, 30)
    ('#0072B2', '#6A5ACD', '#DE7F2A')
    """
    if count <= len(GROUP_COLORS):
        return GROUP_COLORS[index % len(GROUP_COLORS)]
    where = index / (count - 1) * (len(GRADED) - 1)
    first = min(int(where), len(GRADED) - 2)
    ends = (bytes.fromhex(color[1:]) for color in GRADED[first : first + 2])
    mixed = (round(a + (b - a) * (where - first)) for a, b in zip(*ends, strict=True))
    return "#" + "".join(f"{part:02X}" for part in mixed)
