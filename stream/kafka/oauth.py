"""Tokens for the SASL mechanism OAUTHBEARER, from a file or a command.

Rules: aiokafka asks for a token for each connection that it opens, so a renewed token is used without a restart. A token is never logged, and is in no error.
"""

from __future__ import annotations

import asyncio
import shlex
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aiokafka import conn
from aiokafka.abc import AbstractTokenProvider

from stream.settings import secret_in, variable

if TYPE_CHECKING:
    from pathlib import Path

    from stream.settings import Settings

COMMAND_TIMEOUT: Final = 10.0
"""Seconds until a command must have printed the token. Connecting waits for it, and Kafka closes a connection that does not authenticate soon."""
_LONGEST_ERROR: Final = 200
_FILE: Final = variable("kafka_oauth_token_file")
_COMMAND: Final = variable("kafka_oauth_token_command")


class TokenUnavailableError(OSError):
    """There is no token to send. The message names the setting. aiokafka treats an `OSError` as a connection that failed, and tries again."""


def token_source(settings: Settings) -> TokenFile | TokenCommand:
    """Where the settings say that tokens come from."""
    conn.OAuthAuthenticator = Authenticator  # aiokafka has no setting for it
    if settings.kafka_oauth_token_file is not None:
        return TokenFile(settings.kafka_oauth_token_file)
    assert settings.kafka_oauth_token_command is not None  # the settings ensure that there is one
    return TokenCommand(settings.kafka_oauth_token_command)


class Authenticator(conn.OAuthAuthenticator):  # type: ignore[misc]  # aiokafka has no types
    """aiokafka's, which takes every answer of Kafka for consent; each request after a refusal would then fail in its own way."""

    async def step(self, payload: bytes | None) -> tuple[bytes, bool] | None:
        """Return what to send next, or None when Kafka has accepted the token. `payload` is Kafka's last answer."""
        if payload:  # why it refuses; it then expects this byte, and fails the authentication (RFC 7628, 3.2.3)
            return b"\x01", True
        answer: tuple[bytes, bool] | None = await super().step(payload)
        return answer


@dataclass(frozen=True)
class TokenFile(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka has no types
    """A file that somebody else keeps up to date."""

    file: Path

    async def token(self) -> str:
        """What the file contains now.

        Raises:
            TokenUnavailableError: it cannot be read, or is empty.
        """
        try:
            return _usable(await asyncio.to_thread(secret_in, self.file), _FILE)
        except TokenUnavailableError:
            raise
        except OSError as error:
            raise TokenUnavailableError(f"{_FILE}: cannot read {self.file}: {error.strerror or error}") from None


@dataclass(frozen=True)
class TokenCommand(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka has no types
    """A program that prints a token, run without a shell."""

    command: str
    timeout: float = COMMAND_TIMEOUT

    async def token(self) -> str:
        """What the program prints now.

        Raises:
            TokenUnavailableError: it cannot be started, fails, takes too long, or prints nothing.
        """
        # In a thread, because Faust's consumer runs in an event loop of its own, in which no processes can be started.
        return await asyncio.to_thread(self._run)

    def _run(self) -> str:
        program, *arguments = shlex.split(self.command)
        try:
            ended = subprocess.run(  # noqa: S603 - the operator's own command
                [program, *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=self.timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise TokenUnavailableError(
                f"{_COMMAND}: {program} did not end within {self.timeout:g} s; it must print a token and end"
            ) from None
        except OSError as error:
            raise TokenUnavailableError(
                f"{_COMMAND}: cannot start {program}: {error.strerror or error}; give a program that is installed where upsell-stream runs"
            ) from None
        if ended.returncode:
            last = (ended.stderr.strip().splitlines() or ["it printed no error"])[-1][:_LONGEST_ERROR]
            raise TokenUnavailableError(f"{_COMMAND}: {program} ended with status {ended.returncode}: {last}")
        return _usable(ended.stdout.strip(), _COMMAND)


def _usable(token: str, setting: str) -> str:
    """The token, if it can be one: others would be sent as something else than a token."""
    if not token:
        raise TokenUnavailableError(f"{setting}: there is no token, only an empty answer")
    if not token.isascii() or not token.isprintable() or " " in token:
        raise TokenUnavailableError(f"{setting}: more than a token; it must be the token alone, in one line")
    return token
