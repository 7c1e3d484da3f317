"""How numbers are written in sentences, on the screen and in pictures alike."""


def format_lr(lr: float) -> str:
    """The one way in which learning rates are written: two digits, as precise as a range test is, and no idle zeros.

    >>> [format_lr(lr) for lr in (1e-7, 3.14159e-5, 0.00054, 0.01, 0.996, 10, 123.0, 2e6)]
    ['1e-7', '3.1e-5', '0.00054', '0.01', '1', '10', '120', '2e6']
    """
    mantissa, _, exponent = f"{float(f'{lr:.1e}'):g}".partition("e")
    return f"{mantissa}e{int(exponent)}" if exponent else mantissa
