"""`upsell-stream worker`."""

import click

from stream.app import run
from stream.cli.options import EVERYTHING, with_settings
from stream.settings import Settings


@click.command(
    epilog="""\b
Examples:
  upsell-stream worker --config upsell.toml
  upsell-stream worker --bootstrap-servers kafka-1:9092,kafka-2:9092 --redis-url redis://redis:6379/0
  UPSELL_REDIS_PASSWORD_FILE=/run/secrets/redis upsell-stream worker --http-host 0.0.0.0
"""
)
@with_settings(EVERYTHING)
@click.pass_context
def worker(ctx: click.Context, settings: Settings) -> None:
    """Run one worker until SIGTERM or Ctrl-C.

    Workers with the same --app-id share the partitions of both input topics. Metrics, health, rates and the live page are served
    on --http-host and --http-port. Settings that are not given as options come from the environment, then from the file.
    """
    ctx.exit(run(settings))
