"""Records with headers that no UTF-8 names, among others, compressed and not."""

import gzip
import struct

import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

from stream.consumer.record_batches import Records

HEAD, CODEC, CHECKSUM, CHECKED = 61, 22, 17, 21
"""Where a batch's records begin, and in its head the codec, the checksum, and what that is of."""


def build(headers, *, compressed=False):
    """A batch of records with one header each, by these names; of `HEADER` the first letters become bytes that are no UTF-8."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, 0, 1_000_000)
    for number, name in enumerate(headers):
        builder.append(number, 1000 + number, b"key", b"value %d" % number, [(name, b"header")])
    whole = bytes(builder.build())
    records = whole[HEAD:].replace(b"HEADER", b"\xff\xfeADER")
    if compressed:
        records = gzip.compress(records)
    made = bytearray(whole[:HEAD] + records)
    made[8:12] = struct.pack(">i", len(made) - 12)
    made[CODEC] |= 1 if compressed else 0
    made[CHECKSUM:CHECKED] = struct.pack(">I", calc_crc32c(bytes(made[CHECKED:])))
    return bytes(made)


@pytest.mark.parametrize("compressed", [False, True])
def test_a_header_whose_name_is_no_utf_8_fails_nothing(compressed):
    names = ["ce_id", "HEADER", "läden", "HEADER", "ce_id"]
    data = build(names, compressed=compressed) + build(["ce_id"] * 2)
    records = Records(data)
    read = []
    while records.has_next():
        one = records.next_batch()
        assert one.validate_crc()
        assert (one.is_control_batch, one.is_transactional) == (False, False)
        read += [(record.offset, record.value, record.headers) for record in one]
    odd = "\\xff\\xfeADER"
    assert [headers[0][0] for _, _, headers in read] == ["ce_id", odd, "läden", odd, "ce_id", "ce_id", "ce_id"]
    assert [value for _, value, _ in read] == [b"value %d" % number for number in (0, 1, 2, 3, 4, 0, 1)]
    assert records.next_batch() is None
