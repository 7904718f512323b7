"""Whether events flow, and what stops them."""

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models import units

from deploy.generate.frame import empty, row, variable
from deploy.generate.panels import ANY_IS_BAD, PER_SECOND, lines, now, thresholds
from deploy.generate.queries import ENV, Series, per_second, quantile, view

UID = "upsell-pipeline"


def pipeline() -> dashboard.Dashboard:
    """Whether events flow, and what is in the way."""
    shard = 'topic=~"$topic"'
    watermark = view("upsell_newest_event_timestamp_seconds", shard)
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
                "Workers that are assigned, have claimed their state and commit.",
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
                "Shards that stand still until somebody mends them: see the log of their worker.",
                units.Short,
                # A shard that never halted has no series.
                Series(f"sum (upsell_shard_halted{{{ENV}}}) or 0 * sum (upsell_ready{{{ENV}}})", "halted"),
                colors=ANY_IS_BAD,
            )
        )
        .with_panel(now(4, "Lag", "Records that wait to be committed.", units.Short, Series(f"sum ({lag})", "lag")))
        .with_panel(
            now(
                5,
                "Oldest shard",
                "Time since the shard that is longest without a commit or tick had one. Above 30 s its windows stand still.",
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
        .with_row(row(101, "Throughput, lag and delay"))
        .with_panel(
            lines(
                10,
                "Events by result",
                "What became of the records read: applied, duplicate, stale, late, unmatched, test, rejected.",
                PER_SECOND,
                Series(per_second("upsell_events_total", "result", matchers=(shard,)), "{{result}}"),
                stacked=True,
            )
        )
        .with_panel(
            lines(
                11,
                "Events by type",
                "All results together.",
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
                "From an event's own time to its commit. Producers that send late are in it, too.",
                units.Seconds,
                *(Series(quantile(q, "upsell_event_delay_seconds"), f"p{q * 100:g}") for q in (0.5, 0.95, 0.99)),
            )
        )
        .with_panel(
            lines(
                14,
                "Watermark age",
                "How old the newest event of a shard is. Old without lag means that nothing was sent.",
                units.Seconds,
                Series(f"time() - {watermark}", "{{topic}}/{{partition}}"),
            )
        )
        .with_panel(
            lines(
                15,
                "Shard age",
                "Time since a shard's last commit or tick; its owner ticks every 5 s.",
                units.Seconds,
                Series(age, "{{topic}}/{{partition}}"),
                colors=thresholds((None, "green"), (30, "red")),
            )
        )
        .with_row(row(102, "Commits"))
        .with_panel(
            lines(
                20,
                "Commits",
                "Batches committed, and attempts that failed and were made again.",
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
                "With all attempts.",
                units.Seconds,
                *(Series(quantile(q, "upsell_commit_duration_seconds"), f"p{q * 100:g}") for q in (0.5, 0.95, 0.99)),
                width=8,
            )
        )
        .with_panel(
            lines(
                22,
                "Batch size",
                "Records in a committed batch, on average. Near the setting `batch_records`, the worker is catching up.",
                units.Short,
                Series(
                    f"{per_second('upsell_batch_events_sum')} / {per_second('upsell_batch_events_count')}", "records"
                ),
                width=8,
            )
        )
        .with_row(row(103, "What is in the way"))
        .with_panel(
            lines(
                30,
                "Dead letters",
                "Records that could not be used, by reason; the originals are in the dead letter topic.",
                PER_SECOND,
                Series(per_second("upsell_dead_letters_total", "reason"), "{{reason}}"),
                width=8,
            )
        )
        .with_panel(
            lines(
                31,
                "Rebalances and lost shards",
                "Times that partitions were assigned anew, and shards lost to another owner in the midst of work.",
                units.Short,
                Series(f"sum (increase(upsell_rebalances_total{{{ENV}}}[$__rate_interval]))", "rebalances"),
                Series(f"sum (increase(upsell_fenced_total{{{ENV}}}[$__rate_interval]))", "fenced"),
                width=8,
            )
        )
        .with_panel(
            lines(
                32,
                "Label values without a place",
                "Values of channel, segment, category or currency that were counted as `other`.",
                PER_SECOND,
                Series(per_second("upsell_label_overflow_total", "label"), "{{label}}"),
                width=8,
            )
        )
        .with_panel(
            lines(
                33,
                "What is known of the intent",
                "Transactions of the last 5 minutes. Where `unknown` grows, `started` events are missing and rates are too low.",
                units.Short,
                Series(intents, "{{journey}} {{intent}}"),
                width=8,
            )
        )
        .with_panel(
            lines(
                34,
                "Newly counted transactions",
                "As they are judged, by journey: unlike the windows never corrected, and counted again when replayed.",
                PER_SECOND,
                Series(per_second("upsell_transactions_total", "journey", matchers=('kind="all"',)), "{{journey}}"),
                width=8,
            )
        )
        .with_panel(
            lines(
                35,
                "Details withheld",
                "1: a detail of the windows is not exposed, to keep the bound of series.",
                units.Short,
                Series(view("upsell_view_withheld"), "{{detail}}"),
                width=8,
            )
        )
    )
