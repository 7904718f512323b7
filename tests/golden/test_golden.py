"""A fixed log gives the same bytes as ever: write sets, outcomes, dead letters. What the version before stored is read, and read on.

`python -m golden` (tests/golden/__main__.py) makes the digests again. A change that is meant to alter what is stored or published does that, and
says so in its commit. The log and what the version before stored after half of it were made once.
"""

from itertools import chain

import msgspec
import pytest
from golden.driver import TOPICS, Golden, run
from golden.files import HALF, SIZES, expected, log, stored
from support.stored_records import decode_checkout, decode_subscription

from stream.core.config import Window
from stream.core.counting.cells import CATEGORY, LENGTHS, MONEY, SALES, Categorized, Count, Revenue, decode, merge
from stream.core.counting.delta import Delta
from stream.core.counting.summary import decode_summary
from stream.core.shard.offers import is_key


@pytest.mark.parametrize("size", SIZES)
def test_the_log_gives_the_same_bytes(size):
    assert run(log(), size) == expected()["whole"][str(size)]


def test_what_the_version_before_stored_is_read_on():
    assert run(log()[HALF:], 37, stored()) == expected()["second half"]


def padded(cells):
    """Stored cells with vectors as long as today's, without the code that reads them."""
    answer = {}
    for key, vector in cells:
        entry = answer.setdefault(tuple(key), [0] * LENGTHS[key[0]])
        for at, number in enumerate(vector):
            entry[at] += number
    return {key: vector for key, vector in answer.items() if any(vector)}


def as_stored(store):
    """Windows and total as the version before showed them, from its bytes alone."""
    _, at, _, windows, total, *_ = msgspec.msgpack.decode(store.summary)
    _, length, slices, *_ = msgspec.msgpack.decode(store.recent)
    figures = {}
    for name, cells in windows:
        window = Window.parse(name)
        recent = [part for index, part in slices if window.pane_of(index * length) <= window.pane_of(at)]
        assert recent
        figures[name] = padded([*cells, *chain.from_iterable(recent)])
    return figures, padded([*total, *chain.from_iterable(part for _, part in slices)])


def shown(store):
    """Windows and total as readers get them now."""
    summary = decode_summary(store.summary, store.recent)
    return {name: dict(cells) for name, cells in summary.windows}, dict(summary.total)


@pytest.mark.parametrize("topic", TOPICS)
def test_all_figures_of_the_version_before_are_as_they_were(topic):
    store = stored()[topic]
    before = as_stored(store)
    assert shown(store) == before, "by readers"
    Golden(topic, store).tick(decode_summary(store.summary, store.recent).at)
    assert shown(store) == before, "settled and written by this version"
    for cells in map(decode, store.panes.values()):
        assert all(len(vector) == LENGTHS[key[0]] for key, vector in cells.items())


def contributions_of(topic, data):
    """What one stored entity contributes."""
    if topic == "checkout-events":
        return [decode_checkout(data)]
    return decode_subscription(data).contributions.values()


def contributed(topic, store):
    """What all entities of a shard contribute to the total."""
    delta, total = Delta(()), {}
    for data in (data for key, data in store.entities.items() if not is_key(key)):
        for each in contributions_of(topic, data):
            if each.opportunity is not None:
                delta.opportunity(each.opportunity, 1)
            if each.sale is not None:
                delta.sale(each.sale, 1)
    for cells in delta.drain()[0].values():
        merge(total, cells)
    return total


NEWER = {SALES: Count.OTHER_CURRENCY, MONEY: Revenue.TOTAL_ANY, CATEGORY: len(Categorized)}
"""The first position that the version before did not count, although it knew what it is made of."""


def without_newer(cells):
    """Cells without the sums that the version before did not have."""
    cut = {key: vector[: NEWER[key[0]]] for key, vector in cells.items()}
    return {key: vector for key, vector in cut.items() if any(vector)}


def incomplete(store):
    """Whether the two parts of the final revenue are not all of it, by key."""
    total = shown(store)[1]
    return {
        key: vector[Revenue.TOTAL_ANY] + vector[Revenue.TOTAL_PLAIN] != vector[Revenue.FINAL]
        for key, vector in total.items()
        if key[0] == MONEY
    }


def counted(store, position):
    return sum(vector[position] for key, vector in shown(store)[1].items() if key[0] == SALES)


@pytest.mark.parametrize("topic", TOPICS)
def test_nothing_is_lost_or_doubled_when_it_is_read_on(topic):
    kept, whole = stored(), {}
    before = without_newer(shown(kept[topic])[1])
    assert without_newer(contributed(topic, kept[topic])) == before, "as the version before left it"
    half = run([record for record in log()[HALF:] if record.topic == topic], 37, kept)[topic]
    all_of_it = run([record for record in log() if record.topic == topic], 37, whole)[topic]
    assert without_newer(contributed(topic, kept[topic])) == without_newer(shown(kept[topic])[1])
    assert contributed(topic, whole[topic]) == shown(whole[topic])[1]
    assert any(incomplete(kept[topic]).values())
    assert not any(incomplete(whole[topic]).values())
    # The version before kept no offers.
    assert set(kept[topic].entities) == {key for key in whole[topic].entities if not is_key(key)} | {
        key for key in kept[topic].entities if is_key(key)
    }
    # What is `unchanged` now was an opportunity and a transaction in the half that the version before counted.
    unchanged = all_of_it["counts"].get("unchanged", 0) - half["counts"].get("unchanged", 0)
    for position in (Count.OPPORTUNITIES, Count.TRANSACTIONS):
        assert counted(kept[topic], position) == counted(whole[topic], position) + unchanged
