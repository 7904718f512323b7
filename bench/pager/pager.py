"""How good the alerts on rates are: false alarms and delays, simulated over many shops, without Prometheus.

`python bench/pager/pager.py [--shops N] [--seed S]` prints the tables of docs/explanation/pager.md. Rules: one step is a minute, as the rules are evaluated;
windows are sums of minutes; constants are those of the rules; a page is an alert that starts to fire. Shops differ only by chance.
"""

import argparse
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deploy.generate.kpi_alerts import Z as LAST_WEEK_Z
from deploy.generate.recording import Z_REVENUE, Z

Counts = NDArray[Any]
"""A row per shop, a column per minute."""
Flags = NDArray[Any]

RATE = 0.25
HOUR, DAY, WEEK = 60, 1440, 10_080
HOLD, KEEP = 5, 10
QUIET_DAYS = 30
DESIGN_Z = 2.326
"""One-sided 99 %: the usual choice, and the first design's."""


def rhythm(per_hour: float, days: int) -> NDArray[Any]:
    """Expected sales per minute: most at 20 h, a tenth of the mean at 8 h."""
    minute = np.arange(DAY)
    return np.tile(per_hour / HOUR * (1 + 0.9 * np.cos(2 * np.pi * (minute / DAY - 20 / 24))), days)


def shops(
    rng: np.random.Generator, number: int, per_hour: float, days: int, *, factor: float = 1.0, since: int | None = None
) -> tuple[Counts, Counts]:
    """Sales, and sales with an upsell or cross-sell. From minute `since` on the rate is multiplied by `factor`."""
    expected = rhythm(per_hour, days)
    rate = np.full(len(expected), RATE)
    if since is not None:
        rate[since:] *= factor
    trials = rng.poisson(expected, (number, len(expected)))
    return trials, rng.binomial(trials, rate)


def window(values: Counts, minutes: int) -> Counts:
    """At each minute, the sum of the last `minutes`."""
    total = np.cumsum(values, axis=1)
    total[:, minutes:] -= total[:, :-minutes].copy()
    return total


def six_hours(hours: Counts) -> Counts:
    """The sum of the last six full hours, from a window of one hour, as in the rules."""
    full = window(hours[:, ::HOUR], 6)
    return np.repeat(full, HOUR, axis=1)[:, : hours.shape[1]]


def upper(successes: Counts, trials: Counts, z: float) -> NDArray[Any]:
    """Wilson's upper bound. NaN without trials, so that no comparison holds."""
    p = np.minimum(successes / trials, 1)
    spread = z * np.sqrt(p * (1 - p) / trials + z**2 / (4 * trials**2))
    bound: NDArray[Any] = (p + z**2 / (2 * trials) + spread) / (1 + z**2 / trials)
    return bound


def below_target(trials: Counts, successes: Counts, target: float, z: float) -> Flags:
    """The expression of UpsellRateBelowTarget."""
    (n5, k5), (n1, k1), (nd, kd) = ((window(trials, m), window(successes, m)) for m in (5, HOUR, DAY))
    slow = (upper(six_hours(k1), six_hours(n1), z) < target) | (upper(kd, nd, z) < target)
    return ((upper(k1, n1, z) < target) & (k5 / n5 < target)) | (slow & (k1 / n1 < target))


def below_in_an_hour(trials: Counts, successes: Counts, target: float, z: float) -> Flags:
    """Only the hour's window, with the 5-minute rate."""
    (n5, k5), (n1, k1) = ((window(trials, m), window(successes, m)) for m in (5, HOUR))
    return (upper(k1, n1, z) < target) & (k5 / n5 < target)


def below_last_week(trials: Counts, successes: Counts, z: float) -> Flags:
    """The expression of UpsellRateBelowLastWeek; False in the first week."""
    low = np.zeros(trials.shape, dtype=bool)
    for minutes in (HOUR, DAY):
        n, k = window(trials, minutes), window(successes, minutes)
        now, then = (n[:, WEEK:], k[:, WEEK:]), (n[:, :-WEEK], k[:, :-WEEK])
        pooled = (now[1] + then[1]) / (now[0] + then[0])
        p, q = now[1] / now[0], then[1] / then[0]
        low[:, WEEK:] |= (p < 0.8 * q) & ((p - q) / np.sqrt(pooled * (1 - pooled) * (1 / now[0] + 1 / then[0])) < -z)
    return low


def firing(low: Flags) -> Flags:
    """Whether the alert fires, with `for` and `keep_firing_for`."""
    held = window(low.astype(np.int64), HOLD + 1) == HOLD + 1
    return window(held.astype(np.int64), KEEP + 1) > 0


def pages(low: Flags, since: int) -> Counts:
    """How often the alert starts to fire from minute `since` on, by shop."""
    fires = firing(low)
    begun: Counts = (fires[:, since:] & ~fires[:, since - 1 : -1]).sum(axis=1)
    return begun


def hours_to_page(low: Flags, since: int) -> NDArray[Any]:
    """Hours from minute `since` to the first page, by shop; infinite if there is none."""
    fires = firing(low)[:, since:]
    return np.where(fires.any(axis=1), fires.argmax(axis=1) / HOUR, np.inf)


def likelihood_sum(trials: Counts, successes: Counts, factor: float) -> NDArray[Any]:
    """Page's CUSUM of the likelihood ratio, which knows both rates: no test with as few false alarms is faster (Moustakides)."""
    worse = RATE * factor
    gain = successes * np.log(worse / RATE) + (trials - successes) * np.log((1 - worse) / (1 - RATE))
    total = np.cumsum(gain, axis=1)
    score: NDArray[Any] = total - np.minimum(np.minimum.accumulate(total, axis=1), 0)
    return score


def threshold_of(rng: np.random.Generator, number: int, per_hour: float, factor: float) -> float:
    """The threshold of the CUSUM that one in 20 quiet shops reaches within 30 days."""
    quiet = likelihood_sum(*shops(rng, number, per_hour, QUIET_DAYS), factor)
    return float(np.quantile(quiet.max(axis=1), 0.95))


def best_hours(trials: Counts, successes: Counts, factor: float, threshold: float, since: int) -> NDArray[Any]:
    """Hours until that CUSUM detects the fall, by shop."""
    over = likelihood_sum(trials, successes, factor)[:, since:] > threshold
    return np.where(over.any(axis=1), over.argmax(axis=1) / HOUR, np.inf)


def revenue_below_target(rng: np.random.Generator, number: int, per_hour: float, days: int, margin: float) -> Flags:
    """The expression of UpsellRevenueBelowTarget, for baskets of widely different amounts and a target below the mean ratio."""
    trials = rng.poisson(rhythm(per_hour, days), (number, days * DAY))
    initial, final = np.zeros(trials.shape), np.zeros(trials.shape)
    for shop, counts in enumerate(trials):
        minute = np.repeat(np.arange(len(counts)), counts)
        intent = rng.lognormal(4, 1, len(minute))
        paid = intent + np.where(rng.random(len(minute)) < RATE, rng.lognormal(3.5, 1, len(minute)), 0)
        initial[shop] = np.bincount(minute, intent, len(counts))
        final[shop] = np.bincount(minute, paid, len(counts))
    target = margin * (1 + RATE * np.exp(3.5 - 4))
    hour = window(final, HOUR) / np.where(window(trials, HOUR) > 0, window(initial, HOUR), np.nan)
    day = window(final, DAY) / window(initial, DAY)
    marks = hour[:, ::HOUR]
    known = ~np.isnan(marks)
    n = window(known.astype(np.int64), 24)
    mean = window(np.where(known, marks, 0), 24) / n
    spread = np.sqrt(np.maximum(window(np.where(known, marks**2, 0), 24) / n - mean**2, 0))
    error = np.where(n >= 12, spread / np.sqrt(n), np.nan)
    error = np.repeat(error, HOUR, axis=1)[:, : hour.shape[1]]
    low: Flags = (day + Z_REVENUE * error < target) & (hour < target)
    return low


def quiet(rng: np.random.Generator, number: int) -> None:
    """Print the false alarms of shops whose rate does not change."""
    print(f"| sales/h | target | shops paged of {number} | pages per shop | hour alone, 99 %: pages per shop |")
    print("| ---: | ---: | ---: | ---: | ---: |")
    others: dict[float, tuple[float, float, float]] = {}
    for per_hour in (5, 20, 50):
        # The first eight days fill all windows, and those of last week.
        trials, successes = shops(rng, number, per_hour, QUIET_DAYS + 8)
        since = 8 * DAY
        for margin in (0.90, 0.95):
            counted = pages(below_target(trials, successes, margin * RATE, Z), since)
            planned = pages(below_in_an_hour(trials, successes, margin * RATE, DESIGN_Z), since)
            print(
                f"| {per_hour} | {margin:.0%} of the true rate | {np.count_nonzero(counted)} "
                f"| {counted.mean():.2f} | {planned.mean():.2f} |"
            )
        weekly = [pages(below_last_week(trials, successes, z), since).mean() for z in (LAST_WEEK_Z, 3)]
        paid = pages(revenue_below_target(rng, number, per_hour, QUIET_DAYS + 1, 0.95), DAY)
        others[per_hour] = float(weekly[0]), float(weekly[1]), float(paid.mean())
    print("\n| sales/h | below last week | the same at 3 standard errors | revenue below 95 % of the true ratio |")
    print("| ---: | ---: | ---: | ---: |")
    for sales, figures in others.items():
        print(f"| {sales} | " + " | ".join(f"{figure:.2f}" for figure in figures) + " |")


def falls(rng: np.random.Generator, number: int) -> None:
    """Print the delay from a fall of the rate to the page."""
    header = "median (95 %)"
    print(
        f"| fall | from | target | {header} | optimal: {header} | hour alone, 99.98 % |\n| --- | --- | ---: | ---: | ---: | ---: |"
    )
    for name, per_hour, factor in (("a third at 50 sales/h", 50, 2 / 3), ("a half at 20 sales/h", 20, 0.5)):
        threshold = threshold_of(rng, 2 * number, per_hour, factor)
        for start in (8, 20):
            since = 2 * DAY + start * HOUR
            trials, successes = shops(rng, number, per_hour, 7, factor=factor, since=since)
            best = spread(best_hours(trials, successes, factor, threshold, since))
            for margin in (0.90, 0.95):
                ours = spread(hours_to_page(below_target(trials, successes, margin * RATE, Z), since))
                alone = spread(hours_to_page(below_in_an_hour(trials, successes, margin * RATE, Z), since))
                print(f"| {name} | {start} h | {margin:.0%} of the true rate | {ours} | {best} | {alone} |")


def spread(hours: NDArray[Any]) -> str:
    """Median, and 95th percentile; `none` if it was not detected in five days."""
    return "{} ({})".format(*(f"{q:.1f} h" if np.isfinite(q := quantile(hours, at)) else "none" for at in (0.5, 0.95)))


def quantile(values: NDArray[Any], at: float) -> float:
    """The quantile, without interpolation, because values may be infinite."""
    return float(np.sort(values)[int(np.ceil(at * len(values))) - 1])


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description="Simulate how good the alerts on rates are.")
    parser.add_argument("--shops", type=int, default=200, help="shops of each kind")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    with np.errstate(divide="ignore", invalid="ignore"):  # no sales, no rate
        for part in (quiet, falls):
            part(rng, options.shops)
            print(flush=True)


if __name__ == "__main__":
    main()
