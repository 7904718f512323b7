"""The verdict on a cart: what was bought beyond, besides, or below the initial intent?

The rules, as a table (`tests/core/judging/test_cart.py` has cases for every row and every sentence). Lines with list or net total 0 (gifts) are left out.
The lines of both carts fall into families: lines that share a variant_id, a sku or a product_id, or of which a final one names an intent line in
`replaces`, and so on. A line's key is its variant_id where all lines of the family have one, else its sku where all have one, else its
product_id where all have one, else all three together. Lists, nets and units of a family's lines on one side add up.

    family                                                   verdict              reason
    both sides, every key in equal quantity                  kept
    both sides, some key gained units and another lost some  upsell / downsell    substitute / variant
    both sides, only gained and list up / only lost and down upsell / downsell    substitute / quantity
    both sides otherwise                                     kept
    only final, and one only in the intent of its category   upsell / downsell    substitute
    the rest of both, where more than half of the intent     upsell / downsell    substitute
        is in the rest
    only final otherwise                                     cross_sell           addition
    only intent otherwise                                    removed: no verdict; set against substitute upsells of its category

Up and down compare list totals; equal is kept. A family on both sides is a substitute where a final line of it replaces an intent line of another key. The
amount is the difference of the net totals, at least 0; of a cross-sell its net total. A verdict whose amount rounds to 0 in the currency is none.

After refunds the same comparisons are judged again with the units that are left (`left`): nothing is paired or removed again, and what was kept stays
kept.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from functools import lru_cache

import msgspec

from stream.core.event import Line
from stream.core.labels import OTHER
from stream.core.money import Exact, divided, exact, rounded
from stream.core.result import Kind, Reason

UNIT = 1000
"""Quantities are counted in thousandths: they have at most three decimal places."""
LONGEST_ID = 64
"""Characters of an id under which a product is counted."""
_ID_KINDS = _BY_VARIANT, _BY_SKU, _BY_PRODUCT = range(3)
_BY_ALL = 3
"""Kinds of keys: one of the ids, or all of them."""
_Ids = tuple[str | None, str | None, str | None]


class CartLine(msgspec.Struct, frozen=True, gc=False):
    """A line, ready to be judged. Amounts are exact (`core.money`)."""

    line: Line
    ids: _Ids
    """variant_id, sku, product_id."""
    replaces: tuple[str, ...]
    units: int
    """Thousandths."""
    price: int
    """Unit list price."""
    listed: Exact
    """List total."""
    net: Exact
    """List total - discount, which is at most the list total."""
    product: str
    """As of `product_of`."""

    @property
    def is_gift(self) -> bool:
        """Whether the line is left out of verdicts."""
        return not self.net

    def left(self, units: int) -> "CartLine":
        """The same line with so many of its units; list total and discount shrink in proportion."""
        return CartLine(
            self.line,
            self.ids,
            self.replaces,
            units,
            self.price,
            divided(self.listed * units, self.units),
            divided(self.net * units, self.units),
            self.product,
        )


class LineVerdict(msgspec.Struct, frozen=True, gc=False):
    """One verdict, with the lines that it names."""

    kind: Kind
    reason: Reason
    final: Line
    intent: Line | None
    amount: Exact


class Comparison(msgspec.Struct, frozen=True, gc=False):
    """Lines that are judged together, by their positions in the two carts."""

    intent: Sequence[int]
    final: Sequence[int]
    key: int | None
    """Kind of the lines' keys; None where list totals alone are compared."""
    category: str | None
    """Removed lines of this category are set against an upsell."""


class Comparisons(msgspec.Struct, frozen=True, gc=False):
    """What a cart is compared with: everything that its verdict, and the verdict on what refunds leave of it, follow from."""

    intent: Sequence[CartLine]
    final: Sequence[CartLine]
    parts: Sequence[Comparison]
    """Those that are not kept."""
    found: "Sequence[_Found]"
    """The verdict of each part on all of `final`."""
    removed: dict[str, Exact]
    """Net total of the removed lines, by category."""


_Found = tuple[int, LineVerdict]
"""The position of the final line that a verdict names, and the verdict."""
NOTHING = Comparisons((), (), (), (), {})
"""Of a cart that is as intended, or whose intent is not known."""


def lines_of(lines: Iterable[Line]) -> list[CartLine]:
    """Lines, ready to be judged."""
    return [_line_of(line) for line in lines]


@lru_cache(maxsize=16_384)  # a cart's lines are judged again with every version of it
def _line_of(line: Line) -> CartLine:
    units, price = thousandths(line.quantity), exact(line.price)
    # A price has at most 10 decimal places and exact amounts have 13, so this is a whole number.
    listed = price // UNIT * units
    replaces = line.replaces
    return CartLine(
        line,
        (line.variant_id, line.sku, line.product_id),
        () if replaces is None else (replaces,) if isinstance(replaces, str) else replaces,
        units,
        price,
        listed,
        max(0, listed - exact(line.discount)),
        product_of(line),
    )


def product_of(line: Line) -> str:
    """The name under which a line's product is counted."""
    name = line.product_id or line.sku or line.variant_id or OTHER
    return name if len(name) <= LONGEST_ID else OTHER


def thousandths(quantity: int | str) -> int:
    """A quantity in thousandths."""
    return quantity * UNIT if isinstance(quantity, int) else int(Decimal(quantity).scaleb(3))


def quantity_of(units: int) -> int | str:
    """The inverse of `thousandths`."""
    whole, part = divmod(units, UNIT)
    return whole if not part else f"{whole}.{part:03}".rstrip("0")


def net(lines: Iterable[CartLine]) -> Exact:
    """Net total of lines."""
    return sum([line.net for line in lines])


def compare(intent: Sequence[CartLine], final: Sequence[CartLine]) -> Comparisons:
    """Find what is compared with what."""
    compared: list[Comparison] = []
    only_intent: list[Comparison] = []
    only_final: list[Comparison] = []
    for family in _families(intent, final):
        (only_intent if not family.final else compared if family.intent else only_final).append(family)
    if only_final and only_intent:
        compared += _pairs(only_intent, only_final, intent, final)
        compared += _rest(only_intent, only_final, intent)
    compared += only_final
    parts, found = [], []
    for part in compared:
        judged = _judge(part, intent, final)
        if judged is not None:
            parts.append(part)
            found.append(judged)
    removed: dict[str, Exact] = {}
    for each in only_intent:
        if each.category:
            gone = net([intent[at] for at in each.intent])
            removed[each.category] = removed.get(each.category, 0) + gone
    return Comparisons(intent, final, parts, found, removed)


def judge(comparisons: Comparisons, final: Sequence[CartLine], places: int) -> list[LineVerdict]:
    """The verdicts on the final lines, in the order of the lines that they name.

    `final` are the lines of `compare`, or as many of their units as are left. `places` are the decimal places of the currency.
    """
    return [verdict for _, verdict in judge_parts(comparisons, final, places)]


def judge_parts(
    comparisons: Comparisons, final: Sequence[CartLine], places: int
) -> list[tuple[Comparison, LineVerdict]]:
    """The same, each verdict with the comparison that it follows from: one of `comparisons.parts`."""
    parts = comparisons.parts
    found = (
        comparisons.found if final is comparisons.final else [_judge(part, comparisons.intent, final) for part in parts]
    )
    judged = [(*each, part) for each, part in zip(found, parts, strict=True) if each is not None]
    if len(judged) > 1:
        judged.sort(key=lambda each: each[0])
    verdicts = [verdict for _, verdict, _ in judged]
    if comparisons.removed:
        _set_off(verdicts, [part.category for _, _, part in judged], comparisons.removed)
    return [
        (part, verdict)
        for (_, _, part), verdict in zip(judged, verdicts, strict=True)
        if rounded(verdict.amount, places)
    ]


# What is compared with what


def _families(intent: Sequence[CartLine], final: Sequence[CartLine]) -> list[Comparison]:
    """Connected lines, without gifts, in order of appearance: the intent's lines before the final ones. Single lines that were kept are left out."""
    lines = [*intent, *final]
    first_final = len(intent)
    # A forest: the root of a family is its first line. Loops in place of functions, because this is asked for every changed cart.
    parent = list(range(len(lines)))
    seen: dict[tuple[int, str], int] = {}
    for at, line in enumerate(lines):
        if not line.net:
            continue
        connected = []
        for kind, name in enumerate(line.ids):
            if name:
                other = seen.setdefault((kind, name), at)
                if other != at:
                    connected.append(other)
        if line.replaces and at >= first_final:
            for name in line.replaces:
                for kind in _ID_KINDS:
                    # The first line that has the id; all others that have it are connected with it.
                    other = seen.get((kind, name), at)
                    if other < first_final:
                        connected.append(other)
        for other in connected:
            root, own = other, at
            while parent[root] != root:
                parent[root] = root = parent[parent[root]]
            while parent[own] != own:
                parent[own] = own = parent[parent[own]]
            parent[max(root, own)] = min(root, own)
    members: dict[int, list[int]] = {}
    for at, line in enumerate(lines):
        if line.net:
            root = parent[at] = parent[parent[at]]  # a parent is an earlier line, so its own parent is the root by now
            members.setdefault(root, []).append(at)
    return [
        _family(lines, family, first_final)
        for family in members.values()
        if len(family) != 2 or not _is_same(lines, family, first_final)
    ]


def _is_same(lines: Sequence[CartLine], family: Sequence[int], first_final: int) -> bool:
    """Whether two lines are one of the intent and the same one bought: most are, and they are kept whatever else there is."""
    one, other = lines[family[0]], lines[family[1]]
    return family[0] < first_final <= family[1] and one.units == other.units and one.ids == other.ids


def _family(lines: Sequence[CartLine], family: Sequence[int], first_final: int) -> Comparison:
    first = lines[family[0]]
    has_variant, has_sku, has_product = map(bool, first.ids)
    dearest = first
    for at in family[1:]:
        line = lines[at]
        variant, sku, product = line.ids
        has_variant, has_sku, has_product = (
            has_variant and bool(variant),
            has_sku and bool(sku),
            has_product and bool(product),
        )
        if line.price > dearest.price:
            dearest = line
    return Comparison(
        [at for at in family if at < first_final],
        [at - first_final for at in family if at >= first_final],
        _BY_VARIANT if has_variant else _BY_SKU if has_sku else _BY_PRODUCT if has_product else _BY_ALL,
        dearest.line.category,
    )


def _pairs(
    only_intent: list[Comparison],
    only_final: list[Comparison],
    intent: Sequence[CartLine],
    final: Sequence[CartLine],
) -> list[Comparison]:
    """Take substitutes out of both lists: one to one within a category, highest list total first on both sides."""
    offered: dict[str, list[Comparison]] = {}
    for old in only_intent:
        if old.category:
            offered.setdefault(old.category, []).append(old)
    wanted: dict[str, list[Comparison]] = {}
    for new in only_final:
        if new.category in offered:
            wanted.setdefault(new.category, []).append(new)
    pairs: list[Comparison] = []
    paired: set[int] = set()
    for category, news in wanted.items():
        olds = offered[category]
        news.sort(key=lambda each: _listed(each.final, final), reverse=True)
        olds.sort(key=lambda each: _listed(each.intent, intent), reverse=True)
        for new, old in zip(news, olds, strict=False):
            paired.update((id(new), id(old)))
            pairs.append(Comparison(old.intent, new.final, None, category))
    only_intent[:] = [each for each in only_intent if id(each) not in paired]
    only_final[:] = [each for each in only_final if id(each) not in paired]
    return pairs


def _rest(only_intent: list[Comparison], only_final: list[Comparison], intent: Sequence[CartLine]) -> list[Comparison]:
    """Take everything out of both lists to be compared as a whole, where more than half of the intent is left: something else was bought."""
    if not (only_intent and only_final):
        return []
    left = sorted(at for each in only_intent for at in each.intent)
    if net([intent[at] for at in left]) * 2 <= net(intent):
        return []
    rest = Comparison(left, sorted(at for each in only_final for at in each.final), None, None)
    only_intent.clear()
    only_final.clear()
    return [rest]


# The rows of the table


def _judge(part: Comparison, intent: Sequence[CartLine], final: Sequence[CartLine]) -> tuple[int, LineVerdict] | None:
    """The verdict of one comparison, after the position of the line that it names; None: kept, or nothing is left."""
    bought = [at for at in part.final if final[at].units]
    if not bought:
        return None
    if not part.intent:
        named = _highest(bought, final)
        return named, LineVerdict("cross_sell", "addition", final[named].line, None, net([final[at] for at in bought]))
    up = _listed(bought, final) - _listed(part.intent, intent)
    gained: Sequence[int]
    lost: Sequence[int]
    if part.key is None:
        reason: Reason = "substitute"
        gained, lost = bought, part.intent
    else:
        change: dict[object, int] = {}
        for at in part.intent:
            key = _key(intent[at], part.key)
            change[key] = change.get(key, 0) - intent[at].units
        for at in bought:
            key = _key(final[at], part.key)
            change[key] = change.get(key, 0) + final[at].units
        more, fewer = max(change.values()) > 0, min(change.values()) < 0
        if more == fewer:
            if not more:
                return None
        elif (up > 0) != more:
            return None
        reason = "variant" if more and fewer else "quantity"
        if _is_substitute([final[at] for at in bought], [intent[at] for at in part.intent], part.key):
            reason = "substitute"
        gained = [at for at in bought if change[_key(final[at], part.key)] > 0] or bought
        lost = [at for at in part.intent if change[_key(intent[at], part.key)] < 0] or part.intent
    if not up:
        return None
    named = _highest(gained, final)
    worth = net([final[at] for at in bought]) - net([intent[at] for at in part.intent])
    kind: Kind = "upsell" if up > 0 else "downsell"
    amount = max(0, worth if up > 0 else -worth)
    return named, LineVerdict(kind, reason, final[named].line, intent[_highest(lost, intent)].line, amount)


def _set_off(verdicts: list[LineVerdict], categories: Sequence[str | None], removed: dict[str, Exact]) -> None:
    """Take the net totals of removed lines off the substitute upsells of their category, largest first."""
    substitutes: dict[str, list[int]] = {}
    for at, (verdict, category) in enumerate(zip(verdicts, categories, strict=True)):
        if category in removed and verdict.kind == "upsell" and verdict.reason == "substitute":
            substitutes.setdefault(category, []).append(at)
    for category, upsells in substitutes.items():
        gone = removed[category]
        for at in sorted(upsells, key=lambda at: verdicts[at].amount, reverse=True):
            taken = min(gone, verdicts[at].amount)
            gone -= taken
            verdicts[at] = msgspec.structs.replace(verdicts[at], amount=verdicts[at].amount - taken)


def _is_substitute(final: Sequence[CartLine], intent: Sequence[CartLine], kind: int) -> bool:
    """Whether a final line replaces an intent line of another key."""
    if not any(line.replaces for line in final):
        return False
    keys: dict[str, set[object]] = {}
    for line in intent:
        for name in line.ids:
            if name:
                keys.setdefault(name, set()).add(_key(line, kind))
    for line in final:
        for name in line.replaces:
            replaced = keys.get(name, ())
            if len(replaced) > 1 or (replaced and _key(line, kind) not in replaced):
                return True
    return False


def _key(line: CartLine, kind: int) -> object:
    return line.ids if kind == _BY_ALL else line.ids[kind]


def _listed(places: Iterable[int], lines: Sequence[CartLine]) -> Exact:
    return sum([lines[at].listed for at in places])


def _highest(places: Sequence[int], lines: Sequence[CartLine]) -> int:
    """The line with the highest unit price, ties the first."""
    return max(places, key=lambda at: lines[at].price) if len(places) > 1 else places[0]
