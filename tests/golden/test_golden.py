"""A fixed log gives the same bytes as ever: write sets, outcomes, dead letters.

The log, the digests and the stored shards were made once, before the core was taken apart, by `python -m golden` (tests/golden/__main__.py).
A change that is meant to alter what is stored or published makes them again, and says so in its commit.
"""

import pytest
from golden.driver import run
from golden.files import HALF, SIZES, expected, log, stored


@pytest.mark.parametrize("size", SIZES)
def test_the_log_gives_the_same_bytes(size):
    assert run(log(), size) == expected()["whole"][str(size)]


def test_what_an_earlier_version_stored_is_read_on():
    records = log()
    assert run(records[HALF:], 37, stored()) == expected()["second half"]
