"""docs/reference/configuration.md: its table is current, and what it shows works."""

import re
import tomllib
from pathlib import Path

import pytest

from stream.cli.reference import renewed
from stream.settings import WrongSettingsError, load

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "configuration.md"


def test_the_table_is_current():
    page = PAGE.read_text(encoding="utf-8")
    assert page == renewed(page), "run: python -m stream.cli.reference docs/reference/configuration.md"


def test_a_page_without_a_place_for_the_table_is_refused():
    with pytest.raises(ValueError, match="no place"):
        renewed("# Configuration\n")


def shown(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("text", shown("toml"))
def test_every_file_that_is_shown_is_allowed(text, tmp_path):
    for name in re.findall(r'"/run/secrets/([a-z-]+)"', text):
        (tmp_path / name).write_text("secret", encoding="utf-8")
    config = tmp_path / "upsell.toml"
    config.write_text(text.replace("/run/secrets/", f"{tmp_path}/"), encoding="utf-8")
    settings = load({}, config)
    assert {*tomllib.loads(text)} <= settings.model_fields_set


@pytest.mark.parametrize("text", shown("sh"))
def test_every_variable_that_is_shown_is_allowed(text, monkeypatch):
    name, _, value = text.strip().partition("=")
    monkeypatch.setenv(name, value.strip("'"))
    assert name.removeprefix("UPSELL_").lower() in load().model_fields_set
    monkeypatch.setenv(name, value.strip("'") + "?")
    with pytest.raises(WrongSettingsError, match=name):
        load()
