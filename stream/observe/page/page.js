// The live page. Rules: data from the worker becomes text nodes and attributes, never markup. Figures are removed when the worker withdraws them, or
// has not answered for the same time. Ages are those of the worker, plus the time since its answer.

const EVERY = 5000; // milliseconds between two polls
const PATIENCE = 10000; // milliseconds until a poll fails
const KEPT = 15 * 60 * 1000; // milliseconds of history
const GAP = 4 * EVERY; // milliseconds; longer gaps interrupt a line
const SILENT = 30; // seconds without a commit after which a shard is shown as silent
const JOURNEYS = { all: "Both", checkout: "Checkout", subscription: "Subscription" };
const DASH = "–";
// State of the figures -> how the page shows it. The first one that a journey has is the page's.
const STATES = { stopped: ["down", "Stopped"], partial: ["warn", "Partial"], behind: ["warn", "Behind"], live: ["live", "Live"], empty: ["wait", "Empty"] };

// Name of a KPI -> its title, and the counts or amounts that it divides.
const KPIS = {
  upsell_cross_sell_rate: { title: "Upsell and cross-sell rate", of: (set) => parts(set.kind_transactions.any, set.opportunities, "opportunities") },
  upsell_ratio: { title: "Upsell ratio", of: (set) => parts(set.kind_transactions.upsell, set.transactions, "transactions") },
  upsell_revenue_ratio: { title: "Revenue against intent", of: (set) => amounts(set, "final") },
  upsell_revenue_share: { title: "Upsell share of intent", of: (set) => amounts(set, "upsell") },
  cross_sell_rate: { title: "Cross-sell rate", of: (set) => parts(set.kind_transactions.cross_sell, set.transactions, "transactions") },
  cross_sell_ratio: { title: "Cross-sell ratio", of: (set) => parts(set.kind_transactions.cross_sell, set.transactions, "transactions") },
  customer_upsell_rate: { title: "Customers with an upsell", of: (set) => parts(set.customers.upsell, set.customers.all, "customers") },
  customer_cross_sell_rate: { title: "Customers with a cross-sell", of: (set) => parts(set.customers.cross_sell, set.customers.all, "customers") },
  customer_any_rate: { title: "Customers with either", of: (set) => parts(set.customers.any, set.customers.all, "customers") },
  order_value_lift: { title: "Order value lift", of: () => "average total with an upsell or a cross-sell, against without" },
};

// Name of a KPI of money -> its title.
const MONEY_KPIS = {
  revenue_per_opportunity: "Revenue per opportunity",
  average_order_value: "Average order value",
  extra_revenue_per_transaction: "Extra revenue per transaction",
};

const byId = (id) => document.getElementById(id);
const whole = new Intl.NumberFormat("en");
const percent = new Intl.NumberFormat("en", { style: "percent", minimumFractionDigits: 1, maximumFractionDigits: 1 });
const factor = new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });

// --- text

const shown = (value, unit) => (value === null || value === undefined ? DASH : unit === "factor" ? `${factor.format(value)}\u00a0×` : percent.format(value));
const parts = (numerator, denominator, name) => `${whole.format(numerator)} of ${whole.format(denominator)} ${name}`;
const money = (text) => text.replace(/\d+/, (units) => whole.format(BigInt(units)));
const amount = ({ currency, value }) => new Intl.NumberFormat("en", { style: "currency", currency, currencyDisplay: "code" }).format(value);
const titleOf = (kpi) => KPIS[kpi]?.title ?? kpi;
const targetName = (target) => `${titleOf(target.kpi)}, ${target.journey}${target.segment === "all" ? "" : `, ${target.segment}`}`;

function amounts(set, part) {
  const known = Object.entries(set.revenue).filter(([, own]) => Number(own.initial) || Number(own.final));
  if (known.length > 1) return "several currencies; amounts are never added up";
  return known.map(([currency, own]) => `${currency} ${money(own[part])} on ${money(own.initial)} intended`).join();
}

function ago(seconds) {
  if (seconds === null) return "never";
  if (seconds < 0) return `${duration(-seconds)} ahead`;
  return `${duration(seconds)} ago`;
}

function duration(seconds) {
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} d`;
}

// --- document

const SVG = new Set(["svg", "path", "rect"]);

function element(name, attributes = {}, ...children) {
  const made = SVG.has(name) ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value);
  made.append(...children.filter((child) => child !== null && child !== ""));
  return made;
}

// Make the children of `parent` equal to `wanted`. Changes only what differs, so selection, focus and scroll position survive.
function fill(parent, wanted) {
  wanted.forEach((child, place) => {
    const present = parent.childNodes[place];
    if (present === undefined) parent.append(child);
    else if (present.nodeName !== child.nodeName) present.replaceWith(child);
    else if (child.nodeType === Node.TEXT_NODE) {
      if (present.data !== child.data) present.data = child.data;
    } else {
      for (const { name } of [...present.attributes]) if (!child.hasAttribute(name)) present.removeAttribute(name);
      for (const { name, value } of child.attributes) if (present.getAttribute(name) !== value) present.setAttribute(name, value);
      fill(present, [...child.childNodes]);
    }
  });
  while (parent.childNodes.length > wanted.length) parent.lastChild.remove();
}

const put = (id, ...children) => fill(byId(id), children.map((child) => (typeof child === "string" ? document.createTextNode(child) : child)));
const label = (value) => element("bdi", {}, value);

function table(id, caption, columns, rows, empty = "") {
  const heads = columns.map((column, place) => element("th", { scope: "col", ...(place ? {} : { class: "text" }) }, column));
  const body = rows.map(([first, ...cells]) =>
    element("tr", {}, element("th", { scope: "row" }, first), ...cells.map((cell) => element("td", {}, cell))),
  );
  if (!body.length) body.push(element("tr", {}, element("td", { class: "text muted", colspan: columns.length }, empty)));
  put(id, element("caption", {}, caption), element("thead", {}, element("tr", {}, ...heads)), element("tbody", {}, ...body));
}

// --- state

let kpis = [];
let latest = null; // { rates, state, received } of the last successful poll
let away = null; // { since, reason } while the worker does not answer
let polling = false;
let paused = false;
let drawn = false; // whether figures are in the document
let announced = "";
const history = []; // { at, windows: { window: { journey: rates } } }, oldest first
const chosen = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));

const passed = () => (performance.now() - latest.received) / 1000;
const figuresAge = () => (latest.state.age === null ? null : latest.state.age + passed());
const held = () => paused && away === null;
const vouched = () => latest !== null && latest.rates !== null && (held() || passed() <= latest.state.withdrawn_after);

async function poll() {
  if (polling) return;
  polling = true;
  const signal = AbortSignal.timeout(PATIENCE);
  const ask = (path) => fetch(path, { signal, cache: "no-store" });
  try {
    const [rates, state] = await Promise.all([ask("api/v1/rates"), ask("page.json")]);
    if (state.status === 401) return location.reload(); // the token has changed, or the cookie has expired: shows the form
    if (!state.ok) throw new Error(`it answered ${state.status}`);
    latest = { rates: rates.ok ? await rates.json() : null, state: await state.json(), received: performance.now() };
    kpis = latest.state.kpis;
    away = null;
    if (latest.rates !== null) remember(latest.rates.windows);
  } catch (error) {
    away ??= { since: new Date() };
    away.reason = error.name === "TimeoutError" ? `no answer in ${PATIENCE / 1000} s` : error.message;
  }
  polling = false;
  draw();
}

function remember(windows) {
  const at = performance.timeOrigin + performance.now();
  const seen = Object.entries(windows).map(([window, sets]) => [
    window,
    Object.fromEntries(Object.keys(JOURNEYS).map((journey) => [journey, sets[journey].rates])),
  ]);
  history.push({ at, windows: Object.fromEntries(seen) });
  while (history[0].at < at - KEPT) history.shift();
}

// --- drawing

function draw() {
  condition();
  if (latest === null) return;
  drawn = vouched();
  const windows = drawn ? latest.rates.windows : null;
  if (windows !== null) choices(windows);
  const { journey, window } = chosen;
  const set = windows?.[window]?.[journey] ?? null;
  volume(set);
  cards(windows);
  targets(windows !== null);
  for (const dimension of ["segment", "channel", "category"]) breakdown(dimension, windows?.[window]?.[dimension] ?? null);
  sales();
  pipeline();
}

function condition() {
  const [state, word, detail, trouble] = diagnosis();
  byId("state").dataset.state = state;
  put("condition", word);
  put("freshness", detail);
  put("trouble", trouble);
  byId("trouble").hidden = !trouble;
  // Announced to screen readers only when it changes, and without numbers, which change all the time.
  if (announced !== word) {
    if (announced || state !== "live") put("announcement", word);
    announced = word;
  }
}

// The condition of the page: state, word, detail, trouble.
function diagnosis() {
  if (away !== null) {
    const since = `The worker has not answered since ${away.since.toLocaleTimeString("en-GB")} (${away.reason}).`;
    const kept = vouched() ? ` The figures are ${duration(passed())} old.` : " There are no figures.";
    return ["down", "Worker away", "", since + kept];
  }
  if (latest === null) return ["wait", "Connecting", "", ""];
  if (!vouched()) return ["down", "No figures", "", `Withdrawn: ${latest.state.unavailable ?? "the figures are too old"}.`];
  const age = figuresAge();
  const detail = age === null ? "no figures yet" : `figures of ${new Date(latest.rates.as_of).toLocaleTimeString("en-GB")}, ${ago(age)}`;
  if (held()) return ["wait", "Paused", detail, ""];
  const states = Object.entries(latest.state.states);
  const worst = Object.keys(STATES).find((name) => states.some(([, own]) => own.state === name)) ?? "empty";
  const [sign, word] = STATES[worst];
  if (sign !== "live" && sign !== "wait") return [sign, word, detail, states.filter(([, own]) => own.reasons.length).map(explained).join(" ")];
  if (!latest.state.ready) return ["warn", "Worker not ready", detail, latest.state.reasons.join("; ")];
  if (worst !== "empty") return [sign, word, detail, ""];
  const refused = rejections(latest.state.last_hour);
  return [sign, word, detail, `Nothing was applied yet: ${refused ? `records came, and were rejected (${refused})` : "no event has come"}.`];
}

// The state of a journey's figures in words: each cause once, with its shards.
function explained([journey, { state, reasons }]) {
  const causes = reasons.map(({ text, shards }) => `${text} (${shards.slice(0, 4).join(", ")}${shards.length > 4 ? ` and ${shards.length - 4} more` : ""})`);
  return `${JOURNEYS[journey]}: ${STATES[state][1].toLowerCase()}. ${causes.join("; ")}.`;
}

function choices(windows) {
  const names = Object.keys(windows);
  const busiest = windows.total.checkout.opportunities || !windows.total.subscription.opportunities ? "checkout" : "subscription";
  if (!Object.hasOwn(JOURNEYS, chosen.journey)) chosen.journey = busiest;
  if (!names.includes(chosen.window)) chosen.window = names.includes("1h") ? "1h" : names[0];
  radios("journeys", "journey", Object.entries(JOURNEYS));
  radios("windows", "window", names.map((name) => [name, name]));
}

function radios(id, name, options) {
  const present = [...byId(id).querySelectorAll("input")].map((input) => input.value);
  if (String(present) !== String(options.map(([value]) => value))) {
    const made = options.map(([value, text]) => element("label", {}, element("input", { type: "radio", name, value }), element("span", {}, text)));
    byId(id).replaceChildren(byId(id).firstElementChild, ...made);
  }
  for (const input of byId(id).querySelectorAll("input")) input.checked = input.value === chosen[name];
}

function volume(set) {
  const counts = set && {
    Opportunities: set.opportunities,
    Transactions: set.transactions,
    Upsells: set.kind_transactions.upsell,
    "Cross-sells": set.kind_transactions.cross_sell,
    Downsells: set.kind_transactions.downsell,
    Restored: set.kind_transactions.restored,
    Reversed: set.reversed_transactions.all,
    "Intent unknown": set.intents.unknown,
  };
  const entries = Object.entries(counts ?? {}).map(([name, count]) => [name, whole.format(count)]);
  for (const [currency, own] of Object.entries(set?.revenue ?? {})) entries.push([`Upsold ${currency}`, money(own.upsell)]);
  for (const [kpi, own] of Object.entries(set?.amounts ?? {})) entries.push([MONEY_KPIS[kpi] ?? kpi, own === null ? DASH : amount(own)]);
  put("volume", ...entries.map(([name, text]) => element("div", {}, element("dt", {}, name), element("dd", {}, text))));
}

function cards(windows) {
  const names = windows === null ? [] : Object.keys(windows);
  const set = windows?.[chosen.window][chosen.journey] ?? null;
  const own = set === null ? kpis.filter((kpi) => kpi.name !== "cross_sell_ratio") : kpis.filter((kpi) => kpi.name in set.rates);
  put("cards", ...own.map((kpi) => card(kpi, set, windows, names)));
}

function card(kpi, set, windows, names) {
  const value = set?.rates[kpi.name] ?? null;
  const target = latest.state.targets.find((each) => each.kpi === kpi.name && each.journey === chosen.journey && each.segment === "all");
  return element(
    "li",
    { "data-kpi": kpi.name },
    element("h3", {}, titleOf(kpi.name)),
    element("p", { class: "reading" }, element("span", { class: "value" }, shown(value, kpi.unit)), chip(kpi, value)),
    element("p", { class: "of", title: kpi.formula }, set === null ? "" : (KPIS[kpi.name]?.of(set) ?? kpi.formula)),
    target === undefined ? null : verdict(target, value, kpi.unit),
    meter(kpi, value, target?.ratio ?? null),
    element(
      "table",
      { class: "lines", "aria-label": `${titleOf(kpi.name)} by window` },
      element("tbody", {}, ...names.filter((window) => kpi.name in windows[window][chosen.journey].rates).map((window) => line(kpi, window, windows))),
    ),
  );
}

function line(kpi, window, windows) {
  const mark = window === chosen.window ? " chosen" : "";
  return element(
    "tr",
    {},
    element("th", { scope: "row", class: `text${mark}` }, window),
    element("td", { class: "line" }, spark(kpi, window)),
    element("td", { class: `number${mark}` }, shown(windows[window][chosen.journey].rates[kpi.name], kpi.unit)),
  );
}

const rank = (kpi, value) => kpi.bands.findIndex((band) => value > band.low || (value === band.low && !band.above));

function chip(kpi, value) {
  const place = value === null ? -1 : rank(kpi, value);
  return place < 0 ? null : element("span", { class: `band band-${place}` }, glyph(place), kpi.bands[place].name);
}

// Bands are recognisable without colours.
const glyph = (place) => element("span", { class: "glyph", "aria-hidden": "true" }, "▲●▼"[place]);

function verdict(target, value, unit) {
  const missed = value !== null && value < target.ratio;
  return element("p", { class: missed ? "target missed" : "target" }, `Target ${shown(target.ratio, unit)}${value === null ? "" : missed ? ": missed" : ": met"}`);
}

// Bands as zones, the target and the value as marks.
function meter(kpi, value, target) {
  if (!kpi.bands.length && target === null) return null;
  const top = Math.max(1.5 * (kpi.bands[0]?.low ?? 0), 1.1 * (value ?? 0), 1.5 * (target ?? 0), 0.01);
  const x = (ratio) => (100 * ratio) / top;
  const bar = (kind, from, to, y, height) => element("rect", { class: kind, x: from, width: Math.max(0, to - from), y, height });
  const zones = kpi.bands.map((band, place) => bar(`zone-${place}`, x(band.low), place ? x(kpi.bands[place - 1].low) : 100, 4, 8));
  if (!zones.length) zones.push(bar("zone", 0, 100, 4, 8));
  return element(
    "svg",
    { class: "meter", viewBox: "0 0 100 16", preserveAspectRatio: "none", "aria-hidden": "true" },
    ...zones,
    target === null ? null : bar("goal", x(target) - 0.3, x(target) + 0.3, 0, 16),
    value === null ? null : bar("at", x(value) - 0.6, x(value) + 0.6, 1, 14),
  );
}

function spark(kpi, window) {
  const points = history.map(({ at, windows }) => [at, windows[window]?.[chosen.journey]?.[kpi.name] ?? null]);
  const values = points.map(([, value]) => value).filter((value) => value !== null);
  const image = element("svg", { class: "spark", viewBox: "0 0 100 22", preserveAspectRatio: "none", "aria-hidden": "true" });
  if (!values.length) return image;
  const [first, last] = [points[0][0], points.at(-1)[0]];
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const range = Math.max(high - low, 0.02); // differences below two percentage points are noise; do not magnify them
  const x = (at) => 97 - (94 * (last - at)) / Math.max(last - first, 60000);
  const y = (value) => 11 - (15 * (value - (low + high) / 2)) / range;
  let [path, before] = ["", null];
  for (const [at, value] of points) {
    if (value !== null) path += `${before !== null && at - before <= GAP ? "L" : "M"}${x(at).toFixed(1)} ${y(value).toFixed(1)}`;
    before = value === null ? null : at;
  }
  image.append(element("path", { d: path }));
  const [at, value] = points.at(-1);
  if (value !== null) image.append(element("path", { class: "end", d: `M${x(at).toFixed(1)} ${y(value).toFixed(1)}h0` }));
  return image;
}

function targets(current) {
  const rows = latest.state.targets.map((target) => {
    const unit = kpis.find((kpi) => kpi.name === target.kpi)?.unit;
    const value = current ? (target.values[chosen.window] ?? null) : null;
    const met = value === null ? DASH : value < target.ratio ? element("span", { class: "missed" }, "▼ missed") : "▲ met";
    return [label(targetName(target)), shown(target.ratio, unit), shown(value, unit), met];
  });
  byId("targets-section").hidden = !rows.length && !current; // without an answer it is not known whether there are targets
  byId("no-targets").hidden = rows.length > 0;
  byId("targets-region").hidden = !rows.length;
  table("targets", `In the window ${chosen.window ?? DASH}`, ["Target", "At least", "Now", ""], rows);
}

function breakdown(dimension, sets) {
  const names = { segment: "cross_sell_ratio", channel: "cross_sell_rate", category: "cross_sell_rate" };
  const rated = [...(dimension === "category" ? [] : ["upsell_cross_sell_rate"]), "upsell_ratio", names[dimension]];
  const counted = dimension === "category" ? ["transactions"] : ["opportunities", "transactions"];
  const heads = { opportunities: "Oppor\u00adtunities", transactions: "Trans\u00adactions" }; // soft hyphens, for narrow screens
  const columns = [dimension[0].toUpperCase() + dimension.slice(1), ...counted.map((name) => heads[name]), ...rated.map(titleOf)];
  const rows = Object.entries(sets ?? {}).map(([value, set]) => [
    label(value),
    ...counted.map((name) => whole.format(set[name])),
    ...rated.map((name) => rate(name, set.rates[name])),
  ]);
  const empty = sets === null ? "No figures." : "Nothing was counted in this window.";
  table(dimension, `Both journeys, in the window ${chosen.window ?? DASH}`, columns, rows, empty);
}

function rate(name, value) {
  const kpi = kpis.find((each) => each.name === name);
  const place = value === null ? -1 : rank(kpi, value);
  if (place < 0) return shown(value, kpi.unit);
  const mark = element("span", { class: `is-${place}`, title: kpi.bands[place].name }, glyph(place), element("span", { class: "unseen" }, `${kpi.bands[place].name}: `));
  return element("span", {}, mark, shown(value, kpi.unit));
}

function sales() {
  const rows = latest.state.sales.map((sale) => [
    momentOf(sale.time),
    `${sale.journey}${sale.reversed ? ", reversed" : ""}`,
    ...["upsell", "cross_sell"].map((kind) => (sale.kinds.includes(kind) ? `${sale.currency} ${money(sale[kind])}` : DASH)),
    element("span", {}, ...sale.products.flatMap((product, place) => [place ? ", " : "", label(product)])),
  ]);
  const caption = "Sales that this worker judged; the pages of other workers show theirs";
  table("sales", caption, ["Time", "Journey", "Upsell", "Cross-sell", "Products"], rows, "None since it started.");
}

// The date only if it is not today.
function momentOf(text) {
  const moment = new Date(text);
  const today = moment.toDateString() === new Date().toDateString();
  return (today ? "" : `${moment.toLocaleDateString("en-CA")} `) + moment.toLocaleTimeString("en-GB");
}

function pipeline() {
  const { state } = latest;
  const since = passed();
  const halted = state.shards.filter((shard) => shard.halt !== null);
  const silent = state.shards.filter((shard) => shard.halt === null && shard.age + since > SILENT);
  const amiss = [...(halted.length ? [`${halted.length} halted`] : []), ...(silent.length ? [`${silent.length} silent`] : [])];
  const withoutKey = state.last_hour?.without_key ?? 0;
  const oldest = Math.max(0, ...state.shards.map((shard) => shard.unapplied));
  const newest = state.shards.map((shard) => shard.newest_event).filter((age) => age !== null);
  const facts = {
    "This worker": away !== null ? "does not answer" : state.ready ? "ready" : `not ready: ${state.reasons.join("; ")}`,
    "Its lag": `${whole.format(state.lag)} ${state.lag === 1 ? "record" : "records"} to be applied`,
    "Newest event": newest.length ? ago(Math.min(...newest) + since) : DASH,
    Figures: state.unavailable ?? (state.age === null ? "none yet" : ago(figuresAge())),
    Shards: state.shards.length ? `${state.shards.length}, ${amiss.length ? `of them ${amiss.join(", ")}` : "all up to date"}` : DASH,
    "Oldest record not applied": oldest ? ago(oldest) : "none",
    "Dead letters in the last hour": rejections(state.last_hour) || "none",
    "Records without a key in the last hour": withoutKey ? `${whole.format(withoutKey)}: a checkout may count as several` : "none",
    "Memory of Redis": state.memory === null ? DASH : memory(state.memory),
  };
  put("pipeline", ...Object.entries(facts).flatMap(([name, text]) => [element("dt", {}, name), element("dd", {}, text)]));
  const rows = state.shards.map((shard) => [
    shardName(shard),
    shard.halt !== null ? `halted: ${shard.halt.reason}` : shard.age + since > SILENT ? "silent" : "working",
    shard.age === null ? "never" : ago(shard.age + since),
    shard.newest_event === null ? DASH : ago(shard.newest_event + since),
  ]);
  table("shards", "Shards of all workers", ["Shard", "State", "Last commit", "Newest event"], rows, "No shard is known.");
}

// Dead letters of the last hour: their number, and reasons; empty if there are none.
function rejections(lastHour) {
  const reasons = Object.entries(lastHour?.rejected ?? {});
  if (!reasons.length) return "";
  const all = reasons.reduce((sum, [, count]) => sum + count, 0);
  return `${whole.format(all)}: ${reasons.map(([reason, count]) => `${reason} ${whole.format(count)}`).join(", ")}`;
}

function memory({ used, limit }) {
  const mebibytes = (bytes) => `${whole.format(Math.round(bytes / 1048576))} MiB`;
  return limit ? `${mebibytes(used)} of ${mebibytes(limit)} (${percent.format(used / limit)})` : `${mebibytes(used)}, no limit`;
}

const shardName = (shard) => `${shard.topic}/${shard.partition}`;

// --- running

byId("controls").addEventListener("change", ({ target }) => {
  chosen[target.name] = target.value;
  location.replace(`#${new URLSearchParams(chosen)}`);
  draw();
});

byId("pause").addEventListener("click", () => {
  paused = !paused;
  byId("pause").setAttribute("aria-pressed", paused);
  if (paused) draw();
  else poll();
});

document.addEventListener("visibilitychange", () => {
  if (!document.hidden && !paused) poll();
});

async function run() {
  for (;;) {
    if (!paused && !document.hidden) await poll();
    await new Promise((resolve) => setTimeout(resolve, EVERY));
  }
}

// Between two polls only the ages change, until the figures are too old.
setInterval(() => {
  if (latest === null) return;
  if (vouched() !== drawn) draw();
  condition();
  pipeline();
}, 1000);
run();
