"""Settings of simulated shops in which everything happens."""

from stream.simulate.behaviour import Behaviour
from stream.simulate.shop import month_for

BUSY = Behaviour(
    abandon=0.1,
    upgrade=0.3,
    downgrade=0.2,
    substitute=0.3,
    replace=0.3,
    bundle=0.3,
    more=0.3,
    fewer=0.3,
    add=0.5,
    companion=0.06,
    offered=0.5,
    accept=0.4,
    accept_anyway=0.2,
    decline=0.2,
    second_variant=0.2,
    remove=0.3,
    gift=0.3,
    coupon=0.3,
    plan=0.1,
    one_click=0.4,
    edit=0.4,
    refund=0.5,
    cancel=0.1,
    explicit=0.3,
    unstated=0.05,
    foreign=0.1,
    subscribe=0.4,
    trial=0.4,
    change=0.8,
    churn=0.2,
    subscription_refund=0.2,
    swap=0.4,
    come_back=0.6,
    rise=0.2,
    noise=0.3,
)
"""Every action is frequent, and many happen to the same cart and to the same subscription."""
DAY = 86_400
SHOPS = {
    "default": {},
    "noisy": {"duplicates": 0.1, "disorder_seconds": 120, "poison": 0.05},
    "few customers": {"behaviour": BUSY, "customers": 50, "disorder_seconds": 600, "month_seconds": 3000},
    "fast": {"behaviour": BUSY, "rate": 200, "pace": 30, "customers": 300, "disorder_seconds": 5},
    "currencies": {"behaviour": BUSY, "currencies": ("EUR", "USD", "JPY"), "customers": 200, "duplicates": 0.1},
    # Days pass, so that subscriptions come back within 24 hours and later.
    "days": {
        "behaviour": BUSY,
        "rate": 0.002,
        "customers": 60,
        "month_seconds": 1.5 * DAY,
        "disorder_seconds": 3600,
        "currencies": ("EUR", "USD"),
    },
    "real months": {
        "behaviour": BUSY,
        "rate": 0.0003,
        "customers": 60,
        "month_seconds": 2_629_800,
        "disorder_seconds": 3600,
    },
    "half a day of disorder": {
        "behaviour": BUSY,
        "rate": 0.003,
        "customers": 60,
        "month_seconds": DAY,
        "disorder_seconds": DAY / 2,
        "duplicates": 0.3,
    },
    "a month as short as may be": {
        "behaviour": BUSY,
        "rate": 0.1,
        "pace": 7.0,
        "month_seconds": month_for(DAY / 2, 7.0),
        "disorder_seconds": DAY / 2,
        "duplicates": 1,
    },
}
"""`ShopSettings` by a name. `disorder_seconds` is at most twice a month."""
