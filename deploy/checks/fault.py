"""Faults that are planted to see that a check finds them."""


def planted(text, name, right, wrong):
    """`text` with one fault. What it is planted for has to be there: a fault that is nowhere is found by nobody."""
    assert right in text, f"{name} has no {right!r}"
    return text.replace(right, wrong, 1)
