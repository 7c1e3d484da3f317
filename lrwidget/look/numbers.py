"""Numbers as they are read: counts, losses, times. LRs are `lrwidget.engine.words.format_lr`."""

import math

THIN_SPACE = "\u2009"


def format_count(count: int) -> str:
    """A number of parameters, at three digits or so.

    >>> [format_count(n) for n in (640, 9408, 123456, 11_200_000, 7_000_000_000)]
    ['640', '9\u2009408', '123\u2009k', '11.2\u2009M', '7\u2009B']
    """
    if count < 1000:
        return str(count)
    if count < 10_000:
        return f"{count // 1000}{THIN_SPACE}{count % 1000:03d}"
    size, letter = next((size, letter) for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")) if count >= size)
    share = count / size
    return f"{share:.0f}{THIN_SPACE}{letter}" if share >= 100 else f"{share:.3g}{THIN_SPACE}{letter}"


def format_loss(loss: float) -> str:
    """A loss at four digits; an en dash where there is none yet.

    >>> format_loss(1.82654), format_loss(math.nan)
    ('1.827', '–')
    """
    return f"{loss:.4g}" if math.isfinite(loss) else "–"


def format_seconds(seconds: float) -> str:
    """Minutes and seconds.

    >>> format_seconds(4.2), format_seconds(3725)
    ('0:04', '1:02:05')
    """
    minutes, second = divmod(round(max(0.0, seconds)), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"
