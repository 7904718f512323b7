"""How customers behave: every probability of the shop in one place.

Rules: nothing here draws random numbers. A probability is per session unless its text says otherwise. The shares in the events are somewhat
lower, because not every action is possible: nothing is dearer than the dearest variant.
"""

import math
from dataclasses import dataclass, fields, replace


@dataclass(frozen=True, slots=True)
class Behaviour:
    """Probabilities, each from 0 to 1.

    Raises:
        ValueError: a probability is out of range; the message names it.
    """

    abandon: float = 0.28
    """The cart is left behind."""
    upgrade: float = 0.12
    """A line becomes a dearer variant."""
    downgrade: float = 0.05
    """A line becomes a cheaper variant."""
    substitute: float = 0.05
    """A line becomes another product of the same category."""
    replace: float = 0.04
    """A line becomes another product, which names the one that it replaces."""
    bundle: float = 0.03
    """A kit takes the place of several lines, which it names."""
    more: float = 0.08
    """More units of a line."""
    fewer: float = 0.06
    """Fewer units of a line."""
    add: float = 0.1
    """Another product is added."""
    companion: float = 0.008
    """A companion product is added, per companion, where its goods are not in the intent; where they are, it is that many times as often."""
    second_variant: float = 0.02
    """Another variant of a product in the cart is added."""
    remove: float = 0.05
    """A line is dropped."""
    gift: float = 0.04
    """A free product is added."""
    coupon: float = 0.12
    """A discount on all lines at payment."""
    plan: float = 0.02
    """A known customer buys the plan of a subscription, which then starts."""
    offered: float = 0.4
    """An offer is shown before payment, and as often another one. After the purchase, and per month of a subscription, a third of that."""
    accept: float = 0.22
    """An offer is accepted that makes the cart larger, per offer."""
    accept_anyway: float = 0.06
    """An offer is accepted for what is already there: it brings nothing. Per offer."""
    decline: float = 0.15
    """An offer is declined, per offer."""
    one_click: float = 0.05
    """An offer after the purchase is accepted: a second order."""
    edit: float = 0.06
    """The order is edited after purchase, per order."""
    refund: float = 0.07
    """Products or money are refunded, per order."""
    cancel: float = 0.02
    """The whole order is canceled, per order."""
    explicit: float = 0.06
    """The platform states the intent in an event."""
    unstated: float = 0.02
    """The order is the first event: there was no event of a cart."""
    foreign: float = 0.02
    """The currency changes between cart and payment, or during a subscription. Needs a second currency."""

    subscribe: float = 0.1
    """A session starts a subscription."""
    trial: float = 0.35
    """A customer's only subscription starts with a trial."""
    convert: float = 0.62
    """A trial becomes paid."""
    change: float = 0.35
    """The items change, per month."""
    grow: float = 0.66
    """A change increases the subscription, per change."""
    churn: float = 0.08
    """The subscription is canceled, per month."""
    subscription_refund: float = 0.03
    """The newest payment is refunded, in whole or in part, per billing interval."""
    swap: float = 0.2
    """A customer who leaves moves to another subscription, per cancellation."""
    come_back: float = 0.25
    """A canceled or paused subscription goes on later, per cancellation that is no swap."""
    rise: float = 0.03
    """The price rises, per renewal."""
    noise: float = 0.06
    """The platform reports a change where nothing changed, per month."""

    def __post_init__(self) -> None:
        for each in fields(self):
            if not 0 <= getattr(self, each.name) <= 1:
                raise ValueError(f"{each.name} must be from 0 to 1")

    def with_fewer_acceptances(self, factor: float) -> "Behaviour":
        """The same, but a customer takes more, or something else, than was intended only so many times as often."""
        return replace(self, **{name: factor * getattr(self, name) for name in _ACCEPTANCES})


_ACCEPTANCES = (
    *("upgrade", "substitute", "replace", "bundle", "more", "add", "companion", "second_variant"),
    *("accept", "one_click", "edit"),
)


@dataclass(frozen=True, slots=True)
class Shift:
    """A change of behaviour: it applies to sessions that start in a given time."""

    after: float
    """Simulated seconds since the start."""
    behaviour: Behaviour
    segment: str | None = None
    """The segment that changes; None: all segments."""
    channel: str | None = None
    """The channel that changes; None: all channels."""
    until: float = math.inf
    """Simulated seconds since the start at which it ends."""
