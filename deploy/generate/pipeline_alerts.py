"""Alerts on the product itself: whether events are applied, and whether the figures can be trusted.

Rules: an alert that means that figures are old or incomplete inhibits the alerts on KPIs of the same `env`, and outlives them (`keep`). One worker
that is away pages nobody: the others take over its shards. Ages are measured by the product and follow no time scale.
"""

from functools import partial

from deploy.generate.rule import Alert

_PIPELINE = "/d/upsell-pipeline?var-env={{ $labels.env }}"
_SHARD = "{{ $labels.topic }}/{{ $labels.partition }}"
_OLD = 300
"""Seconds. Figures are old if the newest applied event is older; a lag is too long if its records take longer to apply."""
_UNOWNED = 60
"""Seconds. The owner of a shard ticks every 5 s, and another worker takes over a lost worker's shards within the session timeout."""

_LAG = "upsell:consumer_lag_records"
_KNOWN_WORKERS = "last_over_time(upsell_build_info[1d])"
_READY = "last_over_time(upsell_ready[2m])"
_OWNED = "0 * last_over_time(upsell_consumer_lag_records[2m])"
# A sum over a short range, so that one failure alone does not last for an alert's `for`.
_FAILURES = "sum without (instance, pod) (increase(upsell_commit_failures_total{{{}}}[2m])) > 0"


def _within_an_hour(counter: str) -> str:
    """How much each series of a counter has grown within an hour, including its first value.

    `increase` ignores the first value of a series, but a series appears only when there is something to count, and that may be a whole burst.
    So a series without a sample in the half hour before is new, and its highest value is its growth, even if the worker has restarted since.
    Half an hour, so that a few failed scrapes do not make an old series look new.
    """
    before = f"present_over_time({counter}[30m] offset 1h)"
    return f"(max_over_time({counter}[1h]) unless {before}) or increase({counter}[1h])"


_DEAD_LETTERS = f"sum without (instance, pod) ({_within_an_hour('upsell_dead_letters_total')})"
_EVENTS = f"sum without (instance, pod, topic, type, result) ({_within_an_hour('upsell_events_total')})"
_OVERFLOW = f"sum without (instance, pod) ({_within_an_hour('upsell_label_overflow_total')})"

_alert = partial(Alert, team="platform", scope="pipeline", dashboard=_PIPELINE)
_no_figures = partial(_alert, severity="critical", keep="15m", inhibits_kpis=True)
"""The figures are old or incomplete."""

ALERTS: tuple[Alert, ...] = (
    _no_figures(
        name="UpsellPipelineStalled",
        expr=f"    {_LAG}:max > 0\nunless\n    time() - upsell:newest_event_timestamp_seconds:max <= {_OLD}",
        hold="5m",
        summary=f"Records wait in {_SHARD} and the figures are old",
        description=f"{{{{ $value | humanize }}}} records are not applied yet, and the newest applied event is more than {_OLD // 60} minutes old.",
    ),
    _no_figures(
        name="UpsellShardUnowned",
        expr=f"upsell:shard_age_seconds:max > {_UNOWNED}",
        hold="2m",
        summary=f"No worker owns shard {_SHARD}",
        description="Its last commit or tick was {{ $value | humanizeDuration }} ago. Its windows do not move, so its part of every figure is out of date.",
    ),
    _no_figures(
        name="UpsellShardHalted",
        expr="max without (instance, pod) (last_over_time(upsell_shard_halted[2m])) == 1",
        hold="1m",
        summary=f"Shard {_SHARD} has halted",
        description="Going on would skip events or count them twice, so its worker waits for a decision. The worker's log gives the reason.",
    ),
    _no_figures(
        name="UpsellMetricsAbsent",
        expr=(
            f"    group without (instance, pod, version, python, faust) ({_KNOWN_WORKERS})\n"
            f"  unless\n"
            f"    group without (instance, pod, topic, partition) (last_over_time(upsell_shard_age_seconds[2m]))\n"
            f"or\n"
            f"  absent({_KNOWN_WORKERS})"
        ),
        hold="5m",
        summary="No worker exposes the figures",
        description="Either Prometheus scrapes no worker, or no worker has been able to read the figures of all shards for 30 s.",
    ),
    _no_figures(
        name="UpsellLagGrowing",
        expr=f"    {_LAG}:sum > {_OLD} * upsell:events:rate5m\nand\n    deriv({_LAG}:sum[15m]) > 0",
        hold="10m",
        severity="warning",
        summary="Workers fall behind",
        description=f"{{{{ $value | humanize }}}} records wait. At the present rate that is more than {_OLD // 60} minutes of work, and the lag is growing.",
    ),
    _no_figures(
        name="UpsellRedisFull",
        expr=_FAILURES.format('reason="full"'),
        hold="1m",
        summary="Redis is full",
        description="Redis refuses writes until it has more memory. Until then no event is applied, and none is lost.",
    ),
    _no_figures(
        name="UpsellCommitsFailing",
        expr=_FAILURES.format('reason!="full"'),
        hold="5m",
        summary="Commits to Redis fail: {{ $labels.reason }}",
        description="{{ $value | humanize }} commits failed within two minutes. The workers retry them.",
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
        # Longer than UpsellCommitsFailing, which inhibits this alert, and shorter than what this alert inhibits.
        hold="7m",
        summary=f"No worker{{{{ if $labels.topic }}}} that owns {_SHARD}{{{{ end }}}} is ready",
        description="Events are not read or not applied, even if windows still move. Most likely Kafka does not answer: the workers' /readyz gives the reason.",
    ),
    _alert(
        name="UpsellWorkerDown",
        expr=f"(up == 0) and on (job, instance) {_KNOWN_WORKERS}",
        hold="5m",
        keep="5m",
        severity="warning",
        summary="Worker {{ $labels.instance }} cannot be scraped",
        description="Other workers, if there are any, have taken over its partitions.",
    ),
    _alert(
        name="UpsellWorkerUnready",
        expr=f"{_READY} == 0 and on (job, instance) up == 1",
        hold="5m",
        keep="5m",
        severity="warning",
        summary="Worker {{ $labels.instance }} is not ready",
        description=(
            "It runs, but Kafka has assigned no partitions or does not answer, or it has not loaded its state, or it cannot commit. "
            "Its /readyz says which."
        ),
    ),
    _alert(
        name="UpsellFenced",
        expr="sum without (instance, pod) (increase(upsell_fenced_total[1h])) > 3",
        keep="10m",
        severity="warning",
        summary="Workers take shards from each other",
        description="Within an hour workers lost {{ $value | humanize }} shards that they were still working on. The figures are correct.",
    ),
    _alert(
        name="UpsellDeadLetters",
        # The count less three standard errors (Poisson): ten dead letters among few events are too many, one is not.
        expr=f"{_DEAD_LETTERS} - 3 * sqrt({_DEAD_LETTERS}) > ignoring (reason) group_left () 0.01 * {_EVENTS}",
        hold="5m",
        keep="10m",
        severity="warning",
        scope="input",
        summary="Many records become dead letters: {{ $labels.reason }}",
        description="More than 1 % of the last hour's records were rejected for this reason. They are not in the figures.",
    ),
    _alert(
        name="UpsellLabelOverflow",
        expr=f"{_OVERFLOW} > 0",
        hold="15m",
        keep="10m",
        severity="warning",
        scope="input",
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
