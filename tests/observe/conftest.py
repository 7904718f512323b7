"""What serves runs here on the loop that it has in a worker: asyncio's own (3.11) loses a connection that arrives while its server is closed."""

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop

_CLIENTS = {"test_five_hundred_slow_clients_do_not_block_others"}
"""Has hundreds of clients in the same loop, which uvloop closes late, and waits until nothing is left open."""


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"own": asyncio.new_event_loop} if item.name in _CLIENTS else {"uvloop": uvloop.new_event_loop}
