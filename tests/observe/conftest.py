"""These tests run on uvloop, as workers do: the event loop of asyncio (3.11) loses a connection that arrives while its server is being closed."""

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop

_CLIENTS = {"test_five_hundred_slow_clients_do_not_block_others"}
"""With hundreds of clients in the same loop, uvloop closes connections late, but the test waits until none is open."""


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"own": asyncio.new_event_loop} if item.name in _CLIENTS else {"uvloop": uvloop.new_event_loop}
