"""What `make generate` makes is current, and `--check` finds what is not."""

import subprocess
import sys
from pathlib import Path

import pytest

from docs.generate import __main__ as generate
from docs.generate import alerts, configuration, metrics, schemas
from docs.generate.page import with_sections

ROOT = Path(__file__).parents[1]


def test_the_generated_documentation_is_current():
    checked = subprocess.run(
        [sys.executable, "-m", "docs.generate", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.fixture
def copy(monkeypatch, tmp_path):
    """A copy of the generated files, current."""
    monkeypatch.setattr("docs.generate.__main__.ROOT", tmp_path)
    for module, name in ((configuration, "PAGE"), (metrics, "PAGE"), (schemas, "FOLDER")):
        monkeypatch.setattr(module, name, tmp_path / getattr(module, name).name)
    monkeypatch.setattr(alerts, "PAGE", tmp_path / "README.md")
    (tmp_path / "README.md").write_text("<!-- alerts -->\n<!-- /alerts -->\n")
    (tmp_path / "configuration.md").write_text("<!-- settings -->\n<!-- /settings -->\n")
    (tmp_path / "metrics.md").write_text(
        "".join(f"<!-- {x} -->\n<!-- /{x} -->\n" for x in ("reasons", "kpis", "amounts", "global", "worker"))
    )
    (tmp_path / "events").mkdir()
    generate.main([])
    generate.main(["--check"])
    return tmp_path


@pytest.mark.parametrize(
    "name", ["README.md", "configuration.md", "metrics.md", "events/commerce.sale.judged.v1.schema.json"]
)
def test_a_stale_file_is_named(copy, name):
    path = copy / name
    path.write_text(path.read_text(encoding="utf-8").replace("upsell", "ups"), encoding="utf-8")
    with pytest.raises(SystemExit, match=f"make generate.*\n  {name}$"):
        generate.main(["--check"])
    generate.main([])
    generate.main(["--check"])


def test_the_schema_of_a_type_that_no_longer_exists_is_removed(copy):
    old = copy / "events" / "old.schema.json"
    old.write_text("{}")
    with pytest.raises(SystemExit, match=r"old\.schema\.json"):
        generate.main(["--check"])
    generate.main([])
    assert not old.exists()


def test_a_page_without_the_section_is_refused():
    with pytest.raises(ValueError, match="no section settings"):
        with_sections("# Configuration\n", {"settings": ""})
