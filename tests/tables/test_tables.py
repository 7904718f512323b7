"""What every kind of tables promises."""

import asyncio
import random

import msgspec
import pytest
from support.tables import NOW, SHARD, applied, commit, expired, loaded

from stream.core.shard.write_set import ShardId, Stored, StoredHistory
from stream.tables.interface import (
    EXPIRY_PARTS,
    WITHOUT_KEY,
    Claim,
    CommitResult,
    Halt,
    Owner,
    ShardHealth,
    TooLargeError,
)

ALL_BYTES = bytes(range(256))
EXACT = 2**53 - 1


async def test_a_new_shard_is_empty(tables):
    assert await tables.owners([SHARD]) == [Owner(None, 0, None)]
    assert await tables.claim(SHARD, b"a") == Claim(b"a", 1, None, Stored(None, {}), None)
    assert await loaded(tables, [b"e"], [b"c", b"d"]) == ([None], [None, None])
    assert await loaded(tables, [], []) == ([], [])
    assert await expired(tables, NOW, NOW) == (set(), set())
    assert await tables.owners([SHARD, ShardId("other", 0)]) == [Owner(b"a", 1, None), Owner(None, 0, None)]
    assert await tables.owners([]) == []
    assert await tables.summaries() == []


async def test_what_is_loaded_tells_whose_it_is(tables):
    claim = await tables.claim(SHARD, b"a")
    assert (await tables.load(SHARD, [b"e"], [])).owner == Owner(b"a", 1, None)
    await applied(tables, claim, None, 7, entities={b"e": b"1"})
    assert (await tables.load(SHARD, [b"e"], [])).owner == (await tables.load(SHARD, [], [])).owner
    assert [(await tables.load(SHARD, [b"e"], [])).owner] == await tables.owners([SHARD])


async def test_the_clock_counts_microseconds(tables):
    first = await tables.now()
    assert first >= NOW
    assert first <= await tables.now() < first + 600 * 1_000_000


async def test_a_claim_takes_the_shard_and_the_same_nonce_changes_nothing(backend, tables):
    other = backend.tables()
    first = await tables.claim(SHARD, b"a")
    await applied(tables, first, None, 7)
    second = await other.claim(SHARD, b"b")
    assert (second.epoch, second.offset, second.source) == (2, 7, b"source")
    before = await backend.copy()
    assert await other.claim(SHARD, b"b") == second
    assert await backend.copy() == before
    assert await tables.commit(commit(first, 7, 9)) is CommitResult.STOLEN
    assert await backend.copy() == before
    await applied(other, second, 7, 9)
    assert await tables.owners([SHARD]) == [Owner(b"b", 2, 9)]


async def test_what_is_committed_is_read_back(backend, tables):
    claim = await tables.claim(SHARD, b"a")
    records = {ALL_BYTES: ALL_BYTES, b"empty": b"", "käufer|1".encode(): b"\xc4\x00"}
    await applied(
        tables,
        claim,
        None,
        EXACT,
        state=ALL_BYTES,
        recent=ALL_BYTES,
        source=ALL_BYTES,
        panes=records,
        entities=records,
        customers=records,
    )
    reader = backend.tables()
    assert await loaded(reader, [b"empty", b"unknown", ALL_BYTES], ["käufer|1".encode(), b"empty"]) == (
        [b"", None, ALL_BYTES],
        [b"\xc4\x00", b""],
    )
    assert await reader.claim(SHARD, ALL_BYTES) == Claim(
        ALL_BYTES, 2, EXACT, Stored(ALL_BYTES, records, ALL_BYTES), ALL_BYTES
    )


async def test_state_and_summary_stay_where_none_are_given(backend, tables):
    claim = await tables.claim(SHARD, b"a")
    assert claim.stored == Stored(None, {}, None)
    await applied(tables, claim, None, 1, state=b"1", summary=b"2", recent=b"3")
    await applied(tables, claim, 1, 2, state=None, summary=None, recent=b"4")
    assert (await backend.tables().claim(SHARD, b"b")).stored == Stored(b"1", {}, b"4")
    assert [(each.summary, each.recent) for each in await tables.summaries()] == [(b"2", b"4")]


async def test_records_of_the_history_are_read_by_field_and_whole(tables):
    claim = await tables.claim(SHARD, b"a")
    assert await tables.load_history(SHARD, {"h:1": [ALL_BYTES]}) == {"h:1": [None]}
    fields = {ALL_BYTES: ALL_BYTES, b"empty": b"", b"gone": b"1"}
    await applied(tables, claim, None, 7, history={"h:1": fields, "d:2": {b"x": b"y"}})
    await applied(tables, claim, 7, 8, history={"h:1": {b"gone": None}}, recent=b"newer")
    assert await tables.load_history(SHARD, {"h:1": [b"gone", ALL_BYTES], "d:2": [b"x"]}) == {
        "h:1": [None, ALL_BYTES],
        "d:2": [b"y"],
    }
    other = ShardId("other", 0)
    assert await tables.history([SHARD, other], ["h:0", "h:1", "d:2"], 10_000) == [
        StoredHistory(SHARD, b"newer", b"state", {"h:1": {ALL_BYTES: ALL_BYTES, b"empty": b""}, "d:2": {b"x": b"y"}}),
        StoredHistory(other, None, None, {}),
    ]
    assert (await tables.history([SHARD], [], 0))[0].records == {}


async def test_a_record_with_many_fields_is_deleted_at_once(tables):
    claim = await tables.claim(SHARD, b"a")
    await applied(tables, claim, None, 7, history={"h:1": {b"%d" % n: b"v" for n in range(1001)}, "h:2": {b"f": b"v"}})
    await applied(tables, claim, 7, 8, dropped=["h:0", "h:1"])
    assert (await tables.history([SHARD], ["h:1", "h:2"], 10_000))[0].records == {"h:2": {b"f": b"v"}}


async def test_no_more_of_the_history_is_read_than_there_is_room_for(tables):
    claim = await tables.claim(SHARD, b"a")
    await applied(tables, claim, None, 7, history={"h:1": {b"12345": b"67890"}, "h:2": {b"12": b"3"}})
    assert len((await tables.history([SHARD], ["h:1", "h:2"], 13))[0].records) == 2
    for shards, room in (([SHARD], 12), ([SHARD, SHARD], 25)):
        with pytest.raises(TooLargeError):
            await tables.history(shards, ["h:1", "h:2"], room)


async def test_values_are_absolute_and_none_deletes(tables):
    claim = await tables.claim(SHARD, b"a")
    both = {b"k": b"1", b"l": b"1"}
    await applied(tables, claim, None, 1, panes=both, entities=both, customers=both)
    one = {b"k": b"2", b"l": None, b"never": None}
    await applied(tables, claim, 1, 2, state=b"later", panes=one, entities=one, customers=one)
    assert await loaded(tables, [b"k", b"l"], [b"k", b"l"]) == ([b"2", None], [b"2", None])
    assert (await tables.claim(SHARD, b"a")).stored == Stored(b"later", {b"k": b"2"}, b"recent")


async def test_a_batch_sent_again_is_repeated_and_not_written_again(backend, tables):
    claim = await tables.claim(SHARD, b"a")
    first = await applied(tables, claim, None, 5, entities={b"e": b"1"})
    before = await backend.copy()
    assert await tables.commit(first) is CommitResult.REPEATED
    assert (
        await tables.commit(commit(claim, None, 5, batch=first.batch, entities={b"e": b"2"})) is CommitResult.REPEATED
    )
    assert await backend.copy() == before
    await applied(tables, claim, 5, 6)


async def test_a_batch_is_still_repeated_where_the_shard_was_taken_since(backend, tables):
    claim = await tables.claim(SHARD, b"a")
    first = await applied(tables, claim, None, 5)
    await backend.tables().claim(SHARD, b"b")
    assert await tables.commit(first) is CommitResult.REPEATED
    assert await tables.commit(commit(claim, 5, 6)) is CommitResult.STOLEN


@pytest.mark.parametrize("start", [None, 4, 6, 50])
async def test_another_offset_is_no_start(backend, tables, start):
    claim = await tables.claim(SHARD, b"a")
    await applied(tables, claim, None, 5)
    before = await backend.copy()
    assert await tables.commit(commit(claim, start, 60, entities={b"e": b"1"})) is CommitResult.REWOUND
    assert await backend.copy() == before


async def test_tables_that_lost_everything_are_rewound(backend, tables):
    claim = await tables.claim(SHARD, b"a")
    await applied(tables, claim, None, 5)
    await backend.flush()
    assert await tables.commit(commit(claim, 5, 6)) is CommitResult.REWOUND
    assert await tables.commit(commit(claim, None, 6)) is CommitResult.REWOUND
    again = await tables.claim(SHARD, b"b")
    assert (again.epoch, again.offset) == (1, None)
    await applied(tables, again, None, 5)


async def test_tables_that_lost_a_batch_are_rewound(backend, tables):
    claim = await tables.claim(SHARD, b"a")
    await applied(tables, claim, None, 5, entities={b"e": b"1"})
    earlier = await backend.copy()
    await applied(tables, claim, 5, 9, entities={b"e": b"2"})
    await backend.restore(earlier)
    assert await tables.commit(commit(claim, 9, 12)) is CommitResult.REWOUND
    again = await tables.claim(SHARD, b"b")
    assert (again.epoch, again.offset) == (2, 5)
    assert await loaded(tables, [b"e"], []) == ([b"1"], [])
    await applied(tables, again, 5, 9)


async def test_tables_that_lost_just_a_tick_are_rewound(backend, tables):
    claim = await tables.claim(SHARD, b"a")
    await applied(tables, claim, None, 5)
    earlier = await backend.copy()
    await applied(tables, claim, 5, 5, panes={b"p": b"1"})
    await backend.restore(earlier)
    assert await tables.commit(commit(claim, 5, 6)) is CommitResult.REWOUND
    assert await tables.commit(commit(claim, 5, 5)) is CommitResult.REWOUND
    again = await tables.claim(SHARD, b"a")
    assert again.stored.panes == {}
    await applied(tables, again, 5, 6)


async def test_tables_that_lost_a_claim_are_rewound_for_the_later_owner_only(backend, tables):
    other = backend.tables()
    first = await tables.claim(SHARD, b"a")
    await applied(tables, first, None, 5)
    earlier = await backend.copy()
    second = await other.claim(SHARD, b"b")
    await applied(other, second, 5, 9)
    await backend.restore(earlier)
    assert await other.commit(commit(second, 9, 12)) is CommitResult.REWOUND
    assert await other.commit(commit(second, 5, 12)) is CommitResult.REWOUND
    third = await other.claim(SHARD, b"c")
    assert (third.epoch, third.offset) == (2, 5)
    assert await tables.commit(commit(first, 5, 6)) is CommitResult.STOLEN
    # The same epoch, given twice: the nonce tells them apart.
    assert await other.commit(commit(second, 5, 6)) is CommitResult.STOLEN
    await applied(other, third, 5, 6)


async def test_an_owner_that_claimed_the_same_nonce_again_forgets_its_older_claim(backend, tables):
    claim = await tables.claim(SHARD, b"a")
    earlier = await backend.copy()
    await backend.tables().claim(SHARD, b"b")
    later = await tables.claim(SHARD, b"a")
    assert later.epoch == 3
    assert await tables.commit(commit(claim, None, 5)) is CommitResult.REWOUND
    await backend.restore(earlier)
    assert await tables.commit(commit(later, None, 5)) is CommitResult.REWOUND


async def test_a_tick_keeps_the_offset(tables):
    claim = await tables.claim(SHARD, b"a")
    first = await applied(tables, claim, None, None, state=b"1")
    assert await tables.commit(first) is CommitResult.REPEATED
    assert await tables.owners([SHARD]) == [Owner(b"a", 1, None)]
    await applied(tables, claim, None, 5)
    second = await applied(tables, claim, 5, 5, state=b"2")
    assert await tables.commit(second) is CommitResult.REPEATED
    again = await tables.claim(SHARD, b"a")
    assert (again.offset, again.stored.state) == (5, b"2")


async def test_what_expires_before_a_time_is_found(tables):
    claim = await tables.claim(SHARD, b"a")
    await applied(
        tables,
        claim,
        None,
        1,
        entity_expiry={b"e3": NOW + 3, b"e1": NOW + 1, b"e2": NOW + 2, b"gone": NOW, ALL_BYTES: NOW + 2},
        customer_expiry={b"c2": EXACT, b"c1": EXACT - 1},
    )
    await applied(tables, claim, 1, 2, entity_expiry={b"e1": NOW + 4, b"gone": None, b"never": None})
    assert await expired(tables, NOW + 3, EXACT) == ({ALL_BYTES, b"e2"}, {b"c1"})
    assert await expired(tables, NOW + 9, EXACT + 1) == ({ALL_BYTES, b"e1", b"e2", b"e3"}, {b"c1", b"c2"})
    assert await expired(tables, NOW + 9, 0) == ({ALL_BYTES, b"e1", b"e2", b"e3"}, set())


async def test_no_more_expired_keys_are_returned_than_asked_for(tables):
    keys = {b"%d" % number: NOW + number for number in range(4000)}
    claim = await tables.claim(SHARD, b"a")
    await applied(tables, claim, None, 1, entity_expiry=keys, customer_expiry=keys)
    for limit in (1, 5, 100):
        entities, customers = await tables.expired(SHARD, 3, NOW + 5000, NOW + 5000, limit)
        assert len(entities) == len(customers) == limit
    # All of a part are found, however few are asked for, if what was found is removed.
    left = {*keys}
    for part in range(EXPIRY_PARTS):
        while found := (await tables.expired(SHARD, part, NOW + 5000, 0, 200))[0]:
            left -= {*found}
            start = (await tables.owners([SHARD]))[0].offset
            await applied(tables, claim, start, start + 1, entity_expiry=dict.fromkeys(found))
    assert left == set()


async def customers_of(tables):
    (summary,) = [summary for summary in await tables.summaries() if summary.shard == SHARD]
    return summary.customers


async def test_a_count_is_the_members_after_one_edge_and_up_to_the_other(tables):
    claim = await tables.claim(SHARD, b"a")
    name = "upsell|channel|läden".encode()
    times = {b"a": EXACT, b"b": EXACT - 1, b"c": EXACT - 2, ALL_BYTES: EXACT - 3, b"": 0}
    bounds = [(EXACT - 1, EXACT), (EXACT - 2, EXACT - 1), (EXACT - 3, EXACT), (-1, EXACT - 3), (EXACT, EXACT)]
    await applied(tables, claim, None, 1, scores={name: times}, counted=[name], bounds=bounds)
    assert await customers_of(tables) == {name: (1, 1, 3, 2, 0)}


async def test_counts_follow_withdrawal_and_trim(tables):
    claim = await tables.claim(SHARD, b"a")
    everything = [(0, NOW + 100)]
    two = {b"x": NOW + 1, b"y": NOW + 2}
    await applied(
        tables, claim, None, 1, scores={b"all": two, b"any": two}, counted=[b"all", b"any"], bounds=everything
    )
    assert await customers_of(tables) == {b"all": (2,), b"any": (2,)}
    # Not counted: the stored count stays. Not trimmed either.
    await applied(tables, claim, 1, 2, scores={b"any": {b"y": None}}, counted=[b"all"], bounds=everything, trim=NOW + 1)
    assert await customers_of(tables) == {b"all": (1,), b"any": (2,)}
    await applied(
        tables, claim, 2, 3, scores={b"all": {b"y": None}}, counted=[b"all", b"any"], bounds=[(0, NOW), *everything]
    )
    assert await customers_of(tables) == {b"any": (0, 1)}
    await applied(tables, claim, 3, 4, counted=[b"any", b"never"], bounds=everything, trim=NOW + 1)
    assert await customers_of(tables) == {}
    await applied(tables, claim, 4, 5, scores={b"all": {b"x": NOW}}, counted=[b"all"], bounds=[])
    assert await customers_of(tables) == {b"all": ()}


async def test_a_commit_may_be_large(backend, tables):
    choice = random.Random(5)
    records = {
        b"%d" % key: choice.randbytes(choice.choice([0, 1, 31, 255, 400, 70_000 if key % 1000 == 7 else 16]))
        for key in range(5000)
    }
    expiry = {key: NOW + place for place, key in enumerate(records)}
    claim = await tables.claim(SHARD, b"a")
    await applied(
        tables,
        claim,
        None,
        5000,
        entities=records,
        customers=records,
        panes=records,
        entity_expiry=expiry,
        scores={b"all": expiry},
        counted=[b"all"],
        bounds=[(NOW - 1, NOW + 2499), (0, 2 * NOW)],
    )
    keys = list(records)
    assert await loaded(tables, keys, keys[::-1]) == (list(records.values()), list(records.values())[::-1])
    assert (await tables.claim(SHARD, b"b")).stored.panes == records
    assert await expired(tables, 2 * NOW, 0) == ({*keys}, set())
    assert await customers_of(tables) == {b"all": (2500, 5000)}
    nothing = dict.fromkeys(records)
    again = await tables.claim(SHARD, b"b")
    await applied(
        tables,
        again,
        5000,
        5000,
        entities=nothing,
        customers=nothing,
        panes=nothing,
        entity_expiry=nothing,
        scores={b"all": nothing},
        counted=[b"all"],
    )
    assert await loaded(tables, keys, keys) == ([None] * 5000, [None] * 5000)
    assert await customers_of(tables) == {}


async def test_a_load_leaves_out_what_is_too_much_at_once(tables):
    claim = await tables.claim(SHARD, b"a")
    records = {b"%03d" % number: bytes(1000) for number in range(100)}
    await applied(tables, claim, None, 1, entities=records, customers=records)
    keys, all_values = list(records), list(records.values())
    for enough, entities, customers in ((1, 1, 0), (32_001, 33, 0), (100_001, 100, 1), (200_000, 100, 100)):
        tables.loaded = enough
        assert await loaded(tables, keys, keys) == (all_values[:entities], all_values[:customers])
    tables.loaded = 1
    assert await loaded(tables, [], keys[:5]) == ([], all_values[:1])


async def test_the_first_come_are_admitted(backend, tables):
    bounds = {"channel": 2, "segment": 1}
    assert await tables.register_labels([], bounds) == {}
    labels = [("channel", "web"), ("channel", "läden=2"), ("channel", "web"), ("channel", "app"), ("category", "tea")]
    assert await tables.register_labels(labels, bounds) == {"channel": ["web", "läden=2"]}
    assert await backend.tables().register_labels(
        [("channel", "app"), ("segment", "vip"), ("segment", "new")], bounds
    ) == {
        "channel": ["web", "läden=2"],
        "segment": ["vip"],
    }
    assert await tables.register_labels([], {}) == {"channel": ["web", "läden=2"], "segment": ["vip"]}
    assert await tables.register_labels([("channel", "app")], {"channel": 3}) == {
        "channel": ["web", "läden=2", "app"],
        "segment": ["vip"],
    }
    assert await backend.tables("another").register_labels([], bounds) == {}


async def test_workers_that_race_for_labels_agree(backend):
    first, second = backend.tables(), backend.tables()
    names = [f"v{place}" for place in range(12)]
    await asyncio.gather(
        *(first.register_labels([("channel", name)], {"channel": 8}) for name in names),
        *(second.register_labels([("channel", name)], {"channel": 8}) for name in reversed(names)),
    )
    values = (await first.register_labels([], {}))["channel"]
    assert len(set(values)) == len(values) == 8
    assert await second.register_labels([("channel", name) for name in names], {"channel": 8}) == {"channel": values}


async def test_summaries_are_those_of_one_application(backend, tables):
    other = backend.tables("another")
    shards = [ShardId("checkout-events", 10), ShardId("checkout-events", 2), ShardId("subscription.events_-", 0)]
    for place, shard in enumerate(shards):
        claim = await tables.claim(shard, b"a")
        await applied(tables, claim, None, 1, shard=shard, summary=b"old")
        await applied(tables, claim, 1, 1, shard=shard, summary=b"%d" % place, now=NOW + place)
    await tables.claim(ShardId("checkout-events", 5), b"a")
    theirs = await other.claim(SHARD, b"a")
    await applied(
        other, theirs, None, 1, summary=b"theirs", scores={b"all": {b"c": 1}}, counted=[b"all"], bounds=[(0, 9)]
    )
    assert [(each.shard, each.summary, each.committed_at, each.customers) for each in await tables.summaries()] == [
        (shards[1], b"1", NOW + 1, {}),
        (shards[0], b"0", NOW, {}),
        (shards[2], b"2", NOW + 2, {}),
    ]
    assert [(each.shard, each.summary, each.customers) for each in await other.summaries()] == [
        (SHARD, b"theirs", {b"all": (1,)})
    ]
    assert await tables.owners([SHARD]) == [Owner(None, 0, None)]
    assert (await tables.claim(SHARD, b"b")).epoch == 1


async def test_what_the_owner_reports_is_read_with_the_summary_and_by_the_next_owner(tables):
    claim = await tables.claim(SHARD, b"a")
    assert claim.health == ShardHealth()
    made = commit(claim, None, 1)
    health = ShardHealth(NOW, ((NOW, {"invalid": 2, WITHOUT_KEY: 1}),))
    assert await tables.commit(msgspec.structs.replace(made, health=health)) is CommitResult.APPLIED
    assert [each.health for each in (await tables.application()).shards] == [health]
    assert (await tables.claim(SHARD, b"b")).health == health


async def test_a_halt_is_shown_until_the_next_claim(tables):
    halt = Halt("topic_recreated", "the topic was deleted", NOW)
    await tables.claim(SHARD, b"a")
    assert await tables.halt(SHARD, b"a", halt)
    assert (await tables.application()).halts == {SHARD: halt}
    assert await tables.summaries() == []
    await tables.claim(SHARD, b"b")
    assert (await tables.application()).halts == {}
    assert not await tables.halt(SHARD, b"a", halt), "the shard has another owner by now"
    assert not await tables.halt(SHARD, None, halt)
    assert (await tables.application()).halts == {}


async def test_a_shard_without_owner_can_be_halted(tables):
    halt = Halt("partitions_grown", "six instead of four", NOW)
    assert await tables.halt(SHARD, None, halt)
    assert (await tables.application()).halts == {SHARD: halt}
    assert (await tables.claim(SHARD, b"a")).offset is None
    assert (await tables.application()).halts == {}


async def test_the_partitions_of_a_topic_stay_as_they_were_first_seen_until_they_are_replaced(tables):
    first = await tables.register_topic("checkout-events", "checkout", 4)
    assert (first.journey, first.partitions) == ("checkout", 4)
    assert await tables.register_topic("checkout-events", "checkout", 6) == first
    assert (await tables.application()).topics == {"checkout-events": first}
    grown = await tables.register_topic("checkout-events", "checkout", 6, replace=True)
    assert grown.partitions == 6
    assert (await tables.application()).topics == {"checkout-events": grown}


async def test_a_retired_topic_is_out_of_view_until_it_is_claimed_again(tables):
    other = ShardId("subscription-events", 0)
    for shard in (SHARD, other):
        await applied(tables, await tables.claim(shard, b"a"), None, 1, shard=shard)
        await tables.register_topic(shard.topic, "checkout", 4)
    assert await tables.retire(SHARD.topic) == 1
    left = await tables.application()
    assert [each.shard for each in left.shards] == [other]
    assert left.topics.keys() == {other.topic}
    assert (await tables.claim(SHARD, b"b")).offset == 1, "its state is kept"
    assert [each.shard for each in await tables.summaries()] == [SHARD, other]
