"""How much work a function does, counted and not timed: the lines of Python it runs, each round of a loop included."""

import sys


def steps(function):
    """The lines of Python that `function()` runs."""
    counted = 0

    def trace(frame, event, arg):
        nonlocal counted
        counted += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(before)
    return counted
