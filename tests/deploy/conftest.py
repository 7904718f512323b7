"""Tests of the image take minutes, so they run only with UPSELL_TEST_IMAGE=1. Otherwise they are deselected; a skip would mean that a program is missing."""

import os

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if os.environ.get("UPSELL_TEST_IMAGE") == "1":
        return
    left_out = [item for item in items if item.get_closest_marker("image")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]
