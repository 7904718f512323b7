"""The verdict on a cart: what was bought beyond, besides, or below the initial intent?

The rules, as a table (`tests/core/judging/test_cart.py` has a case for every row and every sentence):

Lines with the same key (sku, else variant_id, else product_id) are merged; lines with list or net total 0 do not count. Final lines are matched to
intent lines one to one, in passes, highest unit price first, ties in order of appearance. A matched line is not matched again.

    pass  matches                                        up                    down                    equal
    0     `replaces` names the intent line               upsell substitute     downsell substitute     kept
    1     same sku (variant, product: see `_pass_1`)     upsell quantity       downsell quantity       kept
    2     same product_id                                upsell variant        downsell variant        kept
    3     same category                                  upsell substitute     downsell substitute     kept
    -     final line left, its product is in the intent  upsell quantity
    -     final line left otherwise                      cross_sell addition
    -     intent line left                               (removed: no verdict)

"Up" compares quantities in pass 1 and list totals elsewhere. The amount is the difference of net totals, not below 0; of an unmatched line its net total.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache

import msgspec

from stream.core.event import Line
from stream.core.money import Exact, divided, exact
from stream.core.result import Kind, Reason


class Merged(msgspec.Struct, frozen=True, gc=False):
    """Lines of one key, added up by `merge`. Amounts are exact (`core.money`)."""

    key: tuple[int, str]
    """Under which lines are merged."""
    sku: str | None
    variant_id: str | None
    product_id: str | None
    category: str | None
    replaces: str | None
    offer_id: str | None
    quantity: int
    listed: Exact
    """List total: price x quantity."""
    net: Exact
    """List total - discount, which is at most the list total."""

    @property
    def unit(self) -> Exact:
        """Unit price: list total / quantity."""
        return divided(self.listed, self.quantity)

    @property
    def counts(self) -> bool:
        """Whether the line is more than a gift."""
        return self.net > 0

    def left(self, units: int) -> "Merged":
        """The same line with `units` of its quantity; list total and discount shrink in proportion."""
        listed, net = divided(self.listed * units, self.quantity), divided(self.net * units, self.quantity)
        return msgspec.structs.replace(self, quantity=units, listed=listed, net=net)


class LineVerdict(msgspec.Struct, frozen=True, gc=False):
    """The verdict on one final line."""

    kind: Kind
    reason: Reason
    final: Merged
    intent: Merged | None
    amount: Exact


def merge(lines: Iterable[Line]) -> list[Merged]:
    """Lines of the same key added up, in order of first appearance."""
    each = [_alone(line) for line in lines]
    merged = {line.key: line for line in each}
    if len(merged) == len(each):
        return each
    merged.clear()
    for line in each:
        seen = merged.get(line.key)
        merged[line.key] = line if seen is None else _together(seen, line)
    return list(merged.values())


@lru_cache(maxsize=16_384)  # a cart's lines are judged again with every version of it
def _alone(line: Line) -> Merged:
    listed = exact(line.price) * line.quantity
    key = (0, line.sku) if line.sku else (1, line.variant_id) if line.variant_id else (2, line.product_id or "")
    return Merged(
        key,
        line.sku,
        line.variant_id,
        line.product_id,
        line.category,
        line.replaces,
        line.offer_id,
        line.quantity,
        listed,
        max(0, listed - exact(line.discount)),
    )


def _together(first: Merged, other: Merged) -> Merged:
    return msgspec.structs.replace(
        first,
        quantity=first.quantity + other.quantity,
        listed=first.listed + other.listed,
        net=first.net + other.net,
        category=first.category or other.category,
        replaces=first.replaces or other.replaces,
        offer_id=first.offer_id or other.offer_id,
    )


def kept_whole(lines: Iterable[Merged]) -> bool:
    """Whether these lines, judged against themselves, give no verdict for sure: each is matched by itself in pass 1."""
    return not any(line.replaces for line in lines) and _is_plain(lines)


def _is_plain(*carts: Iterable[Merged]) -> bool:
    """Whether pass 1 matches only lines of the same key: no variant is named with its sku in one line and without in another."""
    bare = named = False
    for cart in carts:
        for line in cart:
            if line.variant_id:
                if line.sku:
                    named = True
                else:
                    bare = True
    return not (bare and named)


def judge(intent: Sequence[Merged], final: Sequence[Merged]) -> list[LineVerdict]:
    """The verdicts on the final lines, in order of their appearance; lines that were kept have none."""
    wanted = [line for line in intent if line.net]
    bought = [line for line in final if line.net]
    products = {line.product_id for line in wanted if line.product_id}
    matched: dict[int, tuple[int, Merged]] = {}
    asking = list(range(len(bought)))
    passes = range(len(_PASSES))
    if not any(line.replaces for line in bought):
        passes = range(1, len(_PASSES))
        if _is_plain(wanted, bought):
            # Keys are unique on both sides, so the order does not matter.
            passes = range(2, len(_PASSES))
            keyed = {line.key: line for line in wanted}
            for at, line in enumerate(bought):
                own = keyed.pop(line.key, None)
                if own is not None:
                    matched[at] = (1, own)
            wanted = list(keyed.values())
            asking = [at for at in asking if at not in matched]
    free = dict(enumerate(sorted(wanted, key=_unit, reverse=True) if len(wanted) > 1 else wanted))
    if len(asking) > 1:
        asking.sort(key=lambda at: bought[at].unit, reverse=True)
    for number in passes:
        if not asking or not free:
            break
        final_names, intent_names = _PASSES[number]
        index: dict[tuple[str, str], list[int]] = {}
        for position in reversed(free):
            for name in intent_names(free[position]):
                index.setdefault(name, []).append(position)
        for at in asking:
            best: int | None = None
            for name in final_names(bought[at]):
                candidates = index.get(name)
                while candidates and candidates[-1] not in free:
                    candidates.pop()
                if candidates and (best is None or candidates[-1] < best):
                    best = candidates[-1]
            if best is not None:
                matched[at] = (number, free.pop(best))
        asking = [at for at in asking if at not in matched]
    verdicts = []
    for at, line in enumerate(bought):
        match = matched.get(at)
        verdict = _matched(line, *match) if match is not None else _unmatched(line, products)
        if verdict is not None:
            verdicts.append(verdict)
    return verdicts


def _unit(line: Merged) -> Exact:
    return line.unit


def _matched(final: Merged, number: int, intent: Merged) -> LineVerdict | None:
    before: Exact
    after: Exact
    before, after = (intent.quantity, final.quantity) if number == 1 else (intent.listed, final.listed)
    if after == before:
        return None
    reason = _REASONS[number]
    if after > before:
        return LineVerdict("upsell", reason, final, intent, max(0, final.net - intent.net))
    return LineVerdict("downsell", reason, final, intent, max(0, intent.net - final.net))


def _unmatched(final: Merged, products: set[str]) -> LineVerdict:
    if final.product_id in products:
        return LineVerdict("upsell", "quantity", final, None, final.net)
    return LineVerdict("cross_sell", "addition", final, None, final.net)


# A pass is a pair of functions: the names under which a final line looks, and those under which an intent line is found. Two lines
# match where they share a name; names make a pass linear in the number of lines, where comparing each with each is not.

Names = Callable[[Merged], Iterator[tuple[str, str]]]


def _replaced(line: Merged) -> Iterator[tuple[str, str]]:
    if line.replaces:
        yield "", line.replaces


def _replaceable(line: Merged) -> Iterator[tuple[str, str]]:
    for name in (line.sku, line.variant_id, line.product_id):
        if name:
            yield "", name


def _pass_1_final(line: Merged) -> Iterator[tuple[str, str]]:
    """Both have a sku: it decides. Else both have a variant: it decides. Else neither has one: the product decides."""
    if line.sku:
        yield "sku", line.sku
        if line.variant_id:
            yield "variant without sku", line.variant_id
    elif line.variant_id:
        yield "variant", line.variant_id
    elif line.product_id:
        yield "product alone", line.product_id


def _pass_1_intent(line: Merged) -> Iterator[tuple[str, str]]:
    if line.sku:
        yield "sku", line.sku
    if line.variant_id:
        yield "variant", line.variant_id
        if not line.sku:
            yield "variant without sku", line.variant_id
    if not line.sku and not line.variant_id and line.product_id:
        yield "product alone", line.product_id


def _product(line: Merged) -> Iterator[tuple[str, str]]:
    if line.product_id:
        yield "", line.product_id


def _category(line: Merged) -> Iterator[tuple[str, str]]:
    if line.category:
        yield "", line.category


_PASSES: tuple[tuple[Names, Names], ...] = (
    (_replaced, _replaceable),
    (_pass_1_final, _pass_1_intent),
    (_product, _product),
    (_category, _category),
)
_REASONS: tuple[Reason, ...] = ("substitute", "quantity", "variant", "substitute")
