"""Errors of Kafka as people read them."""

import pytest
from aiokafka import errors

from stream.kafka.errors import in_words


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (errors.KafkaConnectionError("Connection at h:1 closed"), "Connection at h:1 closed (KafkaConnectionError)"),
        (errors.GroupCoordinatorNotAvailableError(), "(GroupCoordinatorNotAvailableError)"),
        (errors.UnknownError(), "only the log of the broker has (UnknownError)"),
        (errors.KafkaTimeoutError(), "Kafka does not answer in time"),
        (TimeoutError(), "Kafka does not answer in time"),
        (ConnectionRefusedError(111, "Connection refused"), "Connection refused (ConnectionRefusedError)"),
        (errors.NoBrokersAvailable(), "(NoBrokersAvailable)"),
    ],
)
def test_an_error_is_words_and_its_name(error, words):
    said = in_words(error)
    assert said.endswith(words)
    assert "()" not in said
    assert "[Error" not in said
    assert len(said.split()) > 2


@pytest.mark.parametrize(
    "kind", [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.KafkaError)]
)
def test_every_error_of_the_client_has_words(kind):
    said = in_words(kind())
    assert said.partition(" (")[0]
    assert "\n" not in said
