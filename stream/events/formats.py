"""Formats that are not JSON, recognised by their first bytes: what wrote the value, and what to change in the producer.

Rules: only a value that could not be decoded as JSON is looked at, so a wrong guess can refuse nothing.
"""

from collections.abc import Iterable, Mapping
from typing import Final

_PLAIN: Final = "Send plain JSON, for example with StringSerializer or with JsonConverter and schemas.enable=false"

_FORMATS: Final[Mapping[bytes, str]] = {
    b"\xef\xbb\xbf": "a byte order mark is before the JSON. Write UTF-8 without it (in Python utf-8, not utf-8-sig)",
    b"\xff\xfe": "this looks like UTF-16. Write UTF-8",
    b"\xfe\xff": "this looks like UTF-16. Write UTF-8",
    b"{\0": "this looks like UTF-16. Write UTF-8",
    b"\0{\0": "this looks like UTF-16. Write UTF-8",
    b"\x1f\x8b": "this looks like gzip. Let the producer compress (compression.type=gzip), not the application",
    b"\x28\xb5\x2f\xfd": "this looks like zstd. Let the producer compress (compression.type=zstd), not the application",
    b"Obj\x01": f"this looks like an Avro file. {_PLAIN}",
    b"\xc3\x01": f"this looks like Avro (single object encoding). {_PLAIN}",
    b"\x03\x00": f"this looks like a serialiser of the AWS Glue schema registry. {_PLAIN}",
    b"\x03\x05": f"this looks like a serialiser of the AWS Glue schema registry. {_PLAIN}",
    b"\xac\xed\x00\x05": f"this looks like a serialised Java object. {_PLAIN}",
    b"\x80\x04": "this looks like a Python pickle. Send json.dumps(event).encode()",
    b"\x80\x05": "this looks like a Python pickle. Send json.dumps(event).encode()",
}
"""By the bytes at the beginning."""

_SCHEMA_ID_HEADERS: Final = ("__value_schema_id", "apicurio.value.globalId", "apicurio.value.contentId")


def recognise(value: bytes, headers: Iterable[str] = ()) -> str | None:
    """What a value that is no JSON probably is, and what to do; None if it is not recognised. `headers`: the names of the record's headers."""
    for start, text in _FORMATS.items():
        if value.startswith(start):
            return text
    if value[0] == 0 and len(value) > _CONFLUENT:
        # Magic byte 0, then the schema id in 4 bytes: https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/#wire-format
        number = int.from_bytes(value[1:_CONFLUENT])
        kind = "JSON Schema" if value[_CONFLUENT : _CONFLUENT + 1] == b"{" else "Avro or Protobuf"
        return f"the value begins with the magic byte 0 and the schema id {number}: a serialiser of a schema registry wrote it ({kind}). {_PLAIN}"
    if _is_protobuf(value):
        return f"this looks like Protobuf. {_PLAIN}"
    if any(name in _SCHEMA_ID_HEADERS for name in headers):
        return f"its headers name a schema: a serialiser of a schema registry wrote it (Avro or Protobuf). {_PLAIN}"
    return None


def _is_protobuf(value: bytes) -> bool:
    """Whether the value begins with two texts or messages, the fields 1 and 2. So does a CloudEvent in Protobuf: `id` and `source`."""
    second = value[1] + 2 if len(value) > 1 else 0
    return value[0] == _FIELD_1 and second < len(value) and value[second] == _FIELD_2


_CONFLUENT = 5
_FIELD_1, _FIELD_2 = 0x0A, 0x12
"""Tags of Protobuf: number of the field, and the wire type `LEN`."""
