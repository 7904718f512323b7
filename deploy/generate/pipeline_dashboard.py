"""The dashboard Pipeline: whether events are applied, and what stops them."""

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models import units

from deploy.generate.frame import empty, row, variable
from deploy.generate.panels import ANY_IS_BAD, PER_SECOND, Column, figures, lines, now, state_of_figures, thresholds
from deploy.generate.queries import ENV, Series, per_second, quantile, view

UID = "upsell-pipeline"


def pipeline() -> dashboard.Dashboard:
    """The whole dashboard."""
    shard = 'topic=~"$topic"'
    newest = view("upsell_newest_event_timestamp_seconds", shard)
    age = view("upsell_shard_age_seconds", shard)
    lag = f"sum by (topic, partition) (upsell_consumer_lag_records{{{ENV}, {shard}}})"
    intents = view("upsell_window_intent_transactions", 'window="5m"')
    return (
        empty(UID, "Upsell: pipeline", "Throughput, lag, delay and failures of the workers.", "now-3h")
        .with_variable(variable("topic", "upsell_newest_event_timestamp_seconds", several=True))
        .with_row(row(100, "Now"))
        .with_panel(
            now(
                1,
                "Workers ready",
                "Workers that have partitions, have claimed their state and can commit.",
                units.Short,
                Series(f"sum (upsell_ready{{{ENV}}})", "ready"),
                colors=thresholds((None, "red"), (1, "green")),
            )
        )
        .with_panel(
            now(
                2,
                "Workers not ready",
                "Workers that are scraped but not ready.",
                units.Short,
                Series(f"sum (1 - upsell_ready{{{ENV}}})", "not ready"),
                colors=ANY_IS_BAD,
            )
        )
        .with_panel(
            now(
                3,
                "Halted shards",
                "Shards that wait for an operator's decision. The table below has the reasons.",
                units.Short,
                # A shard that never halted has no series.
                Series(f"sum (upsell_shard_halted{{{ENV}}}) or 0 * sum (upsell_ready{{{ENV}}})", "halted"),
                colors=ANY_IS_BAD,
            )
        )
        .with_panel(now(4, "Lag", "Records that are not committed yet.", units.Short, Series(f"sum ({lag})", "lag")))
        .with_panel(
            now(
                5,
                "Oldest shard",
                "The longest time since any shard's last commit or tick. Above 30 s the windows of that shard do not move.",
                units.Seconds,
                Series(f"max ({age})", "age"),
                colors=thresholds((None, "green"), (30, "red")),
            )
        )
        .with_panel(
            now(
                6,
                "Versions",
                "Workers of each version.",
                units.Short,
                Series(f"count by (version) (upsell_build_info{{{ENV}}})", "{{version}}"),
            )
        )
        .with_panel(state_of_figures(7, Series(view("upsell_journey_up"), "{{journey}}"), width=6))
        .with_panel(
            figures(
                8,
                "Halted shards and why",
                "Empty if no shard is halted. What to do for each reason is in the runbook UpsellShardHalted.",
                ("topic", "partition", "reason"),
                Column(
                    f"max by (topic, partition, reason) ({view('upsell_shard_halt_info', shard)})",
                    "halted",
                    units.Short,
                ),
                width=9,
                height=4,
            )
        )
        .with_panel(
            figures(
                9,
                "Input topics",
                "Partitions that are read, and the workers that can read the topic. With 0 workers it is missing, or Kafka refuses to let them read it.",
                ("topic",),
                Column(f"max by (topic) ({view('upsell_input_topic_partitions', shard)})", "partitions", units.Short),
                Column(
                    f"sum by (topic) (upsell_input_topic_up{{{ENV}, {shard}}})",
                    "workers that can read it",
                    units.Short,
                    thresholds((None, "red"), (1, "green")),
                ),
                width=9,
                height=4,
            )
        )
        .with_row(row(101, "Throughput, lag and delay"))
        .with_panel(
            lines(
                10,
                "Events by result",
                "Results of the records that were read: applied, duplicate, stale, late, unmatched, unchanged, test, rejected.",
                PER_SECOND,
                Series(per_second("upsell_events_total", "result", matchers=(shard,)), "{{result}}"),
                stacked=True,
            )
        )
        .with_panel(
            lines(
                11,
                "Events by type",
                "Events with any result, by type.",
                PER_SECOND,
                Series(per_second("upsell_events_total", "type", matchers=(shard,)), "{{type}}"),
            )
        )
        .with_panel(
            lines(
                12,
                "Consumer lag",
                "Records that are not committed yet, by partition.",
                units.Short,
                Series(lag, "{{topic}}/{{partition}}"),
            )
        )
        .with_panel(
            lines(
                13,
                "Delay",
                "From an event's own time to its commit. Includes the time until its producer sent it.",
                units.Seconds,
                *(Series(quantile(q, "upsell_event_delay_seconds"), f"p{q * 100:g}") for q in (0.5, 0.95, 0.99)),
            )
        )
        .with_panel(
            lines(
                14,
                "Age of the newest event",
                "Age of the newest event of each shard. An old event without lag means that producers sent nothing newer.",
                units.Seconds,
                Series(f"time() - {newest}", "{{topic}}/{{partition}}"),
            )
        )
        .with_panel(
            lines(
                15,
                "Shard age",
                "Time since a shard's last commit or tick. Its owner ticks every 5 s.",
                units.Seconds,
                Series(age, "{{topic}}/{{partition}}"),
                colors=thresholds((None, "green"), (30, "red")),
            )
        )
        .with_panel(
            lines(
                16,
                "Oldest record not applied",
                "How long the oldest record has waited, by partition. 0 if all are applied.",
                units.Seconds,
                Series(
                    f"max by (topic, partition) (upsell_oldest_unapplied_seconds{{{ENV}, {shard}}})",
                    "{{topic}}/{{partition}}",
                ),
            )
        )
        .with_panel(
            lines(
                17,
                "Redis memory",
                "Used memory, and `maxmemory` if Redis has a limit and lets the worker ask for it.",
                units.BytesIEC,
                Series(view("upsell_redis_memory_bytes"), "{{kind}}"),
            )
        )
        .with_row(row(102, "Commits"))
        .with_panel(
            lines(
                20,
                "Commits",
                "Committed batches, and failed attempts, which workers retry.",
                PER_SECOND,
                Series(per_second("upsell_commits_total"), "commits"),
                Series(per_second("upsell_commit_failures_total", "reason"), "failed: {{reason}}"),
                width=8,
            )
        )
        .with_panel(
            lines(
                21,
                "Commit duration",
                "Duration of a commit, including its retries.",
                units.Seconds,
                *(Series(quantile(q, "upsell_commit_duration_seconds"), f"p{q * 100:g}") for q in (0.5, 0.95, 0.99)),
                width=8,
            )
        )
        .with_panel(
            lines(
                22,
                "Batch size",
                "Average number of records in a committed batch. A worker that is catching up has batches of nearly `batch_records`.",
                units.Short,
                Series(
                    f"{per_second('upsell_batch_events_sum')} / {per_second('upsell_batch_events_count')}", "records"
                ),
                width=8,
            )
        )
        .with_row(row(103, "Failures and limits"))
        .with_panel(
            lines(
                30,
                "Dead letters",
                "Rejected records by reason. The originals are in the dead-letter topic.",
                PER_SECOND,
                Series(per_second("upsell_dead_letters_total", "reason"), "{{reason}}"),
                width=8,
            )
        )
        .with_panel(
            lines(
                36,
                "Dead letters by topic and type",
                "Rejected records by the type of their event; `other` if it is unknown or could not be read.",
                PER_SECOND,
                Series(
                    per_second("upsell_events_total", "topic", "type", matchers=('result="rejected"', shard)),
                    "{{topic}} {{type}}",
                ),
                width=8,
            )
        )
        .with_panel(
            lines(
                37,
                "Records without a key",
                "Kafka spreads the events of one checkout over partitions, so it is counted several times.",
                PER_SECOND,
                Series(per_second("upsell_records_without_key_total", "topic", matchers=(shard,)), "{{topic}}"),
                width=8,
            )
        )
        .with_panel(
            lines(
                31,
                "Rebalances and lost shards",
                "Rebalances of the consumer group, and shards that another worker took while their owner was working on them.",
                units.Short,
                Series(f"sum (increase(upsell_rebalances_total{{{ENV}}}[$__rate_interval]))", "rebalances"),
                Series(f"sum (increase(upsell_fenced_total{{{ENV}}}[$__rate_interval]))", "fenced"),
                width=8,
            )
        )
        .with_panel(
            lines(
                32,
                "Label values beyond the limit",
                "Values of channel, segment, category or currency that are counted as `other`.",
                PER_SECOND,
                Series(per_second("upsell_label_overflow_total", "label"), "{{label}}"),
                width=8,
            )
        )
        .with_panel(
            lines(
                33,
                "Known and unknown intents",
                "Transactions of the last 5 minutes. If `unknown` grows, `started` events are missing and the rates are too low.",
                units.Short,
                Series(intents, "{{journey}} {{intent}}"),
                width=8,
            )
        )
        .with_panel(
            lines(
                34,
                "Newly counted transactions",
                "Transactions when they are first judged, by journey. Unlike the windows, this is never corrected, and a replay counts again.",
                PER_SECOND,
                Series(per_second("upsell_transactions_total", "journey", matchers=('kind="all"',)), "{{journey}}"),
                width=8,
            )
        )
        .with_panel(
            lines(
                35,
                "Details withheld",
                "1 if workers withhold this detail of the windows, to stay within the limit of series.",
                units.Short,
                Series(view("upsell_view_withheld"), "{{detail}}"),
                width=8,
            )
        )
    )
