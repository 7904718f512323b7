"""What a person reads in a worker's log while Kafka is down."""

import asyncio
import json

import pytest
from support.workers import LIMIT, group

from stream.embedded.server import HOST


@pytest.mark.embedded
@pytest.mark.parametrize("log_format", ["text", "json"])
async def test_the_line_that_says_what_to_do_is_not_lost_among_the_clients_errors(
    embedded_valkey, name_prefix, tmp_path, log_format
):
    attempts = 0

    def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal attempts
        attempts += 1
        writer.close()

    async with await asyncio.start_server(refuse, HOST, 0) as listener:
        server = f"{HOST}:{listener.sockets[0].getsockname()[1]}"
        with group(server, embedded_valkey.url, name_prefix, tmp_path, log_format=log_format) as workers:
            worker = workers.start()
            async with asyncio.timeout(LIMIT):
                while attempts < 20:  # noqa: ASYNC110 - a refused connection has no event
                    await asyncio.sleep(0.1)
            await workers.until_said(worker, "waiting for Kafka: it closes the connection")
            assert await worker.stop() == 0
    lines = worker.said.splitlines()
    assert 1 <= sum("aiokafka" in line for line in lines) < 10
    assert sum("waiting for Kafka" in line for line in lines) == 1
    if log_format == "json":
        assert {"time", "level", "logger", "message"} <= set.intersection(*(set(json.loads(line)) for line in lines))
