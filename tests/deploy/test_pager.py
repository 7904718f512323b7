"""The simulation of the alerts follows the rules, and the figures of docs/explanation/pager.md hold for a few shops."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from deploy.generate.recording import Z

ROOT = Path(__file__).parents[2]
_spec = importlib.util.spec_from_file_location("pager", ROOT / "bench" / "pager" / "pager.py")
pager = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(pager)


@pytest.fixture(autouse=True)
def _no_sales_no_rate():
    with np.errstate(divide="ignore", invalid="ignore"):
        yield


def test_a_quiet_month_pages_nobody():
    rng = np.random.default_rng(3)
    for per_hour in (5, 20, 50):
        trials, successes = pager.shops(rng, 8, per_hour, 32)
        low = pager.below_target(trials, successes, 0.9 * pager.RATE, Z)
        assert pager.pages(low, 2 * pager.DAY).sum() == 0


@pytest.mark.parametrize(("per_hour", "factor"), [(50, 2 / 3), (20, 0.5)])
def test_a_fall_pages_everybody_within_a_day(per_hour, factor):
    since = 2 * pager.DAY + 8 * pager.HOUR
    trials, successes = pager.shops(np.random.default_rng(3), 20, per_hour, 5, factor=factor, since=since)
    hours = pager.hours_to_page(pager.below_target(trials, successes, 0.95 * pager.RATE, Z), since)
    assert hours.max() <= 24


def test_the_bound_is_the_rate_that_just_explains_what_was_seen():
    trials, successes = np.array([[7, 50, 500, 3]]), np.array([[1, 5, 125, 0]])
    bound = pager.upper(successes, trials, Z)
    assert np.allclose(bound - successes / trials, Z * np.sqrt(bound * (1 - bound) / trials))
