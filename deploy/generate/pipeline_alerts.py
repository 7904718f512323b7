"""Alerts on the product itself: whether events are applied, and whether the figures can be trusted.

Rules: an alert that means that figures are old or incomplete inhibits the alerts on KPIs of the same `env`, for as long as the cause lasts. An alert
on the pipeline ends within two minutes after the cause: no `keep`, no long range, unless a second condition ends it. One worker that is away pages
nobody: the others take over its shards. Ages and forecasts are in seconds and follow no time scale.
"""

from functools import partial

from deploy.generate.recording import RECENT, growth
from deploy.generate.rule import Alert

_PIPELINE = "/d/upsell-pipeline?var-env={{ $labels.env }}"
_SHARD = "{{ $labels.topic }}/{{ $labels.partition }}"
_OLD = 300
"""Seconds. Records must not wait longer; a lag is too long if its records take longer to apply."""
_UNOWNED = 60
"""Seconds. The owner of a shard ticks every 5 s, and another worker takes over a lost worker's shards within the session timeout."""
_MOVES = 15
"""Seconds. Shards whose last commit or tick is younger move: whatever failed before, it is over."""
_FULL = 0.8
"""Share of Redis' memory."""

_AGE = "upsell:shard_age_seconds:max"
_HALTED = "upsell:shard_halt_info:max"
_LAG = "upsell:consumer_lag_records"
_KNOWN_WORKERS = "last_over_time(upsell_build_info[1d])"
_READY = f"last_over_time(upsell_ready[{RECENT}])"
_OWNED = f"0 * last_over_time(upsell_consumer_lag_records[{RECENT}])"
_FENCED = "sum without (instance, pod) (increase(upsell_fenced_total[{}]))"
_USED, _LIMIT = (f'upsell:redis_memory_bytes:max{{kind="{kind}"}}' for kind in ("used", "limit"))


def _commits_fail(reasons: str) -> str:
    """Commits failed within two minutes, and some shard still stands still: a worker that repeats a commit with success has no problem."""
    return (
        f"    sum without (instance, pod) (increase(upsell_commit_failures_total{{{reasons}}}[2m])) > 0\n"
        f"unless ignoring (reason)\n"
        f"    max without (topic, partition) ({_AGE}) < {_MOVES}"
    )


def _full_within(seconds: int, *, judged_by: str) -> str:
    """At the growth of a recent time Redis will be full, and half is used already."""
    return (
        f"    predict_linear({_USED}[{judged_by}], {seconds}) > ignoring (kind) ({_LIMIT} > 0)\n"
        f"and ignoring (kind)\n"
        f"    {_USED} > ignoring (kind) 0.5 * {_LIMIT}"
    )


def _refused_of_type(share: float) -> str:
    """More than a share of an hour's records of one topic and type, less three standard errors (Poisson): ten of ten are too many, nine are not."""
    rejected = 'upsell:rejected_events:ongoing1h{type!="other"}'
    return f"{rejected} - 3 * sqrt({rejected}) > {share} * upsell:events:increase1h"


def _refused_for_a_day() -> str:
    """All records of a rare type were refused, and there were five or more in a day."""

    def in_a_day(result: str) -> str:
        counter = f'upsell_events_total{{result{result}"rejected", type!="other"}}'
        return f"sum without (instance, pod, result) ({growth(counter, '1d')})"

    return f"(\n    {in_a_day('=')} >= 5\n  unless\n    {in_a_day('!=')} > 0\n)"


_alert = partial(Alert, team="platform", scope="pipeline", dashboard=_PIPELINE)
_no_figures = partial(_alert, severity="critical", inhibits="kpi")
"""The figures are old or incomplete."""
_input = partial(_alert, severity="warning", scope="input", hold="1m")
_refused = partial(
    _input,
    name="UpsellTypeRefused",
    summary="{{ $labels.type }} on {{ $labels.topic }} becomes dead letters",
)
_fills_up = partial(_alert, name="UpsellRedisFillingUp")

ALERTS: tuple[Alert, ...] = (
    _alert(
        name="UpsellFiguresNotLive",
        expr="upsell:journey_up:max == 0",
        # Longer than the alerts on causes, which inhibit this one.
        hold="10m",
        severity="critical",
        summary="The {{ $labels.journey }} figures are not live",
        description="For ten minutes they have been late, incomplete or old. `upsell-stream status` says why.",
    ),
    _no_figures(
        name="UpsellPipelineStalled",
        expr=f"upsell:oldest_unapplied_seconds:max > {_OLD}",
        hold="2m",
        summary=f"Records wait in {_SHARD}",
        description="The oldest record that is not applied has waited for {{ $value | humanizeDuration }}. What waits is in no figure.",
    ),
    _no_figures(
        name="UpsellShardUnowned",
        expr=f"{_AGE} > {_UNOWNED}",
        hold="2m",
        summary=f"No worker owns shard {_SHARD}",
        description="Its last commit or tick was {{ $value | humanizeDuration }} ago. Its windows do not move, so its part of every figure is out of date.",
    ),
    _no_figures(
        name="UpsellShardHalted",
        expr=f'{_HALTED}{{reason!="partitions_grown"}} == 1',
        hold="1m",
        summary=f"Shard {_SHARD} has halted: {{{{ $labels.reason }}}}",
        description="Going on would skip events or count them twice, so the shard waits for a decision. `upsell-stream status` has the whole message.",
    ),
    _no_figures(
        name="UpsellPartitionsGrown",
        expr=f'count without (partition, reason) ({_HALTED}{{reason="partitions_grown"}} == 1)',
        hold="1m",
        summary="Topic {{ $labels.topic }} has more partitions than before",
        description="{{ $value | humanize }} new partitions are not read until somebody has decided. Their events are in no figure.",
    ),
    _no_figures(
        name="UpsellInputTopicDown",
        expr="upsell:input_topic_up:max == 0",
        hold="1m",
        summary="Topic {{ $labels.topic }} is missing or may not be read",
        description="No worker can read it, so its events are in no figure.",
    ),
    _no_figures(
        name="UpsellMetricsAbsent",
        expr=(
            f"    group without (instance, pod, version, python, faust) ({_KNOWN_WORKERS})\n"
            f"  unless\n"
            f"    group without (instance, pod, topic, partition) (last_over_time(upsell_shard_age_seconds[{RECENT}]))\n"
            f"or\n"
            f"  absent({_KNOWN_WORKERS})"
        ),
        hold="5m",
        summary="No worker exposes the figures",
        description="Either Prometheus scrapes no worker, or no worker has been able to read the figures of all shards for 30 s.",
        # Where nothing was ever scraped, the alert has no `env`, and the dashboard chooses one.
        dashboard="/d/upsell-pipeline{{ if $labels.env }}?var-env={{ $labels.env }}{{ end }}",
    ),
    _no_figures(
        name="UpsellLagGrowing",
        expr=f"    {_LAG}:sum > {_OLD} * upsell:events:rate5m\nand\n    deriv({_LAG}:sum[3m]) > 0",
        hold="10m",
        severity="warning",
        summary="Workers fall behind",
        description=f"{{{{ $value | humanize }}}} records wait. At the present rate that is more than {_OLD // 60} minutes of work, and the lag is growing.",
    ),
    _no_figures(
        name="UpsellRedisFull",
        expr=_commits_fail('reason="full"'),
        hold="1m",
        summary="Redis is full",
        description="Redis refuses writes until it has more memory. Until then no event is applied, and none is lost.",
    ),
    _no_figures(
        name="UpsellCommitsFailing",
        expr=_commits_fail('reason!="full"'),
        hold="5m",
        summary="Commits to Redis fail: {{ $labels.reason }}",
        description="{{ $value | humanize }} commits failed within two minutes, and shards stand still. The workers try again.",
    ),
    _no_figures(
        name="UpsellNoWorkerReady",
        # By shard: an idle worker is always ready and would hide it, and a worker that alone is cut off, and whose shards others own by now, would
        # raise it. Workers that have just started own no shard while Kafka is away; then no worker at all is ready.
        expr=(
            f"    max without (instance, pod) ({_OWNED} + ignoring (topic, partition) group_left () {_READY}) == 0\n"
            f"or\n"
            f"    max without (instance, pod) ({_READY}) == 0"
        ),
        # Longer than UpsellCommitsFailing, which inhibits this alert.
        hold="7m",
        summary=f"No worker{{{{ if $labels.topic }}}} that owns {_SHARD}{{{{ end }}}} is ready",
        description="Events are not read or not applied, even if windows still move. Most likely Kafka does not answer: the workers' /readyz gives the reason.",
    ),
    _alert(
        name="UpsellWorkerDown",
        expr=f"(up == 0) and on (job, instance) {_KNOWN_WORKERS}",
        hold="5m",
        severity="warning",
        summary="Worker {{ $labels.instance }} cannot be scraped",
        description="Other workers, if there are any, have taken over its partitions.",
    ),
    _alert(
        name="UpsellWorkerUnready",
        expr=f"{_READY} == 0 and on (job, instance) up == 1",
        hold="5m",
        severity="warning",
        summary="Worker {{ $labels.instance }} is not ready",
        description=(
            "It runs, but Kafka refuses it or does not answer, or its shards are not loaded or have halted, or it cannot commit. "
            "Its /readyz says which."
        ),
    ),
    _alert(
        name="UpsellFenced",
        expr=f"{_FENCED.format('1h')} > 3\nand\n{_FENCED.format('2m')} > 0",
        severity="warning",
        summary="Workers take shards from each other",
        description=(
            "Within an hour workers lost {{ $value | humanize }} shards that they were still working on. The figures are correct. "
            "Two workers may have the same kafka_group_instance_id."
        ),
    ),
    _alert(
        name="UpsellRedisMemoryHigh",
        expr=f"{_USED} / ignoring (kind) ({_LIMIT} > 0) > {_FULL}",
        hold="5m",
        severity="warning",
        summary="Redis has used {{ $value | humanizePercentage }} of its memory",
        description="When it is full, no event is applied. Give it more memory in time.",
    ),
    _fills_up(
        expr=_full_within(14_400, judged_by="1h"),
        hold="10m",
        severity="critical",
        summary="Redis will be full within 4 hours",
        description="Judged by the last hour, {{ $value | humanize1024 }}B will be used by then. When it is full, no event is applied.",
    ),
    _fills_up(
        expr=_full_within(86_400, judged_by="6h"),
        hold="30m",
        severity="warning",
        summary="Redis will be full within a day",
        description="Judged by the last six hours, {{ $value | humanize1024 }}B will be used by then. When it is full, no event is applied.",
    ),
    _refused(
        expr=_refused_of_type(0.5),
        severity="critical",
        description="More than half of the last hour's events of this type are refused and in no figure. `upsell-stream dead-letters` shows them.",
    ),
    _refused(
        expr=f"{_refused_of_type(0.05)}\nor\n{_refused_for_a_day()}",
        description=(
            "More than 5 % of the last hour's events of this type, or all of the last day's, are refused and in no figure. "
            "`upsell-stream dead-letters` shows them."
        ),
    ),
    _input(
        name="UpsellDeadLetters",
        # The count less three standard errors (Poisson): ten dead letters among few events are too many, one is not.
        expr=(
            "upsell:dead_letters:ongoing1h - 3 * sqrt(upsell:dead_letters:ongoing1h)\n"
            "> ignoring (reason) group_left ()\n"
            "0.01 * sum without (topic, type) (upsell:events:increase1h)"
        ),
        summary="Many records become dead letters: {{ $labels.reason }}",
        description=(
            "More than 1 % of the last hour's records were rejected for this reason. They are not in the figures. "
            "`upsell-stream dead-letters` shows them."
        ),
    ),
    _input(
        name="UpsellRecordsWithoutKey",
        expr=(
            "upsell:records_without_key:ongoing1h - 3 * sqrt(upsell:records_without_key:ongoing1h)\n"
            ">\n"
            "0.01 * sum without (type) (upsell:events:increase1h)"
        ),
        summary="Records without a key on {{ $labels.topic }}",
        description=(
            "More than 1 % of the last hour's records have none. Kafka spreads the events of one checkout over partitions, "
            "so it is counted several times and its upsells are not seen: the rates are wrong."
        ),
    ),
    _input(
        name="UpsellLabelOverflow",
        expr="upsell:label_overflow:ongoing1h > 0",
        summary="Too many values of {{ $labels.label }}",
        description="Within an hour {{ $value | humanize }} values beyond the limit were counted as `other`.",
    ),
    _alert(
        name="UpsellWatchdog",
        expr="vector(1)",
        severity="none",
        summary="Alerts are delivered",
        description="Always fires. The service that receives it must raise an alarm when it stops.",
        dashboard="/d/upsell-pipeline",
    ),
)
