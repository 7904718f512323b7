"""`classify`: files in, judged transactions or figures out."""

import json

import pytest
from click.testing import CliRunner

from stream.cli.root import cli

TIME = "2026-01-31T12:0{}:00Z"


def event(kind, number, *, checkout="c1", time=None, **data):
    line = {"sku": "A", "product_id": "a", "quantity": 1, "price": "10.00"}
    return {
        "specversion": "1.0",
        "id": f"{checkout}-{number}",
        "source": "/test",
        "type": f"commerce.{kind}.v1",
        "time": time or TIME.format(number),
        "subject": f"checkout/{checkout}",
        "data": {"checkout_id": checkout, "customer_id": "me", "currency": "EUR", "products": [line], **data},
    }


def lines(*events):
    return "".join((each if isinstance(each, str) else json.dumps(each)) + "\n" for each in events)


def more(quantity):
    return {"products": [{"sku": "A", "product_id": "a", "quantity": quantity, "price": "10.00"}]}


UPSELL = (event("checkout.started", 1), event("order.completed", 2, **more(3)))
PLAIN = (event("checkout.started", 1, checkout="c2"), event("order.completed", 2, checkout="c2"))


def classify(text, *options):
    result = CliRunner().invoke(cli, ["classify", "-", *options], input=text)
    assert result.exit_code == 0, result.output
    return result


def judged(text, *options):
    return [json.loads(line) for line in classify(text, *options).stdout.splitlines()]


def test_one_line_for_each_transaction_with_kinds():
    (only,) = judged(lines(*PLAIN, *UPSELL))
    assert (only["subject"], only["kinds"], only["upsell"], only["version"]) == ("checkout/c1", ["upsell"], "20.00", 1)


def test_a_byte_order_mark_is_no_part_of_the_first_event():
    assert len(judged("\ufeff" + lines(*UPSELL))) == 1
    assert json.loads(classify("\ufeff\r\n", "--summary", "--json").stdout)["events"] == 0


def test_transactions_without_kinds_on_request():
    assert [each["subject"] for each in judged(lines(*PLAIN, *UPSELL), "--all")] == ["checkout/c2", "checkout/c1"]


def test_the_last_version_in_order_of_first_appearance():
    other = (event("checkout.started", 1, checkout="c3"), event("order.completed", 2, checkout="c3", **more(2)))
    found = judged(lines(*UPSELL, *other, event("order.updated", 3, **more(4))))
    assert [(each["subject"], each["version"], each["upsell"]) for each in found] == [
        ("checkout/c1", 2, "30.00"),
        ("checkout/c3", 1, "10.00"),
    ]


def test_a_transaction_that_gains_kinds_later_keeps_its_place():
    found = judged(lines(*PLAIN, *UPSELL, event("order.updated", 3, checkout="c2", **more(2))))
    assert [each["subject"] for each in found] == ["checkout/c2", "checkout/c1"]


def test_a_checkout_with_another_first_completion_is_one_transaction():
    found = judged(lines(*UPSELL, event("order.completed", 0, time=TIME.format(1), **more(2))))
    assert [(each["event_id"], each["version"]) for each in found] == [("c1-0", 2)]


def test_each_transaction_of_a_subscription_is_printed():
    def plan(kind, number, price):
        item = {"plan_id": f"p{price}", "product_id": "crm", "quantity": 1, "price": price, "interval": "month"}
        data = {"subscription_id": "s1", "customer_id": "me", "currency": "EUR", "items": [item]}
        return event(f"subscription.{kind}", number) | {"subject": "subscription/s1", "data": data}

    found = judged(lines(plan("created", 1, "10"), plan("changed", 2, "20"), plan("changed", 3, "30")), "--all")
    assert [(each["final"], each["kinds"]) for each in found] == [
        ("10.00", []),
        ("20.00", ["upsell"]),
        ("30.00", ["upsell"]),
    ]


def test_the_first_bad_lines_are_printed_and_all_are_counted():
    bad = ["?"] * 7 + [json.dumps(event("checkout.started", 1) | {"type": "x"})]
    result = classify(lines(*bad, "", *UPSELL), "--summary", "--json")
    assert result.stderr.splitlines()[0].startswith("-:1: not_json: ")
    assert result.stderr.count("not_json") == 5
    assert result.stderr.splitlines()[-1] == "10 events, of which 8 rejected"
    assert json.loads(result.stdout)["rejected"] == 8


def test_a_wrong_field_is_named():
    result = classify(lines(event("checkout.started", 1, currency="euro")))
    assert result.stderr.startswith("-:1: invalid: data.currency: ")


def test_a_line_that_is_too_large_is_one_line():
    result = classify(lines("x" * 3_000_000, *UPSELL), "--summary", "--json")
    assert "-:1: too_large: " in result.stderr
    assert json.loads(result.stdout)["events"] == 3


def test_the_summary_has_every_count():
    summary = json.loads(classify(lines(*UPSELL, *PLAIN, PLAIN[0]), "--summary", "--json").stdout)
    assert list(summary) == ["events", "rejected", "duplicates", "all", "checkout", "subscription"]
    assert (summary["events"], summary["rejected"], summary["duplicates"]) == (5, 0, 1)
    checkout, subscription = summary["checkout"], summary["subscription"]
    assert checkout["kind_transactions"] == {"upsell": 1, "cross_sell": 0, "downsell": 0, "any": 1}
    assert checkout["customers"] == {"all": 1, "upsell": 1, "cross_sell": 0, "any": 1}
    assert checkout["rates"]["upsell_cross_sell_rate"] == 0.5
    assert checkout["revenue"]["EUR"]["final"] == "40.00"
    assert subscription["revenue"] == {}
    assert subscription["rates"]["upsell_ratio"] is None
    assert "customers" not in summary["all"]


def test_windows_at_a_time():
    options = ("--as-of", "2026-01-31T13:05:00+01:00", "--windows", "1m,5m", "--json")
    summary = json.loads(classify(lines(*UPSELL), *options).stdout)
    assert summary["as_of"] == "2026-01-31T12:05:00Z"
    counts = {name: window["checkout"]["transactions"] for name, window in summary["windows"].items()}
    assert counts == {"1m": 0, "5m": 1, "total": 1}
    assert summary["checkout"]["transactions"] == 1


def test_the_summary_as_a_table():
    table = classify(lines(*UPSELL, *PLAIN), "--summary").stdout
    assert [line.split() for line in table.splitlines() if line.startswith("upsell_ratio")] == [
        ["upsell_ratio", "50.0%", "-", "50.0%"]
    ]
    assert "revenue EUR final" in table


def test_tables_of_windows_are_cut_by_label():
    labelled = [event("order.completed", 1, checkout=f"c{n}", segment=f"s[{n}]") for n in range(2)]
    table = classify(lines(*labelled), "--as-of", "2026-01-31T12:01:00Z").stdout
    assert "by segment, 5m" in table
    assert "s[1]" in table


@pytest.mark.parametrize("options", [(), ("--all",), ("--summary", "--json")])
def test_an_empty_file_gives_no_transactions(options):
    result = classify("", *options)
    assert result.stderr == ""
    if not options:
        assert result.stdout == ""


def test_files_are_read_in_the_order_given(tmp_path):
    for name, events in (("b", UPSELL), ("a", PLAIN)):
        (tmp_path / name).write_text(lines(*events), encoding="utf-8")
    result = CliRunner().invoke(cli, ["classify", "--all", str(tmp_path / "b"), str(tmp_path / "a")])
    assert [json.loads(line)["subject"] for line in result.stdout.splitlines()] == ["checkout/c1", "checkout/c2"]
