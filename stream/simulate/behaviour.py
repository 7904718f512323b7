"""How customers behave: every probability of the shop in one place.

Rules: nothing here draws. A probability is per session unless it says otherwise, and its effect may fail to apply (there is nothing dearer than
the dearest variant), so realised shares are somewhat lower.
"""

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Behaviour:
    """Probabilities, each from 0 to 1.

    Raises:
        ValueError: a probability is out of range; the message names it.
    """

    abandon: float = 0.28
    """The cart is left behind."""
    upgrade: float = 0.12
    """A dearer variant instead."""
    downgrade: float = 0.05
    """A cheaper variant instead."""
    substitute: float = 0.05
    """Another product of the same category instead."""
    replace: float = 0.04
    """Another product that says what it stands for instead."""
    more: float = 0.08
    """More units of a line."""
    fewer: float = 0.06
    """Fewer units of a line."""
    add: float = 0.22
    """Another product in addition."""
    second_variant: float = 0.02
    """Another variant in addition."""
    remove: float = 0.05
    """A line is dropped."""
    gift: float = 0.04
    """A free product comes along."""
    coupon: float = 0.12
    """A discount on everything at payment."""
    edit: float = 0.06
    """The order is edited after purchase, per order."""
    refund: float = 0.07
    """Something or everything is given back, per order."""
    cancel: float = 0.02
    """The whole order is canceled, per order."""
    explicit: float = 0.06
    """The platform itself says what was intended."""
    unstated: float = 0.02
    """An order out of the blue: no cart was ever seen."""
    foreign: float = 0.02
    """The currency changes between cart and payment, or within a subscription's life. Needs a second currency."""

    subscribe: float = 0.1
    """A session is about a subscription, per session."""
    trial: float = 0.35
    """A customer's only subscription starts with a trial."""
    convert: float = 0.62
    """A trial becomes paid."""
    change: float = 0.4
    """The items change, per month."""
    grow: float = 0.66
    """A change is upwards, per change."""
    churn: float = 0.08
    """The subscription is canceled, per month."""
    subscription_refund: float = 0.03
    """The newest payment is given back, per billing interval."""

    def __post_init__(self) -> None:
        for each in fields(self):
            if not 0 <= getattr(self, each.name) <= 1:
                raise ValueError(f"{each.name} must be from 0 to 1")


@dataclass(frozen=True, slots=True)
class Shift:
    """A change of behaviour from a moment on, for the sessions that begin then."""

    after: float
    """Simulated seconds since the start."""
    behaviour: Behaviour
    segment: str | None = None
    """Whose; None: everybody's."""
