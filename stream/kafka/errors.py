"""Errors of Kafka and its client in words, for log lines and messages that people read."""

from aiokafka.errors import BrokerResponseError, KafkaTimeoutError, RequestTimedOutError, UnknownError


def in_words(error: BaseException) -> str:
    """What happened, in one line. Ends with the error's name, which Kafka's documentation and logs use."""
    said = _said(error)
    if isinstance(error, TimeoutError | KafkaTimeoutError | RequestTimedOutError):
        return said or "Kafka does not answer in time"
    if isinstance(error, UnknownError):
        said = said or "Kafka reports an error without its reason, which only the log of the broker has"
    elif isinstance(error, BrokerResponseError):
        said = said or error.description.rstrip(".") or "Kafka reports an error"
    return f"{said or 'no reason is given'} ({type(error).__name__})"


def _said(error: BaseException) -> str:
    text = error.strerror if isinstance(error, OSError) else error.args[0] if error.args else None
    return " ".join(str(text or "").split())
