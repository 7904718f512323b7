"""Short constructors for tables of cases."""

from stream.core.event import Item, Line


def line(product=None, sku=None, q=1, price="10", *, variant=None, category=None, off="0", replaces=None, offer=None):
    """A product line; by default one unit at 10.00."""
    return Line(sku, variant, product, category, q, price, off, replaces, offer)


def item(plan, q=1, price="10", *, product=None, base=False, interval="month", count=1, category=None):
    """A subscription's item: an add-on, or a base, or (`base=None`) without a role. Its product is the first letter of the plan, if not given."""
    return Item(plan, product or plan[0], base, category, q, price, interval, count)
