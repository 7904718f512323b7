"""What the shop sells: goods with variants in categories, and plans with add-ons.

Rules: the catalogue is the same for every seed, and has a price for every currency. The variants of a family and the tiers of a product are
in order of price. Families identify their goods in different ways, as real shops do: by sku, by variant, by product alone, or by a sku
without a product. Some goods are sold by length or by weight. Some plans have volume prices: all seats are cheaper from a number of seats on.
"""

from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from typing import Any, Final, Literal

from stream.simulate.record import quantum, rounded

Interval = Literal["week", "month", "quarter", "year"]

# List price of the first family's smallest variant in EUR, factor from one variant to the next, families.
# Cable is sold by the metre, at prices with fractions of a cent; coffee by the kilogram.
_GOODS: Final[dict[str, tuple[str, str, tuple[str, ...]]]] = {
    "laptops": ("649.00", "1.35", ("Aria", "Boreal", "Corsa", "Delta", "Eos")),
    "phones": ("289.00", "1.30", ("Fable", "Grove", "Halo", "Iris")),
    "audio": ("59.00", "1.60", ("Juno", "Koda", "Lyra", "Muse", "Nimbus")),
    "cameras": ("219.00", "1.45", ("Onyx", "Prisma", "Quill")),
    "gaming": ("39.90", "1.80", ("Rook", "Saga", "Titan", "Umbra")),
    "smart_home": ("24.90", "1.50", ("Vesta", "Willow", "Xenon", "Yarrow")),
    "bags": ("34.50", "1.40", ("Zephyr", "Alto", "Brisk")),
    "printing": ("12.95", "1.70", ("Cobalt", "Dune", "Ember")),
    "accessories": ("8.49", "1.90", ("Flint", "Gale", "Haze", "Inlet", "Jade", "Kelp")),
    "protection": ("19.00", "1.75", ("Ledger", "Mantle")),
    "cable_by_metre": ("1.8475", "1.00", ("Copper", "Fibre")),
    "coffee": ("18.90", "1.00", ("Antigua", "Bourbon", "Huila")),
}
_PLACES: Final = {"cable_by_metre": 1, "coffee": 3}
"""Decimal places of the quantity, where goods are not sold by the piece."""
_KIT: Final = ("79.00", "2.60")
"""Price of the smallest kit, factor from one to the next."""
_SERVICES: Final = (("Engraving", "9.50"), ("Express assembly", "29.00"))
_COMPANIONS: Final = (
    ("Fable", "Screen film", "14.50", 8.0),
    ("Onyx", "Filter set", "32.00", 4.0),
    ("Juno", "Ear pads", "9.90", 16.0),
)
"""A family of goods, what is often bought besides, its price, and how much more often than otherwise."""
_GIFTS: Final = ("Sticker set", "Tote bag", "Cleaning cloth")
_TIERS: Final = ("S", "M", "L", "XL")
_STYLES: Final = ("sku", "full", "variant", "sku", "product", "full", "bare")
_FRACTIONAL: Final = "cable_by_metre"

# Monthly price of each tier in EUR.
_PLANS: Final[dict[str, tuple[str, ...]]] = {
    "crm": ("12.00", "29.00", "59.00", "99.00"),
    "analytics": ("19.00", "45.00", "89.00"),
    "storage": ("5.00", "9.00", "18.00", "36.00"),
    "helpdesk": ("15.00", "35.00", "70.00"),
}
_ADDONS: Final[dict[str, tuple[str, ...]]] = {
    "support": ("0.00", "25.00", "75.00"),
    "backup": ("4.00", "8.00"),
    "reports": ("10.00", "22.00"),
    "sso": ("18.00",),
    "api_access": ("30.00", "65.00"),
}
# Interval and count as an item states them, and the factor on the monthly price.
_INTERVALS: Final[dict[Interval, tuple[str, int, Decimal]]] = {
    "week": ("week", 1, Decimal("0.25")),
    "month": ("month", 1, Decimal(1)),
    "quarter": ("month", 3, Decimal("0.9")),
    "year": ("year", 1, Decimal("0.8")),
}
_VOLUME_PRICES: Final[dict[str, tuple[tuple[int, Decimal], ...]]] = {
    "crm": ((10, Decimal("0.80")), (5, Decimal("0.90"))),
    "storage": ((5, Decimal("0.75")),),
}
"""Seats from which a unit price applies, and its factor; most seats first."""
RISE: Final = Decimal("0.08")
"""By how much one rise of the price lifts it."""
_RATES: Final = {"USD": Decimal("1.08"), "GBP": Decimal("0.86"), "CHF": Decimal("0.97"), "JPY": Decimal(160)}


@dataclass(frozen=True, slots=True)
class Variant:
    """One thing that can be in a cart."""

    labels: dict[str, str]
    """Fields that are the same in every product line: identifiers, name, category."""
    prices: dict[str, Decimal]
    """Unit list price in major units, by currency."""


@dataclass(frozen=True, slots=True)
class Family:
    """A product with its variants, cheapest first."""

    category: str | None
    variants: tuple[Variant, ...]
    places: int = 0
    """Decimal places of its quantities; 0: sold by the piece."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One plan of a product: a tier at an interval."""

    labels: dict[str, Any]
    """Fields that are the same in every item."""
    product: str
    tier: int
    interval: Interval
    prices: dict[str, Decimal]
    """Per unit and interval, major units, by currency, before volume prices."""
    months: Fraction
    """Length of the interval."""

    def price(self, quantity: int, rises: int, currency: str) -> Decimal:
        """Unit price for so many seats, after so many rises of the price."""
        price = self.prices[currency]
        for seats, factor in _VOLUME_PRICES.get(self.product, ()):
            if quantity >= seats:
                price = rounded(price * factor, currency)
                break
        return rounded(price * (1 + rises * RISE), currency) if rises else price


@dataclass(frozen=True, slots=True)
class Companion:
    """A product that is added to some carts, and much more often to those whose intent has a certain product."""

    source: Family
    """Goods that it goes with."""
    family: Family
    """It has no category, so that it is no substitute for anything."""
    factor: float
    """How many times as often it is added where `source` is in the intent."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Everything on sale."""

    goods: tuple[Family, ...]
    by_category: dict[str, tuple[Family, ...]]
    services: tuple[Family, ...]
    """They have no category, so that nothing is a substitute for them."""
    companions: tuple[Companion, ...]
    """They are in no other list."""
    gifts: tuple[Family, ...]
    """Their price is 0."""
    kit: Family
    """Sets of goods, smallest first: one line in place of several."""
    starters: dict[str, Family]
    """Each product that can be the base of a subscription, as a line of a cart."""
    plans: dict[tuple[str, Interval], tuple[Plan, ...]]
    """Tiers of a product at an interval, cheapest first. Add-ons are monthly only."""
    products: tuple[str, ...]
    """Products that can be the base of a subscription."""
    addons: tuple[str, ...]

    def tiers(self, product: str, interval: Interval) -> tuple[Plan, ...]:
        """The plans of a product, cheapest first. Those of an add-on are monthly, at every interval of the base."""
        return self.plans[product, interval if product in self.products else "month"]


def catalogue(currencies: tuple[str, ...]) -> Catalogue:
    """The catalogue with prices in these currencies."""
    goods: list[Family] = []
    for category, (price, step, names) in _GOODS.items():
        for number, name in enumerate(names):
            style = _STYLES[len(goods) % len(_STYLES)]
            tiers = 1 if style in {"product", "bare"} or category in _PLACES else 2 + (number + len(goods)) % 3
            first_price = Decimal(price) * (100 + 17 * number) / 100
            goods.append(
                _family(category, name, first_price, Decimal(step), tiers=tiers, style=style, currencies=currencies)
            )
    services = tuple(
        _family(None, name, Decimal(price), Decimal(1), tiers=1, style="sku", currencies=currencies)
        for name, price in _SERVICES
    )
    companions = tuple(
        Companion(
            next(family for family in goods if family.variants[0].labels["name"].startswith(source)),
            _family(None, name, Decimal(price), Decimal(1), tiers=1, style="full", currencies=currencies),
            factor,
        )
        for source, name, price, factor in _COMPANIONS
    )
    gifts = tuple(
        _family("gifts", name, Decimal(0), Decimal(1), tiers=1, style="sku", currencies=currencies) for name in _GIFTS
    )
    kit_price, kit_step = map(Decimal, _KIT)
    starters = {
        product: _family(
            None, f"plan {product}", Decimal(monthly[0]), Decimal(1), tiers=1, style="sku", currencies=currencies
        )
        for product, monthly in _PLANS.items()
    }
    plans: dict[tuple[str, Interval], tuple[Plan, ...]] = {}
    for interval in _INTERVALS:
        for product, monthly in _PLANS.items():
            plans[product, interval] = _plans(product, monthly, interval, currencies)
    for product, monthly in _ADDONS.items():
        plans[product, "month"] = _plans(product, monthly, "month", currencies)
    return Catalogue(
        goods=tuple(goods),
        by_category={category: tuple(family for family in goods if family.category == category) for category in _GOODS},
        services=services,
        companions=companions,
        gifts=gifts,
        kit=_family("kits", "Kit", kit_price, kit_step, tiers=4, style="full", currencies=currencies),
        starters=starters,
        plans=plans,
        products=tuple(_PLANS),
        addons=tuple(_ADDONS),
    )


def _family(
    category: str | None,
    name: str,
    price: Decimal,
    step: Decimal,
    *,
    tiers: int,
    style: str,
    currencies: tuple[str, ...],
) -> Family:
    product = f"{(category or 'service')}-{name}".lower().replace(" ", "-").replace("_", "-")
    variants = []
    for tier in range(tiers):
        stock = f"{product}-{_TIERS[tier]}".upper()
        labels = {
            "sku": {"sku": stock, "product_id": product, "variant_id": ""},
            "full": {"sku": stock, "variant_id": f"{product}/{tier}", "product_id": product},
            "variant": {"variant_id": f"{product}/{tier}", "product_id": product},
            "product": {"product_id": product},
            "bare": {"sku": stock},
        }[style]
        labels["name"] = f"{name} {_TIERS[tier]}" if tiers > 1 else name
        if category is not None:
            labels["category"] = category
        prices = {
            currency: _price(price * step**tier * _RATES.get(currency, 1), currency, category)
            for currency in currencies
        }
        variants.append(Variant(labels, prices))
    return Family(category, tuple(variants), _PLACES.get(category or "", 0))


def _price(amount: Decimal, currency: str, category: str | None) -> Decimal:
    if category == _FRACTIONAL:
        return amount.quantize(quantum(currency) / 100, ROUND_HALF_EVEN)
    return rounded(amount, currency)


def _plans(product: str, monthly: tuple[str, ...], interval: Interval, currencies: tuple[str, ...]) -> tuple[Plan, ...]:
    unit, count, share = _INTERVALS[interval]
    plans = []
    for tier, amount in enumerate(monthly):
        labels: dict[str, Any] = {
            "plan_id": f"{product}-{tier + 1}-{interval}",
            "product_id": product,
            "category": "addon" if product in _ADDONS else "software",
            "interval": unit,
        }
        if count != 1:
            labels["interval_count"] = count
        months = {"week": Fraction(12, 52), "month": Fraction(1), "quarter": Fraction(3), "year": Fraction(12)}[
            interval
        ]
        prices = {}
        for currency in currencies:
            # A monthly price without fractions of the smallest amount.
            month = rounded(Decimal(amount) * share * _RATES.get(currency, 1), currency)
            prices[currency] = month if interval == "week" else month * months.numerator
        plans.append(Plan(labels, product, tier, interval, prices, months))
    return tuple(plans)
