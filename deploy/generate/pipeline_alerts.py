"""Alerts on the product itself: whether events come through, and whether the figures can be trusted.

Rules: what says that figures stand still or lack events inhibits the alerts on KPIs of the same `env`, and outlives them (`keep_firing_for`).
A single worker that is away wakes nobody: the others take over. Ages are the product's own and follow no time scale.
"""

from deploy.generate.rule import DAY, HOUR, MINUTE, Alert, Group, Times

_PIPELINE = "/d/upsell-pipeline?var-env={{ $labels.env }}"
_SHARD = "{{ $labels.topic }}/{{ $labels.partition }}"
_OLD = 300
"""Seconds of watermark age at which figures are called old, and of work that may wait."""
_UNOWNED = 60
"""Seconds; an owned shard ticks every 5 s, and a lost worker's is taken over within the session timeout."""


def group(times: Times) -> Group:
    """All of them."""
    return Group(
        "upsell-pipeline-alerts",
        (
            *_standing_still(times),
            *_commits(times),
            *_workers(times),
            *_quality(times),
            Alert(
                name="UpsellWatchdog",
                expr="vector(1)",
                severity="none",
                team="platform",
                scope="pipeline",
                summary="Alerts are delivered",
                description="Always fires. Whoever receives it should raise the alarm when it stops coming.",
                dashboard="/d/upsell-pipeline",
            ),
        ),
    )


def _standing_still(times: Times) -> tuple[Alert, ...]:
    age, lag = "upsell:newest_event_timestamp_seconds:max", "upsell:consumer_lag_records:max"
    kept = times.span(15 * MINUTE)
    build = times.range(DAY)
    fresh = times.range(2 * MINUTE)
    return (
        Alert(
            name="UpsellPipelineStalled",
            expr=(f"    {lag} > 0\nunless\n    time() - {age} <= {_OLD}"),
            hold=times.span(5 * MINUTE),
            keep=kept,
            severity="critical",
            team="platform",
            scope="pipeline",
            inhibits_kpis=True,
            summary=f"Events wait in {_SHARD} and the figures are old",
            description=f"{{{{ $value | humanize }}}} records are not applied, and the newest event that is was more than {_OLD // MINUTE} minutes ago.",
            dashboard=_PIPELINE,
        ),
        Alert(
            name="UpsellShardUnowned",
            expr=f"upsell:shard_age_seconds:max > {_UNOWNED}",
            hold=times.span(2 * MINUTE),
            keep=kept,
            severity="critical",
            team="platform",
            scope="pipeline",
            inhibits_kpis=True,
            summary=f"No worker moves the windows of {_SHARD}",
            description="Its last commit or tick was {{ $value | humanizeDuration }} ago, so its part of every figure stands still.",
            dashboard=_PIPELINE,
        ),
        Alert(
            name="UpsellShardHalted",
            expr=f"max without (instance, pod) (last_over_time(upsell_shard_halted[{fresh}])) == 1",
            hold=times.span(MINUTE),
            keep=kept,
            severity="critical",
            team="platform",
            scope="pipeline",
            inhibits_kpis=True,
            summary=f"Shard {_SHARD} has halted",
            description="Going on would leave events out or count them twice, so it waits for a decision. The worker's log says why.",
            dashboard=_PIPELINE,
        ),
        Alert(
            name="UpsellMetricsAbsent",
            expr=(
                f"    group without (instance, pod, version, python, faust) (last_over_time(upsell_build_info[{build}]))\n"
                f"  unless\n"
                f"    group without (instance, pod, topic, partition) (last_over_time(upsell_shard_age_seconds[{fresh}]))\n"
                f"or\n"
                f"  absent(last_over_time(upsell_build_info[{build}]))"
            ),
            hold=times.span(5 * MINUTE),
            keep=kept,
            severity="critical",
            team="platform",
            scope="pipeline",
            inhibits_kpis=True,
            summary="No worker exposes the figures",
            description="Either nothing is scraped, or no worker has been able to read the figures of all shards for 30 s.",
            dashboard=_PIPELINE,
        ),
        Alert(
            name="UpsellLagGrowing",
            expr=(
                f"    upsell:consumer_lag_records:sum > {_OLD} * upsell:events:rate5m\n"
                f"and\n"
                f"    deriv(upsell:consumer_lag_records:sum[{times.range(15 * MINUTE)}]) > 0"
            ),
            hold=times.span(10 * MINUTE),
            keep=kept,
            severity="warning",
            team="platform",
            scope="pipeline",
            inhibits_kpis=True,
            summary="Workers fall behind",
            description=(
                f"{{{{ $value | humanize }}}} records wait, more than {_OLD // MINUTE} minutes of work at the present pace, and they become more."
            ),
            dashboard=_PIPELINE,
        ),
    )


def _commits(times: Times) -> tuple[Alert, ...]:
    # A sum over a short range: one failure must not hold an alert's `for` on its own.
    failures = (
        f"sum without (instance, pod) (increase(upsell_commit_failures_total{{}}[{times.range(2 * MINUTE)}])) > 0"
    )
    return (
        Alert(
            name="UpsellRedisFull",
            expr=failures.replace("{}", '{reason="full"}'),
            hold=times.span(MINUTE),
            keep=times.span(15 * MINUTE),
            severity="critical",
            team="platform",
            scope="pipeline",
            inhibits_kpis=True,
            summary="Redis is full",
            description="Nothing is applied and nothing is lost until it has more memory.",
            dashboard=_PIPELINE,
        ),
        Alert(
            name="UpsellCommitsFailing",
            expr=failures.replace("{}", '{reason!="full"}'),
            hold=times.span(5 * MINUTE),
            keep=times.span(15 * MINUTE),
            severity="critical",
            team="platform",
            scope="pipeline",
            inhibits_kpis=True,
            summary="Commits to Redis fail: {{ $labels.reason }}",
            description="They are made again; {{ $value | humanize }} failed within two minutes.",
            dashboard=_PIPELINE,
        ),
    )


def _workers(times: Times) -> tuple[Alert, ...]:
    known = f"last_over_time(upsell_build_info[{times.range(DAY)}])"
    fresh = times.range(2 * MINUTE)
    ready = f"last_over_time(upsell_ready[{fresh}])"
    owned = f"0 * last_over_time(upsell_consumer_lag_records[{fresh}])"
    return (
        Alert(
            name="UpsellNoWorkerReady",
            # By shard, so that neither an idle worker, which is ready, hides it nor one that is cut off alone, whose shards others have by now,
            # makes it. Workers that have just started have no shards while Kafka is away: then it is whether any is ready.
            expr=(
                f"    max without (instance, pod) ({owned} + ignoring (topic, partition) group_left () {ready}) == 0\n"
                f"or\n"
                f"    max without (instance, pod) ({ready}) == 0"
            ),
            # Later than what says that commits fail, earlier than what says that work waits: the one inhibits it, it inhibits the other.
            hold=times.span(7 * MINUTE),
            keep=times.span(15 * MINUTE),
            severity="critical",
            team="platform",
            scope="pipeline",
            inhibits_kpis=True,
            summary=f"No worker{{{{ if $labels.topic }}}} that has {_SHARD}{{{{ end }}}} is ready",
            description="Events are not read or not applied, although windows may move on: Kafka is away, most likely. /readyz of the workers says why.",
            dashboard=_PIPELINE,
        ),
        Alert(
            name="UpsellWorkerDown",
            expr=f"(up == 0) and on (job, instance) {known}",
            hold=times.span(5 * MINUTE),
            keep=times.span(5 * MINUTE),
            severity="warning",
            team="platform",
            scope="pipeline",
            summary="Worker {{ $labels.instance }} cannot be scraped",
            description="The other workers have taken its partitions over, if there are any.",
            dashboard=_PIPELINE,
        ),
        Alert(
            name="UpsellWorkerUnready",
            expr=f"{ready} == 0 and on (job, instance) up == 1",
            hold=times.span(5 * MINUTE),
            keep=times.span(5 * MINUTE),
            severity="warning",
            team="platform",
            scope="pipeline",
            summary="Worker {{ $labels.instance }} is not ready",
            description="It runs, but Kafka has not given out partitions or does not answer, or it has no state or cannot commit; its /readyz says which.",
            dashboard=_PIPELINE,
        ),
        Alert(
            name="UpsellFenced",
            expr=f"sum without (instance, pod) (increase(upsell_fenced_total[{times.range(HOUR)}])) > 3",
            keep=times.span(10 * MINUTE),
            severity="warning",
            team="platform",
            scope="pipeline",
            summary="Workers take shards from each other",
            description="Within an hour {{ $value | humanize }} shards were lost in the midst of work. No figure is wrong for it.",
            dashboard=_PIPELINE,
        ),
    )


def _quality(times: Times) -> tuple[Alert, ...]:
    dead = f"sum without (instance, pod) ({_counted('upsell_dead_letters_total', times)})"
    events = f"sum without (instance, pod, topic, type, result) ({_counted('upsell_events_total', times)})"
    return (
        Alert(
            name="UpsellDeadLetters",
            # Three standard errors of a Poisson count below what was counted: ten of few events are too many, one is not.
            expr=f"{dead} - 3 * sqrt({dead}) > ignoring (reason) group_left () 0.01 * {events}",
            hold=times.span(5 * MINUTE),
            keep=times.span(10 * MINUTE),
            severity="warning",
            team="platform",
            scope="input",
            summary="Many records become dead letters: {{ $labels.reason }}",
            description="More than 1 % of an hour's records are refused for this reason and are in no figure.",
            dashboard=_PIPELINE,
        ),
        Alert(
            name="UpsellLabelOverflow",
            expr=f"sum without (instance, pod) ({_counted('upsell_label_overflow_total', times)}) > 0",
            hold=times.span(15 * MINUTE),
            keep=times.span(10 * MINUTE),
            severity="warning",
            team="platform",
            scope="input",
            summary="More values of {{ $labels.label }} than have a place",
            description="Those beyond the bound are counted as `other`: {{ $value | humanize }} within an hour.",
            dashboard=_PIPELINE,
        ),
    )


def _counted(counter: str, times: Times) -> str:
    """What each series of a counter counted within an hour, its first value included.

    `increase` knows no value before the first and takes it for counted earlier; but a series appears with what it counts first, be it a whole burst.
    Series without a sample in the half hour before are new, so all they have was counted since: the highest, be it that the worker started anew
    meanwhile. Half an hour, so that old series are not new after some scrapes that failed.
    """
    hour = times.range(HOUR)
    before = f"present_over_time({counter}[{times.range(30 * MINUTE)}] offset {times.span(HOUR)})"
    return f"(max_over_time({counter}[{hour}]) unless {before}) or increase({counter}[{hour}])"
