import pytest
from prometheus_client import Histogram
from prometheus_client.parser import text_string_to_metric_families

from stream.observe.counters import Counters
from stream.observe.manifest import METRICS


@pytest.fixture
def counters():
    return Counters()


def samples(counters, name):
    """Label values -> value, for the samples of that name."""
    return {
        tuple(sample.labels.values()): sample.value
        for family in text_string_to_metric_families(counters.exposition().decode())
        for sample in family.samples
        if sample.name == name
    }


def test_events_by_what_became_of_them(counters):
    counters.event("checkout-events", "commerce.checkout.started.v1", "applied")
    counters.event("checkout-events", "commerce.checkout.started.v1", "applied", 4)
    counters.event("checkout-events", "commerce.checkout.started.v1", "late")
    assert samples(counters, "upsell_events_total") == {
        ("applied", "checkout-events", "commerce.checkout.started.v1"): 5,
        ("late", "checkout-events", "commerce.checkout.started.v1"): 1,
    }


def test_unknown_types_share_one_label(counters):
    for number in range(100):
        counters.event("checkout-events", f"poison.{number}", "rejected")
    counters.event("checkout-events", None, "rejected")
    assert samples(counters, "upsell_events_total") == {("rejected", "checkout-events", "other"): 101}


def test_commit(counters):
    counters.commit(1000, 0.02)
    counters.commit(3, 0.5)
    assert samples(counters, "upsell_commits_total") == {(): 2}
    assert samples(counters, "upsell_batch_events_sum") == {(): 1003}
    assert samples(counters, "upsell_commit_duration_seconds_sum") == {(): 0.52}


def test_delays_are_those_of_a_plain_histogram(counters):
    batches = [[], [0.05, 0.1, 0.1001, 90_000.0], [7.0, 3.0, 1.0] * 5]
    plain = Histogram("plain", "", buckets=METRICS["upsell_event_delay_seconds"].buckets, registry=None)
    for batch in batches:
        counters.delays(batch)
        for value in batch:
            plain.observe(value)
    (expected,) = plain.collect()
    assert samples(counters, "upsell_event_delay_seconds_bucket") == {
        (sample.labels["le"],): sample.value for sample in expected.samples if sample.name == "plain_bucket"
    }
    assert samples(counters, "upsell_event_delay_seconds_count") == {(): 19}
    assert samples(counters, "upsell_event_delay_seconds_sum")[()] == pytest.approx(90_055.2501)


def test_an_event_ahead_of_the_clock_was_not_delayed(counters):
    counters.delays([-5.0, 1.0])
    assert samples(counters, "upsell_event_delay_seconds_sum") == {(): 1.0}
    assert samples(counters, "upsell_event_delay_seconds_count") == {(): 2}


def test_an_unassigned_shard_has_no_series(counters):
    for partition in (0, 1, 2):
        counters.lag("checkout-events", partition, 7)
        counters.oldest_unapplied("checkout-events", partition, 1.5)
        counters.halted("checkout-events", partition, False)
    counters.halted("checkout-events", 2, True)
    counters.drop_shard("checkout-events", 0)
    counters.drop_shard("checkout-events", 9)
    assert samples(counters, "upsell_consumer_lag_records") == {("1", "checkout-events"): 7}
    assert samples(counters, "upsell_oldest_unapplied_seconds") == {("1", "checkout-events"): 1.5}
    assert samples(counters, "upsell_shard_halted") == {("1", "checkout-events"): 0, ("2", "checkout-events"): 1}


def test_two_workers_in_one_process_do_not_mix(counters):
    counters.fenced()
    counters.ready(True)
    assert samples(counters, "upsell_fenced_total") == {(): 1}
    assert samples(Counters(), "upsell_fenced_total") == {(): 0}
    assert samples(Counters(), "upsell_ready") == {(): 0}
