"""Dead letters of a running worker say what the producer did wrong, on real Kafka and Redis."""

import asyncio
import json
import re

import pytest
from aiokafka import AIOKafkaProducer
from support import traffic
from support.sent_events import binary, encoded, event
from support.workers import LIMIT, group, read_topic

WHOLE = event("order.completed")
DASHED = [(name.replace("ce_", "ce-"), value) for name, value in binary(WHOLE).headers]


@pytest.mark.kafka
@pytest.mark.redis
async def test_a_dead_letter_names_what_was_meant(kafka, redis_server, name_prefix, tmp_path):
    sent = [
        # key, value, headers, reason, text
        (None, encoded(WHOLE), [], "no_key", "the record has no key, and require_key is on: send the customer_id as key"),
        (b"", encoded(WHOLE), [], "no_key", "the record has no key"),
        (b"k", binary(WHOLE).value, DASHED, "not_cloudevent", "the header 'ce-specversion': in Kafka the headers are ce_"),
        (b"k", encoded(WHOLE | {"type": "order.completed"}), [], "unknown_type", "did you mean commerce.order.completed.v1?"),
        (b"k", b"\0\0\0\0\x2a\x02c1\xff", [], "not_json", "the magic byte 0 and the schema id 42"),
        (
            b"k",
            json.dumps(WHOLE).replace('"products"', '"lineItems"').encode(),
            [],
            "invalid",
            "there is 'lineItems': did you mean products?",
        ),
    ]  # fmt: skip
    with group(kafka.bootstrap_servers, redis_server.url, name_prefix, tmp_path, require_key=True) as workers:
        worker = await workers.begin(traffic.checkouts(5))
        async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers) as producer:
            for key, value, headers, *_ in sent:
                await producer.send_and_wait(workers.settings.checkout_topic, value, key=key, headers=headers)
        letters = []
        async with asyncio.timeout(LIMIT):
            while len(letters) < len(sent):
                workers.check()
                await asyncio.sleep(0.2)
                letters = await read_topic(kafka.bootstrap_servers, workers.settings.dead_letter_topic)
            metrics = ""
            while "no_key" not in metrics:
                await asyncio.sleep(0.2)
                metrics = await worker.get("/metrics")
        await workers.applied()
    found = sorted((dict(letter.headers)["upsell-reason"].decode(), letter.value) for letter in letters)
    assert found == sorted((reason, value) for _, value, _, reason, _ in sent)
    texts = [dict(letter.headers)["upsell-error"].decode() for letter in letters]
    for *_, says in sent:
        assert any(says in text for text in texts), says
    assert re.search(r'^upsell_dead_letters_total\{reason="no_key"\} 2\.0$', metrics, re.MULTILINE)
