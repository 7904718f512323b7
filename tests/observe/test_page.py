"""The live page: the data from the worker, and how a real browser shows it."""

import asyncio
import json
import re
from contextlib import contextmanager
from itertools import pairwise
from threading import Thread

import pytest
import uvloop
from selenium.common.exceptions import JavascriptException
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait
from support.browser import chromium
from support.sales import LINES, version
from support.summaries import NOW, SALES, SMALL, SMALL_CUSTOMERS, FakeTables, sale, shard

from stream.core.counting.kpi import AMOUNT_KPIS, KPIS
from stream.embedded.server import ServerUnavailableError
from stream.observe import page
from stream.observe.counters import Counters
from stream.observe.http import HttpServer
from stream.observe.view import WITHDRAWN_AFTER, View
from stream.settings import Settings, Target
from stream.tables.interface import ACCEPTED, WITHOUT_KEY, Halt, ShardHealth

PATIENCE = 60
DASH = "\N{EN DASH}"
TARGETS = (
    Target(kpi="upsell_cross_sell_rate", journey="checkout", ratio=0.35),
    Target(kpi="upsell_revenue_ratio", journey="checkout", segment='a "new"\\one', ratio=1.2),
    Target(kpi="upsell_ratio", journey="subscription", ratio=0.1),
)
SETTINGS = Settings(windows=("5m", "1h"), http_host="127.0.0.1", http_port=0, targets=TARGETS)


class LiveWorker:
    """The HTTP server of a worker on an event loop in a thread, because the test blocks. On uvloop, see `conftest.py`."""

    def __init__(self):
        self.tables = FakeTables([shard(cells=SMALL, customers=SMALL_CUSTOMERS), shard("subscription-events")])
        self.reasons = []
        self.seconds = 1000.0
        self.counters = Counters()
        self.view = View(self.tables, SETTINGS, monotonic=lambda: self.seconds)
        self.loop = uvloop.new_event_loop()
        self.thread = Thread(target=self.loop.run_forever)
        self.server = self.serving(SETTINGS)

    def serving(self, settings):
        return HttpServer(settings, self.counters, self.view, lambda: (not self.reasons, self.reasons))

    def do(self, work):
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(PATIENCE)

    def refresh(self):
        self.do(self.view.refresh())

    def leave(self):
        self.do(self.server.stop())

    def come_back(self):
        self.server = self.serving(SETTINGS.model_copy(update={"http_port": self.server.port}))
        self.do(self.server.start())


@pytest.fixture
def worker():
    worker = LiveWorker()
    worker.thread.start()
    try:
        worker.do(worker.server.start())
        worker.refresh()
        yield worker
        worker.leave()
    finally:
        worker.loop.call_soon_threadsafe(worker.loop.stop)
        worker.thread.join()
        worker.loop.close()


# --- without a browser


def state_of(worker):
    return json.loads(
        page.state(
            not worker.reasons,
            worker.reasons,
            worker.counters.total_lag(),
            worker.counters.sales.newest(),
            worker.view.unavailable(),
            worker.view.overview(),
        )
    )


def test_the_state_of_the_page(worker):
    worker.counters.lag("checkout-events", 0, 7)
    worker.counters.lag("checkout-events", 1, 5)
    worker.seconds += 10
    state = state_of(worker)
    assert (state["ready"], state["lag"], state["unavailable"]) == (True, 12, None)
    assert state["age"] == 12.0, "2 s when the tables were read, 10 s ago"
    assert state["shards"][0] == {
        "topic": "checkout-events",
        "partition": 0,
        "age": 13.0,
        "newest_event": 13.5,
        "unapplied": 0.0,
        "halt": None,
    }
    rate, revenue, other = state["targets"]
    assert rate["values"] == {"5m": 0.3, "1h": 0.3}
    assert (revenue["segment"], revenue["values"]["1h"]) == ('a "new"\\one', 1.25)
    assert other["values"] == {"5m": None, "1h": None}, "no transactions, no value"
    assert state["kpis"][0]["bands"][0] == {"name": "above typical", "low": 0.3, "above": True}


def test_the_state_without_a_view(worker):
    worker.seconds += WITHDRAWN_AFTER + 1
    state = state_of(worker)
    assert "31 s ago" in state["unavailable"]
    assert (state["age"], state["shards"], state["targets"]) == (None, [], [])


def test_a_shard_without_events_has_no_newest_one():
    view = View(FakeTables([shard(at=0)]), SETTINGS)
    asyncio.run(view.refresh())
    assert view.overview().as_of == 0
    state = json.loads(page.state(True, [], 0, [], None, view.overview()))
    assert state["age"] is None


@pytest.mark.parametrize(("name", "kind"), page.ASSETS.values())
def test_the_files_name_no_other_host(name, kind):
    text = page.read(name).decode()
    assert not re.search(r"(?<!/)//\w", text.replace("http://www.w3.org/2000/svg", ""))
    assert "innerHTML" not in text


def test_the_script_has_a_title_for_every_kpi():
    script = page.read("page.js").decode()
    titled = re.findall(r"^  (\w+): \{ title: ", script, re.MULTILINE)
    assert titled == [kpi.name for kpi in KPIS]
    money = script.partition("const MONEY_KPIS = {")[2].partition("};")[0]
    assert re.findall(r"^  (\w+): ", money, re.MULTILINE) == [kpi.name for kpi in AMOUNT_KPIS]


# --- in Chromium


@pytest.fixture(scope="module")
def chrome():
    try:
        with chromium() as chrome:
            yield chrome
    except ServerUnavailableError as error:
        pytest.skip(str(error))


class Reader:
    """A user of the page."""

    def __init__(self, chrome, url):
        self.chrome = chrome
        self.url = url

    def open(self, fragment=""):
        self.chrome.get("about:blank")
        self.chrome.get(f"{self.url}/{fragment}")
        return self

    def find(self, selector):
        return self.chrome.find_element(By.CSS_SELECTOR, selector)

    def text(self, selector):
        return self.find(selector).text

    def card(self, kpi):
        return self.text(f'[data-kpi="{kpi}"]')

    def row(self, table, name):
        rows = self.script(
            "return [...arguments[0].tBodies[0].rows].map((row) => [...row.cells].map((cell) => cell.textContent))",
            self.find(f"#{table}"),
        )
        (found,) = (row for row in rows if row[0] == name)
        return found

    def script(self, code, *arguments):
        return self.chrome.execute_script(code, *arguments)

    def wait(self, condition, why=""):
        """Wait for a condition; the page refreshes itself."""
        return WebDriverWait(self.chrome, PATIENCE, poll_frequency=0.05).until(lambda _: condition(), why)

    def until(self, condition):
        self.wait(lambda: self.text("#condition") == condition, f"until {condition}")
        return self

    def poll_now(self):
        """Force a poll: the page polls when a pause ends."""
        self.find("#pause").click()
        self.find("#pause").click()

    def errors(self):
        return [entry["message"] for entry in self.chrome.get_log("browser") if entry["level"] == "SEVERE"]

    @contextmanager
    def emulating(self, width=1280, height=900, scheme="light"):
        feature = {"name": "prefers-color-scheme", "value": scheme}
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        yield
        self.chrome.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        self.chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


@pytest.fixture
def reader(chrome, worker):
    reader = Reader(chrome, worker.server.url)
    reader.errors()  # of the test before
    return reader


@pytest.mark.browser
def test_shows_rates_bands_targets_tables_and_the_pipeline(reader, worker):
    worker.counters.lag("checkout-events", 0, 1234)
    reader.open().until("Live")
    card = reader.card("upsell_cross_sell_rate")
    for part in ("30.0%", "typical", "3 of 10 opportunities", "Target 35.0%: missed"):
        assert part in card
    assert "1.25 \N{MULTIPLICATION SIGN}" in reader.card("upsell_revenue_ratio")
    assert "EUR 12.50 on 10.00 intended" in reader.card("upsell_revenue_ratio")
    assert "1 of 4 customers" in reader.card("customer_upsell_rate")
    assert "1.33 \N{MULTIPLICATION SIGN}" in reader.card("order_value_lift")
    volume = reader.text("#volume").replace("\N{NO-BREAK SPACE}", " ").splitlines()
    assert volume[-6:] == [
        "Revenue per opportunity", "EUR 1.60", "Average order value", "EUR 4.00", "Extra revenue per transaction", "EUR 0.75",
    ]  # fmt: skip
    assert not reader.chrome.find_elements(By.CSS_SELECTOR, '[data-kpi="cross_sell_ratio"]'), "per segment only"
    assert [
        line.text.split() for line in reader.find('[data-kpi="upsell_ratio"] .lines').find_elements(By.TAG_NAME, "tr")
    ] == [
        ["5m", "50.0%"],
        ["1h", "50.0%"],
        ["total", "50.0%"],
    ]
    assert reader.row("segment", 'a "new"\\one') == [
        'a "new"\\one', "10", "4", "●typical: 30.0%", "50.0%", "▲strong: 25.0%",
    ]  # fmt: skip
    assert reader.row("channel", "web")[:3] == ["web", "10", "4"]
    assert reader.row("category", "shoes")[:3] == ["shoes", "3", "66.7%"]
    assert reader.row("targets", "Upsell and cross-sell rate, checkout")[1:] == ["35.0%", "30.0%", "▼ missed"]
    assert reader.row("targets", 'Revenue against intent, checkout, a "new"\\one')[3] == "▲ met"
    assert reader.row("targets", "Upsell ratio, subscription")[1:] == ["10.0%", DASH, DASH]
    assert reader.text("#sales tbody") == "None since it started."
    pipeline = reader.text("#pipeline")
    assert "1,234 records" in pipeline
    assert "2, all up to date" in pipeline
    assert reader.errors() == []


@pytest.mark.browser
def test_shows_the_newest_flagged_sales_without_customers(reader, worker):
    worker.counters.judged(
        "checkout-events", 0, [version(kinds=["cross_sell", "upsell"], upsell="1234.50", lines=LINES)]
    )
    worker.counters.judged("subscription-events", 0, [version("b", time="2020-02-03T04:05:06Z", kinds=["upsell"])])
    reader.open().until("Live")
    newest, older = reader.script(
        "return [...document.querySelector('#sales').tBodies[0].rows].map((row) => [...row.cells].map((cell) => cell.textContent))"
    )
    assert newest[1:] == ["checkout", "EUR 1,234.50", "EUR 0.00", "bag, <b>belt</b>"]
    assert older[0].startswith("2020-02-0")
    shown = reader.chrome.page_source + json.dumps(state_of(worker))
    assert not [name for name in ("ada", "checkout/1", "event-1", "offer") if name in shown]
    assert reader.errors() == []


@pytest.mark.browser
def test_labels_are_text(reader, worker):
    hostile = [
        "<img src=x onerror=window.pwned=1>",
        "</script><script>window.pwned=1</script>",
        "\"'><svg onload=window.pwned=1>",
        "__proto__",
        "javascript:window.pwned=1",
        "\N{RIGHT-TO-LEFT OVERRIDE}drawkcab",
    ]
    cells = {(SALES, label, label): sale(opportunities=2, transactions=1, upsell=1, any=1) for label in hostile}
    worker.tables.shards = [shard(cells=cells)]
    worker.reasons = ["<b onclick=window.pwned=1>bold</b>"]
    worker.refresh()
    reader.open().until("Worker not ready")
    for table in ("segment", "channel"):
        for label in hostile:
            assert reader.row(table, label)[1:3] == ["2", "1"]
    assert reader.text("#trouble") == worker.reasons[0]
    assert reader.script("return window.pwned") is None
    assert reader.script("return document.querySelectorAll('main img, main script, main b, bdi *').length") == 0
    assert reader.errors() == []


@pytest.mark.browser
def test_the_policy_stops_what_is_not_the_pages_own(reader):
    reader.open().until("Live")
    reader.script(
        "document.head.append(Object.assign(document.createElement('style'), {textContent: 'main {display: none}'}))"
    )
    assert reader.find("main").is_displayed()
    with pytest.raises(JavascriptException, match="TrustedHTML"):
        reader.script("document.body.innerHTML = '<p>mine</p>'")


@pytest.mark.browser
def test_refreshes_and_keeps_focus(reader, worker):
    reader.open().until("Live")
    reader.find('input[value="1h"]').send_keys(Keys.NULL)
    points = "return document.querySelector('[data-kpi=upsell_ratio] .chosen + .line path').getAttribute('d')"
    assert "L" not in reader.script(points), "a first point shows at once"
    value = reader.find('[data-kpi="upsell_ratio"] .value')
    worker.tables.shards = [
        shard(cells={(SALES, "web", "new"): sale(opportunities=20, transactions=10, upsell=1, any=1)})
    ]
    worker.refresh()
    reader.wait(lambda: value.text == "10.0%")
    assert "L" in reader.script(points)
    assert reader.script("return document.activeElement.value") == "1h"
    assert reader.script("return document.getElementById('announcement').textContent") == "", (
        "numbers are not announced"
    )


@pytest.mark.browser
def test_no_numbers_when_the_view_is_withdrawn(reader, worker):
    reader.open().until("Live")
    worker.seconds += WITHDRAWN_AFTER + 1
    reader.poll_now()
    reader.until("No figures")
    assert "last read 31 s ago" in reader.text("#trouble")
    assert reader.text('[data-kpi="upsell_cross_sell_rate"] .value') == DASH
    main = reader.script("return document.querySelector('main').innerText")
    assert "%" not in main
    assert "Nothing was counted" not in main
    assert "No target is set" not in main
    assert reader.script("return document.querySelector('[role=status]').textContent") == "No figures"
    worker.refresh()
    reader.poll_now()
    reader.until("Live")
    assert reader.text('[data-kpi="upsell_cross_sell_rate"] .value') == "30.0%"


@pytest.mark.browser
def test_an_unreachable_worker_is_reported_until_it_answers(reader, worker):
    reader.open().until("Live")
    worker.leave()
    reader.poll_now()
    reader.until("Worker away")
    assert "has not answered since" in reader.text("#trouble")
    assert "does not answer" in reader.text("#pipeline")
    assert reader.text('[data-kpi="upsell_cross_sell_rate"] .value') == "30.0%", "for as long as it can be vouched for"
    worker.come_back()
    reader.until("Live")


@pytest.mark.browser
def test_figures_of_an_unreachable_worker_are_removed(reader, worker, monkeypatch):
    monkeypatch.setattr(page, "WITHDRAWN_AFTER", 1.0)
    reader.open().until("Live")
    worker.leave()
    reader.until("Worker away")
    reader.wait(lambda: reader.text('[data-kpi="upsell_cross_sell_rate"] .value') == DASH)
    assert "no figures" in reader.text("#trouble")


@pytest.mark.browser
def test_figures_that_stand_still_are_not_called_live(reader, worker):
    worker.tables.time = NOW + 60_000_000
    worker.refresh()
    reader.open().until("Stopped")
    assert reader.find("#state").get_attribute("data-state") == "down"
    assert "Checkout: stopped. no commit for 63 s" in reader.text("#trouble")
    assert "Subscription: stopped." in reader.text("#trouble")
    assert "2, of them 2 silent" in reader.text("#pipeline")


@pytest.mark.browser
def test_halted_shards_are_shown_with_their_cause_once(reader, worker):
    halt = Halt("topic_recreated", "the topic was deleted and created again", NOW)
    others = [shard(partition=number) for number in (1, 2)]
    worker.tables.shards = [*worker.tables.shards[:1], *others, *worker.tables.shards[1:]]
    worker.tables.halts = {other.shard: halt for other in others}
    worker.refresh()
    reader.open().until("Partial")
    assert reader.text("#trouble") == (
        "Checkout: partial. the topic was deleted and created again (checkout-events/1, checkout-events/2)."
    )
    reader.find("details summary").click()
    assert reader.row("shards", "checkout-events/1")[1] == "halted: topic_recreated"
    assert reader.row("shards", "checkout-events/0")[1] == "working"


@pytest.mark.browser
def test_dead_letters_records_without_key_and_old_records_are_shown(reader, worker):
    health = ShardHealth(NOW - 120_000_000, ((NOW, {"invalid": 37, "no_key": 1, ACCEPTED: 900, WITHOUT_KEY: 60}),))
    worker.tables.shards = [shard(cells=SMALL, customers=SMALL_CUSTOMERS, health=health)]
    worker.refresh()
    reader.open().until("Behind")
    assert "the oldest record that is not applied is 2 min old" in reader.text("#trouble")
    pipeline = reader.text("#pipeline")
    for part in (
        "38: invalid 37, no_key 1",
        "60: a checkout may count as several",
        "2 min ago",
        "1 MiB of 4 MiB (25.0%)",
    ):
        assert part in pipeline


@pytest.mark.browser
def test_an_application_without_events_is_called_empty(reader, worker):
    worker.tables.shards = [shard(at=0)]
    worker.refresh()
    reader.open().until("Empty")
    assert "no event has come" in reader.text("#trouble")
    worker.tables.shards = [shard(at=0, health=ShardHealth(0, ((NOW, {"invalid": 40}),)))]
    worker.refresh()
    reader.wait(lambda: "records came, and were rejected (40: invalid 40)" in reader.text("#trouble"))


@pytest.mark.browser
def test_pause_keeps_the_figures_and_resume_refreshes_them(reader, worker):
    reader.open().until("Live")
    reader.find("#pause").click()
    reader.until("Paused")
    assert reader.find("#pause").get_attribute("aria-pressed") == "true"
    worker.tables.shards = [shard(cells={(SALES, "web", "new"): sale(opportunities=10, transactions=10, any=1)})]
    worker.refresh()
    assert "30.0%" in reader.card("upsell_cross_sell_rate")
    reader.find("#pause").click()
    reader.wait(lambda: "10.0%" in reader.card("upsell_cross_sell_rate"))


@pytest.mark.browser
def test_the_keyboard_chooses_and_the_address_remembers(reader):
    reader.open().until("Live")
    reached = []
    for _ in range(4):
        ActionChains(reader.chrome).send_keys(Keys.TAB).perform()
        reached.append(reader.script("const at = document.activeElement; return at.id || at.value || at.hash"))
    assert reached == ["#rates", "pause", "checkout", "1h"]
    ActionChains(reader.chrome).send_keys(Keys.ARROW_RIGHT).perform()
    assert reader.text("#segment caption").endswith("total")
    ActionChains(reader.chrome).key_down(Keys.SHIFT).send_keys(Keys.TAB).key_up(Keys.SHIFT).send_keys(
        Keys.ARROW_LEFT
    ).perform()
    assert [item.get_attribute("data-kpi") for item in reader.chrome.find_elements(By.CSS_SELECTOR, "#cards > li")] == [
        "upsell_cross_sell_rate", "upsell_ratio", "cross_sell_rate",
    ]  # fmt: skip
    chosen = reader.script("return location.hash")
    reader.open(chosen).until("Live")
    assert reader.text("#segment caption").endswith("total")
    assert reader.find('input[value="all"]').is_selected()


@pytest.mark.browser
def test_a_screen_reader_finds_its_way(reader):
    reader.open().until("Live")
    reader.find("summary").click()
    tree = reader.chrome.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    seen = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in tree if not node["ignored"]]
    roles = {role for role, _ in seen}
    assert {"banner", "main", "contentinfo", "heading", "status", "columnheader", "rowheader"} <= roles
    assert {"Rates", "Targets", "By segment", "By channel", "Pipeline"} <= {
        name for role, name in seen if role == "region"
    }
    for role, name in seen:
        if role in ("button", "radio", "link", "table", "region"):
            assert name, f"a {role} has no name"
    headings = reader.script(
        "return [...document.querySelectorAll('h1, h2, h3')].map((heading) => Number(heading.tagName[1]))"
    )
    assert headings[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(headings))
    assert reader.script("return document.querySelectorAll('th:not([scope])').length") == 0


LOW_CONTRAST = """
const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
const luminance = (colour) => channels(colour).slice(0, 3).map((part) => part / 255)
  .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
  .reduce((sum, part, place) => sum + part * [0.2126, 0.7152, 0.0722][place], 0);
function ground(element) {
  for (let at = element; at; at = at.parentElement) {
    const colour = getComputedStyle(at).backgroundColor;
    if ((channels(colour)[3] ?? 1) === 1) return colour;
  }
}
return [...document.querySelectorAll("body *")]
  .filter((element) => element.checkVisibility() && !element.closest(".unseen"))
  .filter((element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))
  .map((element) => {
    const [light, dark] = [luminance(getComputedStyle(element).color), luminance(ground(element))].sort((a, b) => b - a);
    return [element.textContent, (light + 0.05) / (dark + 0.05)];
  })
  .filter(([, ratio]) => ratio < 4.5);
"""


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_fits_and_can_be_read(reader, worker, width, scheme):
    worker.reasons = ["checkout-events/0: not claimed yet"]
    with reader.emulating(width=width, scheme=scheme):
        reader.open().until("Worker not ready")
        reader.find("summary").click()
        assert reader.script("return document.documentElement.scrollWidth") == width
        assert reader.script(LOW_CONTRAST) == []
        ground = reader.script("return getComputedStyle(document.body).backgroundColor")
        assert (max(map(int, re.findall(r"\d+", ground))) < 64) == (scheme == "dark")


@pytest.fixture
def token(worker, chrome, tmp_path):
    """The file with the token that the worker asks for. The browser has no cookie of another test."""
    chrome.execute_cdp_cmd("Network.clearBrowserCookies", {})
    file = tmp_path / "token"
    file.write_text("a-token-of-a-test")
    worker.leave()
    worker.server = worker.serving(SETTINGS.model_copy(update={"http_token_file": file, "http_port": 0}))
    worker.do(worker.server.start())
    return file


def log_in(reader, token):
    reader.find("#token").send_keys(token, Keys.ENTER)


@pytest.mark.browser
def test_a_person_logs_in_once_without_javascript_and_the_page_works(token, reader, worker):
    reader.chrome.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        reader.open()
        log_in(reader, "mistaken")
        reader.wait(lambda: "The token is wrong." in reader.chrome.page_source)
        log_in(reader, token.read_text())
        reader.wait(lambda: 'id="rates"' in reader.chrome.page_source)
    finally:
        reader.chrome.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    reader.open().until("Live")
    assert "30.0%" in reader.card("upsell_cross_sell_rate")
    (cookie,) = reader.chrome.get_cookies()
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["secure"]) == (True, "Strict", False)
    assert reader.script("return document.cookie") == ""
    assert all("401" in error for error in reader.errors()), "the form's status; nothing violates the policy"


@pytest.mark.browser
def test_when_the_token_changes_the_page_shows_the_form_again(token, reader, worker):
    reader.open()
    log_in(reader, token.read_text())
    reader.wait(lambda: 'id="rates"' in reader.chrome.page_source)
    reader.until("Live")
    token.write_text("another")
    reader.poll_now()
    reader.wait(lambda: 'id="token"' in reader.chrome.page_source)
    log_in(reader, "another")
    reader.wait(lambda: 'id="rates"' in reader.chrome.page_source)
    reader.until("Live")


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_the_form_fits_and_can_be_read(token, reader, width, scheme):
    with reader.emulating(width=width, scheme=scheme):
        reader.open()
        log_in(reader, "mistaken")
        reader.wait(lambda: "The token is wrong." in reader.chrome.page_source)
        assert reader.script("return document.documentElement.scrollWidth") == width
        assert reader.script(LOW_CONTRAST) == []
