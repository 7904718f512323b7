"""Tokens for OAUTHBEARER, from a file or a command."""

import shlex
import sys

import pytest

from stream.kafka.oauth import Authenticator, TokenCommand, TokenFile, TokenUnavailableError, token_source
from stream.settings import Settings

SASL = {"kafka_security_protocol": "SASL_SSL", "kafka_sasl_mechanism": "OAUTHBEARER"}


def python(code):
    """A command that runs this code."""
    return shlex.join([sys.executable, "-c", code])


async def test_the_file_is_read_again_for_each_connection(tmp_path):
    file = tmp_path / "token"
    file.write_text("first\n")
    source = token_source(Settings(kafka_oauth_token_file=file, **SASL))
    assert await source.token() == "first"
    file.write_text("second\n")
    assert await source.token() == "second"


@pytest.mark.parametrize(
    ("content", "says"),
    [("", "it is empty"), ("one two", "it must be the token alone"), ("one\ntwo", "it must be the token alone")],
)
async def test_a_file_without_a_token_is_an_error_that_names_the_setting(tmp_path, content, says):
    file = tmp_path / "token"
    file.write_text(content)
    with pytest.raises(TokenUnavailableError, match=f"^UPSELL_KAFKA_OAUTH_TOKEN_FILE: .*{says}"):
        await TokenFile(file).token()


async def test_a_file_that_has_gone_is_an_error_that_names_the_setting(tmp_path):
    with pytest.raises(TokenUnavailableError, match=r"^UPSELL_KAFKA_OAUTH_TOKEN_FILE: cannot read .*No such file"):
        await TokenFile(tmp_path / "gone").token()


async def test_the_command_is_run_for_each_connection_without_a_shell(tmp_path):
    runs = tmp_path / "runs"
    command = python(f"import sys; open({str(runs)!r}, 'a').write('x'); print('a-token', sys.argv[1:] == ['$HOME|;'])")
    source = token_source(Settings(kafka_oauth_token_command=f"{command} '$HOME|;'", **SASL))
    for _ in range(2):
        with pytest.raises(TokenUnavailableError, match="token alone") as error:  # because it printed two words
            await source.token()
        assert "a-token" not in str(error.value)
    assert runs.read_text() == "xx"
    assert await TokenCommand(python("print('a-token')")).token() == "a-token"


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (python("print()"), "there is no token"),
        (python("import sys; print('secret'); sys.exit('who are you?')"), "ended with status 1: who are you?"),
        ("nowhere-to-be-found", "cannot start nowhere-to-be-found: No such file or directory"),
        (python("import time; time.sleep(600)"), "did not end within 0.5 s"),
    ],
)
async def test_a_command_that_fails_is_an_error_that_names_the_setting(command, says):
    with pytest.raises(TokenUnavailableError, match=r"^UPSELL_KAFKA_OAUTH_TOKEN_COMMAND: ") as error:
        await TokenCommand(command, timeout=0.5 if "sleep" in command else 60.0).token()
    assert says in str(error.value)
    assert "secret" not in str(error.value)


async def test_an_answer_of_kafka_to_a_token_is_a_refusal():
    """aiokafka takes it for consent. The answer to the byte is then an error with Kafka's words."""
    accepted, refused = (Authenticator(sasl_oauth_token_provider=TokenCommand(python("print(1)"))) for _ in range(2))
    for authenticator in (accepted, refused):
        assert await authenticator.step(None) == (b"n,,\x01auth=Bearer 1\x01\x01", True)
    assert await accepted.step(b"") is None
    assert await refused.step(b'{"status":"invalid_token"}') == (b"\x01", True)
