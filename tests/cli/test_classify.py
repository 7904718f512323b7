"""`classify`: files in, judged transactions or figures out."""

import json
import re

import pytest
from click.testing import CliRunner
from support.terminal import ended, terminal

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


def classify(text, *options, status=0):
    result = CliRunner().invoke(cli, ["classify", "-", *options], input=text)
    assert result.exit_code == status, result.output
    return result


def judged(text, *options):
    return [json.loads(line) for line in classify(text, *options).stdout.splitlines()]


def test_one_line_for_each_transaction_with_kinds():
    (only,) = judged(lines(*PLAIN, *UPSELL))
    assert (only["subject"], only["kinds"], only["upsell"], only["version"]) == ("checkout/c1", ["upsell"], "20.00", 1)


def test_a_byte_order_mark_is_no_part_of_the_first_event():
    assert len(judged("\ufeff" + lines(*UPSELL))) == 1
    assert json.loads(classify("\ufeff\r\n", "--summary", "--json").stdout)["events"] == 0


def test_an_order_with_the_id_of_its_cart_is_named_in_strict_mode():
    cart, order = UPSELL
    sent = lines(cart, order | {"id": cart["id"]})
    plain = classify(sent)
    assert plain.stdout == ""
    assert "2 events, of which 1 duplicate\n--strict names the lines" in plain.stderr
    strict = classify(sent, "--strict", status=1)
    assert (
        "-:2: same_id: id: -:1 has the same source and id, and the type commerce.checkout.started.v1: a worker keeps that one and ignores "
        "this one. Give each event an id of its own" in strict.stderr
    )
    assert "2 events, of which 1 rejected (1 same_id)" in strict.stderr


def test_another_body_with_the_same_id_is_named_and_a_repeat_is_not():
    cart, order = UPSELL
    strict = classify(lines(cart, order, order, order | {"time": TIME.format(3)}), "--strict", status=1)
    assert "-:4: same_id: id: -:2 has the same source and id, and the same type and another body" in strict.stderr
    assert "4 events, of which 1 duplicate, 1 rejected (1 same_id)" in strict.stderr
    assert "-:3" not in strict.stderr
    other_checkout = event("order.completed", 2, checkout="c2") | {"id": order["id"]}
    classify(lines(cart, order, other_checkout), "--strict")


def refund(number, **data):
    return event("order.refunded", number, **{"products": None, "refund": {"refund_id": "r"}, **data})


def test_events_whose_order_is_missing_are_named_at_the_end_in_strict_mode():
    early = refund(0, checkout="c2")
    sent = lines(*UPSELL, early, *PLAIN[1:], refund(4, checkout="c3"), event("order.canceled", 5, order_id="x"))
    result = classify(sent, "--strict")
    assert "unmatched: -:5: no completed order, or payment, with this id is in the files. Look at" in result.stderr
    result = classify(lines(plan("created", 1, "10"), plan("refunded", 2, "10"), plan("refunded", 0, "10")), "--strict")
    assert "unmatched: -:3: no" in result.stderr
    assert "--strict names the lines of unmatched events" in classify(sent).stderr


@pytest.mark.parametrize(("sent", "command"), [(UPSELL[0], "jq -c ."), (list(UPSELL), "jq -c '.[]'")])
def test_json_over_several_lines_gets_one_hint(sent, command):
    result = classify(json.dumps(sent, indent=2), status=1)
    assert result.stderr.splitlines()[0] == (
        f"-:1: not_json: the JSON goes on in the next line, but a file has one event per line: `{command}` writes it so"
    )
    assert result.stderr.count("not_json") == 2
    assert "`jq -c '.[]'` writes it so" in classify("[" * 100_000, status=1).stderr
    compact = "[" + ",\n".join(map(json.dumps, UPSELL)) + "]"
    assert "`jq -c '.[]'` writes it so" in classify(compact, status=1).stderr


def test_a_file_without_events_passes_no_strict_check():
    assert "there is no event to check" in classify("\n", "--strict", status=1).stderr
    assert classify("\n").stderr == ""


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
    found = judged(lines(plan("created", 1, "10"), plan("changed", 2, "20"), plan("changed", 3, "30")), "--all")
    assert [(each["final"], each["kinds"]) for each in found] == [
        ("10.00", []),
        ("20.00", ["upsell"]),
        ("30.00", ["upsell"]),
    ]


def test_the_first_bad_lines_are_printed_and_all_are_counted():
    bad = ["?"] * 7 + [json.dumps(event("checkout.started", 1) | {"type": "x"})]
    result = classify(lines(*bad, "", *UPSELL), "--summary", "--json", status=1)
    assert result.stderr.splitlines()[0].startswith("-:1: not_json: ")
    assert result.stderr.count(": not_json: ") == 5
    assert result.stderr.splitlines()[5:] == [
        "further rejected lines are only counted; --rejections all prints them",
        "10 events, of which 8 rejected (7 not_json, 1 unknown_type)",
        "exit status 1, since lines were rejected; with --allow-rejected it is 0",
    ]
    assert json.loads(result.stdout)["rejected"] == 8


@pytest.mark.parametrize(("limit", "printed"), [("all", 41), ("40", 40), ("0", 0)])
def test_as_many_bad_lines_are_printed_as_asked_for(limit, printed):
    result = classify("?\n" * 41, "--rejections", limit, status=1)
    assert result.stderr.count(": not_json: ") == printed
    assert ("further rejected lines" in result.stderr) == (limit == "40")
    assert "41 events, of which 41 rejected (41 not_json)" in result.stderr


@pytest.mark.parametrize("limit", ["-1", "some", "1.5"])
def test_a_wrong_number_of_rejections_is_refused(limit):
    assert f"'{limit}' is neither a number nor all" in classify("", "--rejections", limit, status=2).stderr


def test_a_rejected_line_is_a_failure_unless_it_is_allowed():
    bad = lines("?", *UPSELL)
    assert len(classify(bad, status=1).stdout.splitlines()) == 1
    allowed = classify(bad, "--allow-rejected")
    assert len(allowed.stdout.splitlines()) == 1
    assert "exit status" not in allowed.stderr
    # Others that change nothing are no failure.
    classify(lines(*UPSELL, UPSELL[0]))


def test_a_wrong_field_is_named():
    result = classify(lines(event("checkout.started", 1, currency="euro")), status=1)
    assert result.stderr.startswith("-:1: invalid: data.currency: ")


def test_a_fact_of_one_order_too_many_is_rejected_like_a_wrong_field():
    orders = [event("order.completed", n, time=TIME.format(2), order_id=f"o{n}", **more(2)) for n in range(2, 36)]
    again = orders[-1]
    result = classify(lines(event("checkout.started", 1), *orders, again), "--summary", "--json", status=1)
    *rejections, counts, _ = result.stderr.splitlines()
    assert rejections == [
        f"-:{line}: too_many_orders: data.order_id: the order 'o{order}' is one too many: a checkout has at most 32 orders"
        for line, order in ((34, 34), (35, 35), (36, 35))
    ]
    assert counts == "36 events, of which 3 rejected (3 too_many_orders)"
    summary = json.loads(result.stdout)
    assert (summary["rejected"], summary["duplicates"], summary["checkout"]["transactions"]) == (3, 0, 1)
    assert summary["checkout"]["revenue"]["EUR"]["final"] == "640.00"


def plan(kind, number, price, **data):
    item = {"plan_id": f"p{price}", "product_id": "crm", "quantity": 1, "price": price, "interval": "month"}
    fields = {"subscription_id": "s1", "customer_id": "me", "currency": "EUR", "items": [item], **data}
    return event(f"subscription.{kind}", number) | {"subject": "subscription/s1", "data": fields}


def test_a_changed_event_that_changes_nothing_is_counted_as_unchanged():
    result = classify(lines(plan("created", 1, "10"), plan("changed", 2, "10"), plan("changed", 3, "20")), "--all")
    assert [json.loads(line)["kinds"] for line in result.stdout.splitlines()] == [[], ["upsell"]]
    assert result.stderr.splitlines() == ["3 events, of which 1 unchanged"]


def test_what_is_restored_is_a_kind_of_its_own():
    there_and_back = lines(plan("created", 1, "20"), plan("changed", 2, "10"), plan("changed", 3, "20"))
    found = judged(there_and_back)
    assert [each["kinds"] for each in found] == [["downsell"], ["restored"]]
    assert (found[1]["restored"], found[1]["upsell"], found[1]["rules"]) == ("10.00", "0.00", 2)
    summary = json.loads(classify(there_and_back, "--summary", "--json").stdout)["subscription"]
    assert summary["kind_transactions"] == {"upsell": 0, "cross_sell": 0, "downsell": 1, "restored": 1, "any": 0}
    assert summary["reversed_transactions"]["restored"] == 0
    assert (summary["revenue"]["EUR"]["restored"], summary["rates"]["upsell_ratio"]) == ("10.00", 0.0)
    amounts = classify(there_and_back, "--summary").stdout.partition("everything EUR ")[2]
    assert ["restored", "-", "10.00", "-"] in [line.split() for line in amounts.splitlines()]


def test_the_hours_of_a_swap_are_a_setting():
    def at(kind, hour, price, name):
        time = f"2026-01-31T{hour:02}:00:00Z"
        sent = plan(kind, hour, price, subscription_id=name) | {"subject": f"subscription/{name}", "time": time}
        return sent | {"id": f"{name}-{hour}"}

    swap = lines(at("created", 1, "10", "s1"), at("canceled", 2, "10", "s1"), at("created", 5, "20", "s2"))
    assert [each["kinds"] for each in judged(swap, "--all")] == [[], ["upsell"]]
    assert [each["kinds"] for each in judged(swap, "--all", "--swap-hours", "2")] == [[], []]


def test_a_line_that_is_too_large_is_one_line():
    result = classify(lines("x" * 3_000_000, *UPSELL), "--summary", "--json", status=1)
    assert "-:1: too_large: " in result.stderr
    assert json.loads(result.stdout)["events"] == 3


def test_the_summary_has_every_count():
    summary = json.loads(classify(lines(*UPSELL, *PLAIN, PLAIN[0]), "--summary", "--json").stdout)
    assert list(summary) == ["events", "rejected", "duplicates", "all", "checkout", "subscription"]
    assert (summary["events"], summary["rejected"], summary["duplicates"]) == (5, 0, 1)
    checkout, subscription = summary["checkout"], summary["subscription"]
    assert checkout["kind_transactions"] == {"upsell": 1, "cross_sell": 0, "downsell": 0, "restored": 0, "any": 1}
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
    assert "everything EUR " in table


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


# --- strict


def misspelt(checkout="c1"):
    line = {"sku": "A", "productId": "a", "quantity": 1, "price": "10.00"}
    return event("checkout.started", 1, checkout=checkout, customerId="me", products=[line])


def test_unknown_fields_are_swallowed_unless_they_are_asked_for():
    assert classify(lines(misspelt())).stderr == ""
    strict = classify(lines(misspelt(), *PLAIN), "--strict", status=1)
    assert strict.stderr.splitlines()[0] == (
        "-:1: invalid: data.products[0].productId: unknown field: did you mean product_id? "
        "(also unknown: data.customerId (customer_id?))"
    )


def test_a_name_from_an_event_cannot_control_the_terminal():
    result = classify(lines(event("checkout.started", 1, **{"\x1b[2J": 1})), "--strict", status=1)
    assert "\x1b" not in result.stderr
    assert "unknown field" in result.stderr


def priced(price, currency="EUR", **more):
    line = {"sku": "A", "quantity": 1, "price": price}
    return event("checkout.started", 1, currency=currency, products=[line, line | {"price": "0"}], **more)


def test_prices_that_may_be_cents_are_a_question_and_no_failure():
    result = classify(lines(priced("19900"), priced("1850", checkout="c2")), "--strict")
    assert result.stderr == (
        'check the prices: none of 2 prices has decimals, such as "19900" (EUR). '
        'Prices are in major units: if this one is 199.00 EUR, send "199.00"\n'
    )
    assert 'if this one is 19.900 KWD, send "19.900"' in classify(lines(priced("19900", "KWD")), "--strict").stderr
    seats = plan("created", 1, "1200")
    assert "none of 1 prices" in classify(lines(seats), "--strict").stderr


@pytest.mark.parametrize(
    ("events", "options"),
    [
        ([priced("19900")], []),
        ([priced("19900"), priced("18.50", checkout="c2")], ["--strict"]),
        ([priced("19900", "JPY")], ["--strict"]),
        ([priced("0")], ["--strict"]),
        ([], []),
    ],
)
def test_other_prices_are_no_question(events, options):
    assert "check the prices" not in classify(lines(*events), *options).stderr


# --- for people

LONG = "a-checkout-with-a-long-id-of-forty-letters"
SALES = (
    *UPSELL,
    *PLAIN,
    event("order.completed", 3, checkout=LONG),
    event("checkout.started", 1, checkout="c4"),
    event(
        "order.completed",
        2,
        checkout="c4",
        products=[
            {"sku": "A-LARGE-ONE-WITH-A-NAME", "product_id": "a", "quantity": 1, "price": "1234.50"},
            {"sku": "B", "quantity": 1, "price": "5.00", "offer_id": "the-banner-at-the-end-of-the-cart-page-2026"},
        ],
    ),
    event("order.refunded", 3, checkout="c4", refund={"refund_id": "r", "amount": "5"}),
)


def test_the_transactions_as_a_table():
    shown = [line.rstrip() for line in classify(lines(*SALES), "--table", "--all").stdout.splitlines()]
    assert shown == [
        "checkout/c1  2026-01-31 12:02 UTC",
        "  10.00 → 30.00 EUR",
        "  upsell         20.00  quantity: A",
        "",
        "checkout/c2  2026-01-31 12:02 UTC",
        "  10.00 → 10.00 EUR: no verdict, nothing beyond the intent",
        "",
        f"checkout/{LONG}  2026-01-31 12:03 UTC",
        "  10.00 EUR: no verdict, the intent is unknown: no cart came before",
        "",
        "checkout/c4  2026-01-31 12:02 UTC",
        "  10.00 → 1,239.50 EUR",
        "  upsell      1,224.50  variant: A → A-LARGE-ONE-WITH-A-NAME",
        "  cross-sell      5.00  addition: B (offer the-banner-at-the-end-of-the-cart-page-2026)",
        "  reversed        5.00  part of the sale was given back",
        "",
        "4 transactions",
    ]


def test_the_table_says_what_it_leaves_out():
    assert classify(lines(*SALES), "--table").stdout.splitlines()[-1] == (
        "2 transactions, 2 without a verdict (--all shows them)"
    )
    assert classify("", "--table").stdout == "0 transactions\n"


def test_a_subscription_in_the_table_is_per_month():
    shown = classify(lines(plan("created", 1, "10"), plan("changed", 2, "30")), "--table").stdout
    assert shown.splitlines()[1] == "  10.00 → 30.00 EUR a month"


@pytest.mark.parametrize("options", [["--summary"], ["--json"], ["--as-of", "2026-01-31T12:00:00Z"]])
def test_figures_are_no_table_of_transactions(options):
    assert "--table shows transactions" in classify("", "--table", *options, status=2).stderr


@pytest.mark.terminal
def test_the_table_fits_a_terminal_of_80_columns_and_keeps_words(tmp_path):
    file = tmp_path / "events.jsonl"
    file.write_text(lines(*SALES), encoding="utf-8")
    with terminal("classify", "--table", "--all", str(file)) as screen:
        shown = screen.until(ended)
    assert f"checkout/{LONG}  2026-01-31 12:03 UTC" in shown
    at = shown.index("  cross-sell      5.00  addition: B (offer")
    assert shown[at + 1].strip() == "the-banner-at-the-end-of-the-cart-page-2026)"
    assert shown[at + 2] == "  reversed        5.00  part of the sale was given back"


@pytest.mark.terminal
def test_the_progress_bar_does_not_run_into_messages(tmp_path):
    file = tmp_path / "events.jsonl"
    good = "".join(lines(*(event("checkout.started", 1, checkout=f"c{n}") for n in range(3_000))))
    file.write_text(("?\n" + good) * 8, encoding="utf-8")
    with terminal("classify", "--rejections", "all", str(file)) as screen:
        shown = screen.until(ended, history=True)
    assert "status 1" in shown
    place = re.escape(str(file))
    messages = re.findall(rf"{place}:\d+: not_json: Expecting value: line 1 column 1 \(char 0\)", "".join(shown))
    assert len(messages) == 8
    assert not any("reading" in line or "━" in line for line in shown), shown
    # Joined, since the terminal breaks lines that are longer than it is wide.
    text = "".join(shown)
    assert text.count(": not_json: ") == 8
    assert "24,008 events, of which 21,000 duplicate, 8 rejected (8 not_json)" in text
