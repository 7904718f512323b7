"""The verdict of a chaos run, on histories that are made up: it finds each kind of lie, and finds none where there is none."""

import pytest
from chaos.verdict import BEHIND, SILENT, STUCK, TOLERANCE, VIEW, Answers, Stored, Verdict

ONE, OTHER = ("checkout", 0), ("checkout", 1)
ALONE = ("subscription", 0)
SHARDS = {ONE: "checkout", OTHER: "checkout", ALONE: "subscription"}
LIVE = {"state": "live", "reasons": []}


class History:
    """Seconds of a run. Every shard commits each second, except those in `still`."""

    def __init__(self):
        self.now = 1000.0
        self.verdict = Verdict(SHARDS, self.now)
        self.still = set()
        self.offsets = dict.fromkeys(SHARDS, 0)
        self._committed = dict.fromkeys(SHARDS, 0)
        self.verdict.end(self.now)

    def send(self, shard, offset=0):
        self.verdict.acknowledge(shard, offset, self.now)

    def pass_by(self, seconds, show=lambda: None):
        """Let time pass, and show something each second."""
        for _ in range(int(seconds)):
            self.now += 1
            for shard in SHARDS.keys() - self.still:
                self._committed[shard] = int(self.now)
            stored = {shard: Stored(self._committed[shard], self.offsets[shard]) for shard in SHARDS}
            self.verdict.find(stored, self.now)
            show()

    def show(self, state, journey="checkout", place="worker-0 page", view=VIEW):
        self.verdict.show(place, journey, state, self.now, view=view)

    def ready(self, ready):
        self.verdict.own("worker-0", [ONE], self.now)
        self.verdict.show_ready("worker-0", "/readyz", ready, self.now)


@pytest.fixture
def history():
    return History()


def found(history):
    """The only lie."""
    (lie,) = history.verdict.lies
    return lie


def test_what_is_true_is_no_lie(history):
    def show():
        history.show("live")
        history.show("live", "subscription")
        history.ready(True)
        history.verdict.show_total("worker-0", "live", int(history.now), history.now)
        history.verdict.show_to_do("status", [], history.now)

    history.pass_by(300, show)
    assert history.verdict.lies == []
    assert history.verdict.looks == 5 * 300


@pytest.mark.parametrize(("place", "view"), [("worker-0 rates", VIEW), ("status", 0)])
@pytest.mark.parametrize("state", ["live", "empty"])
def test_live_figures_of_a_shard_that_does_not_commit_are_a_lie(history, state, place, view):
    history.pass_by(10)
    history.still = {OTHER}
    history.pass_by(SILENT + view + TOLERANCE, lambda: history.show(state, place=place, view=view))
    assert history.verdict.lies == []
    history.pass_by(10, lambda: history.show(state, place=place, view=view))
    assert f"{place}: checkout is {state}, but no commit of checkout/1" in found(history)


def test_figures_of_a_journey_whose_shards_commit_are_no_lie_because_of_the_other_journey(history):
    history.still = {OTHER}
    history.pass_by(300, lambda: history.show("live", "subscription"))
    assert history.verdict.lies == []


def test_an_offset_or_a_time_that_goes_back_is_no_commit(history):
    history.pass_by(10)
    history.still = {ONE}
    for number in range(200):
        history._committed[ONE] = 100 - number
        history.pass_by(1, lambda: history.show("live"))
    assert "no commit of checkout/0" in found(history)


def test_live_figures_that_lack_old_records_are_a_lie(history):
    history.send(ONE)
    history.pass_by(BEHIND + VIEW + TOLERANCE, lambda: history.show("live"))
    assert history.verdict.lies == []
    history.pass_by(1, lambda: history.show("live"))
    assert "old records wait of checkout/0" in found(history)


def test_records_that_redis_lost_need_time_until_they_are_applied_again(history):
    history.send(ONE)
    history.offsets[ONE] = 1
    history.pass_by(500, lambda: history.show("live"))
    history.offsets[ONE] = 0
    history.pass_by(100, lambda: history.show("live"))
    assert history.verdict.lies == []
    history.pass_by(100, lambda: history.show("live"))
    assert "old records wait of checkout/0" in found(history)


@pytest.mark.parametrize("state", ["stopped", "partial", "behind", "down"])
def test_a_false_alarm_is_a_lie(history, state):
    history.pass_by(TOLERANCE, lambda: history.show(state))
    assert history.verdict.lies == []
    history.pass_by(10, lambda: history.show(state))
    assert f"worker-0 page: checkout is {state}" in found(history)


def test_an_alarm_may_last_a_while_after_all_is_well_again(history):
    history.still = {ONE}
    history.pass_by(200, lambda: history.show("partial"))
    history.still = set()
    history.pass_by(TOLERANCE, lambda: history.show("partial"))
    history.pass_by(100, lambda: history.show("live"))
    assert history.verdict.lies == []
    assert history.verdict.trials["worker"] > 0


@pytest.mark.parametrize("trouble", ["no answer", "halt", "old record", "no commit"])
def test_an_alarm_is_right_while_something_is_not_well(history, trouble):
    def show():
        if trouble == "no answer":
            history.verdict.miss()
        elif trouble == "halt":
            history.verdict.find({ONE: Stored(int(history.now), 0, True)}, history.now)
        history.show("partial")

    if trouble == "old record":
        history.send(ONE)
        history.pass_by(TOLERANCE)
    history.still = {ONE} if trouble == "no commit" else set()
    history.pass_by(300, show)
    # The first seconds of trouble look as if all was well.
    assert history.verdict.lies == []


def test_what_was_shown_before_a_gap_does_not_count(history):
    history.pass_by(300)
    for _ in range(5):
        history.show("partial")
        history.pass_by(60)
    assert history.verdict.lies == []


def test_a_ready_worker_whose_records_wait_is_a_lie(history):
    history.pass_by(10)
    history.still = {ONE}
    history.pass_by(300, lambda: history.ready(True))
    assert history.verdict.lies == []
    history.send(ONE)
    history.pass_by(STUCK + TOLERANCE, lambda: history.ready(True))
    assert history.verdict.lies == []
    history.pass_by(10, lambda: history.ready(True))
    assert "worker-0 /readyz: ready, but no commit, and records wait, of checkout/0" in found(history)


def test_a_ready_worker_has_time_for_a_shard_that_it_has_just_claimed(history):
    history.still = {ONE}
    history.send(ONE)
    history.pass_by(500)
    history.pass_by(STUCK, lambda: history.ready(True))
    assert history.verdict.lies == []


def test_what_is_shown_a_moment_before_a_commit_is_seen_is_no_lie(history):
    def show():
        history.ready(not history.still)
        history.show("partial" if history.still else "live")

    history.send(ONE)
    history.still = {ONE}
    history.pass_by(200, show)
    history.ready(True)
    history.show("live")
    history.still, history.offsets[ONE] = set(), 1
    history.pass_by(200, show)
    assert history.verdict.lies == []


def test_an_unready_worker_whose_shards_commit_is_a_lie(history):
    history.pass_by(TOLERANCE, lambda: history.ready(False))
    assert history.verdict.lies == []
    history.pass_by(10, lambda: history.ready(False))
    assert "worker-0 /readyz: unready for" in found(history)


def test_a_worker_may_be_unready_during_a_fault(history):
    history.verdict.begin("cut_kafka", history.now)
    history.pass_by(200, lambda: history.ready(False))
    history.verdict.end(history.now)
    history.pass_by(TOLERANCE, lambda: history.ready(False))
    history.pass_by(100, lambda: history.ready(True))
    assert history.verdict.lies == []


def test_a_total_that_shrinks_is_a_lie(history):
    history.pass_by(10, lambda: history.verdict.show_total("worker-0", "live", 100, history.now))
    history.pass_by(1, lambda: history.verdict.show_total("worker-0", "behind", 99, history.now))
    assert history.verdict.lies == []
    history.pass_by(1, lambda: history.verdict.show_total("worker-0", "live", 99, history.now))
    assert "worker-0: 99 opportunities after 100, live" in found(history)


def test_a_total_may_shrink_after_redis_lost_data_until_all_is_applied_again(history):
    history.pass_by(10, lambda: history.verdict.show_total("worker-0", "live", 100, history.now))
    history.verdict.begin("flush_redis", history.now, rewinds=True)
    history.verdict.end(history.now)
    history.pass_by(60, lambda: history.verdict.show_total("worker-0", "live", 50, history.now))
    assert history.verdict.lies == []
    history.pass_by(100, lambda: history.verdict.show_total("worker-0", "live", 99, history.now))
    assert "flush_redis: worker-0: 99 opportunities after 100" in found(history)


def test_status_that_asks_for_something_while_all_is_well_is_a_lie(history):
    history.pass_by(TOLERANCE + 10, lambda: history.verdict.show_to_do("status", ["start a worker"], history.now))
    assert "status: asks for ['start a worker']" in found(history)


@pytest.mark.parametrize(
    ("answers", "contradicts"),
    [
        (Answers({"checkout": LIVE}, {"checkout": LIVE}, {"checkout": True}), False),
        (Answers({}, {}, {"checkout": False}), False),
        (Answers({"checkout": LIVE}, {"checkout": LIVE}, {"checkout": False}), True),
        (Answers({"checkout": LIVE}, {"checkout": LIVE | {"state": "behind"}}, {"checkout": True}), True),
        (Answers({"checkout": LIVE}, {}, {"checkout": True}), True),
        (Answers({}, {}, {"checkout": True}), True),
    ],
)
def test_answers_of_one_worker_that_contradict_each_other_are_found(answers, contradicts):
    assert (answers.contradiction() is not None) is contradicts


def test_a_lie_is_told_once_for_each_fault(history):
    history.still = {ONE}
    for fault in ("first", "second"):
        history.verdict.begin(fault, history.now)
        history.pass_by(100, lambda: history.show("live"))
    assert len(history.verdict.lies) == 2
