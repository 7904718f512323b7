import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
SKIPS = """
import pytest
from support.programs import program_or_skip

def test_skips_itself():
    pytest.skip("not installed here\\nand more about that")

@pytest.mark.parametrize("number", range(3))
def test_needs_a_program(number):
    program_or_skip("no-such-program", "its-package")

@pytest.mark.xfail(strict=True)
def test_fails_as_expected():
    assert not "expected"
"""
SKIPPED_MODULE = "import pytest; pytest.importorskip('no_such_package_anywhere')"
SUMMARY = (
    "5 tests skipped. 3: no-such-program is missing (apt-get install its-package); 1: not installed here; "
    "1: could not import 'no_such_package_anywhere': No module named 'no_such_package_anywhere'"
)


def run(directory, *options, required):
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "conftest", "-p", "no:cacheprovider", "-c", "/dev/null",
         "--rootdir", directory, "--continue-on-collection-errors", *options, directory],
        env=os.environ | {"UPSELL_TESTS_REQUIRE_ALL": required, "PYTHONPATH": str(TESTS), "PYTEST_ADDOPTS": ""},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture
def skipping(tmp_path):
    """A directory of tests, most of which are skipped."""
    (tmp_path / "test_skips.py").write_text(SKIPS)
    (tmp_path / "test_module.py").write_text(SKIPPED_MODULE)
    (tmp_path / "test_fine.py").write_text("def test_runs(): pass")
    return tmp_path


@pytest.mark.parametrize("options", [(), ("-q",), ("-n", "2", "--dist", "loadgroup")], ids=" ".join)
def test_the_last_line_says_what_is_missing_and_how_to_install_it(options, skipping):
    done = run(skipping, *options, required="0")
    *_, last = done.stdout.splitlines()
    assert sorted(last.split("; ")) == sorted(SUMMARY.split("; ")), done.stdout + done.stderr
    assert done.returncode == 0


def test_nothing_is_said_of_skips_when_there_are_none(tmp_path):
    (tmp_path / "test_fine.py").write_text("def test_runs(): pass")
    assert "skipped" not in run(tmp_path, required="0").stdout


@pytest.mark.parametrize(
    ("required", "status", "says"),
    [("0", 0, "1 passed, 5 skipped, 1 xfailed"), ("1", 1, "4 failed, 1 passed, 1 xfailed, 1 error")],
)
def test_a_skip_fails_where_everything_is_required(required, status, says, skipping):
    done = run(skipping, "-rs", required=required)
    assert says in done.stdout, done.stdout + done.stderr
    assert done.returncode == status
    assert "not installed here" in done.stdout
