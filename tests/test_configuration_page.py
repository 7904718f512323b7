"""The examples in docs/reference/configuration.md work."""

import re
import tomllib
from pathlib import Path

import pytest

from stream.settings import WrongSettingsError, load

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "configuration.md"


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
