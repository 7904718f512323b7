import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
SKIPS = """
import pytest

def test_skips_itself():
    pytest.skip("not installed here")

@pytest.mark.xfail(strict=True)
def test_fails_as_expected():
    assert not "expected"
"""
SKIPPED_MODULE = "import pytest; pytest.importorskip('no_such_package_anywhere')"


@pytest.mark.parametrize(
    ("required", "status", "says"),
    [("0", 0, "1 passed, 2 skipped, 1 xfailed"), ("1", 1, "1 failed, 1 passed, 1 xfailed, 1 error")],
)
def test_a_skip_fails_where_everything_is_required(required, status, says, tmp_path):
    (tmp_path / "test_skips.py").write_text(SKIPS)
    (tmp_path / "test_module.py").write_text(SKIPPED_MODULE)
    (tmp_path / "test_fine.py").write_text("def test_runs(): pass")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "conftest", "-p", "no:cacheprovider", "-c", "/dev/null",
         "--rootdir", tmp_path, "--continue-on-collection-errors", "-rs", tmp_path],
        env=os.environ | {"UPSELL_TESTS_REQUIRE_ALL": required, "PYTHONPATH": str(TESTS), "PYTEST_ADDOPTS": ""},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert says in run.stdout, run.stdout + run.stderr
    assert run.returncode == status
    assert "not installed here" in run.stdout
