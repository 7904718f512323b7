package bench;

import com.fasterxml.jackson.annotation.JsonFormat;
import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import com.fasterxml.jackson.annotation.JsonProperty;
import java.math.BigDecimal;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.function.Function;

/** The rules of docs/verdicts.md for the kinds of a cart, without refunds. Amounts are in ten-thousandths. */
final class Verdict {
    /** From so much on, an amount of a currency with cents does not round to nothing. */
    private static final long LEAST = 51;

    @JsonIgnoreProperties(ignoreUnknown = true)
    record Line(
            String sku,
            @JsonProperty("variant_id") String variant,
            @JsonProperty("product_id") String product,
            String category,
            String quantity,
            String price,
            String discount,
            @JsonFormat(with = JsonFormat.Feature.ACCEPT_SINGLE_VALUE_AS_ARRAY) List<String> replaces) {}

    /** A line, ready to be judged. */
    private static final class Part {
        final String[] ids;
        final Line line;
        final boolean isFinal;
        final long units;
        final long price;
        final long listed;
        final long net;

        Part(Line line, boolean isFinal) {
            this.line = line;
            this.isFinal = isFinal;
            ids = new String[] {id(line.variant), id(line.sku), id(line.product)};
            units = new BigDecimal(line.quantity).movePointRight(3).longValue();
            price = amount(line.price);
            listed = price * units / 1000;
            net = listed - Math.min(listed, amount(line.discount));
        }

        boolean replaces(Part other) {
            if (!isFinal || other.isFinal || line.replaces == null) {
                return false;
            }
            for (String id : other.ids) {
                if (id != null && line.replaces.contains(id)) {
                    return true;
                }
            }
            return false;
        }

        boolean belongsTo(Part other) {
            for (int kind = 0; kind < ids.length; kind++) {
                if (ids[kind] != null && ids[kind].equals(other.ids[kind])) {
                    return true;
                }
            }
            return replaces(other) || other.replaces(this);
        }
    }

    private record Substitute(String category, long amount) {}

    private Verdict() {}

    /** The kinds of all orders, `any` among them. */
    static Set<String> judge(Collection<Line> intent, Collection<Line> fin) {
        List<Part> parts = new ArrayList<>();
        intent.forEach(line -> parts.add(new Part(line, false)));
        fin.forEach(line -> parts.add(new Part(line, true)));
        Set<String> kinds = new TreeSet<>();
        List<Substitute> substitutes = new ArrayList<>();
        List<List<Part>> gone = new ArrayList<>();
        List<List<Part>> added = new ArrayList<>();
        for (List<Part> family : families(parts)) {
            if (family.stream().noneMatch(part -> part.isFinal)) {
                gone.add(family);
            } else if (family.stream().allMatch(part -> part.isFinal)) {
                added.add(family);
            } else if (moved(family)) {
                boolean replaced = family.stream().anyMatch(part -> part.line.replaces != null);
                compare(family, kinds, replaced ? substitutes : null);
            }
        }
        pair(gone, added, kinds, substitutes);
        long wanted = parts.stream().filter(part -> !part.isFinal).mapToLong(part -> part.net).sum();
        long missing = gone.stream().mapToLong(Verdict::net).sum();
        if (!added.isEmpty() && 2 * missing > wanted) {
            List<Part> rest = new ArrayList<>();
            gone.forEach(rest::addAll);
            added.forEach(rest::addAll);
            compare(rest, kinds, null);
            gone.clear();
            added.clear();
        }
        if (!added.isEmpty()) {
            kinds.add("cross_sell");
        }
        setOff(gone, kinds, substitutes);
        if (kinds.contains("upsell") || kinds.contains("cross_sell")) {
            kinds.add("any");
        }
        return kinds;
    }

    private static List<List<Part>> families(List<Part> parts) {
        List<List<Part>> families = new ArrayList<>();
        for (Part part : parts) {
            if (part.net <= 0) {
                continue;
            }
            List<Part> joined = new ArrayList<>();
            families.removeIf(family -> {
                boolean together = family.stream().anyMatch(part::belongsTo);
                if (together) {
                    joined.addAll(family);
                }
                return together;
            });
            joined.add(part);
            families.add(joined);
        }
        return families;
    }

    /** Whether units came or went, and the list total did not move against them. */
    private static boolean moved(List<Part> family) {
        int kind = 0;
        while (kind < 3 && !hasAll(family, kind)) {
            kind++;
        }
        int chosen = kind;
        Function<Part, String> key = part -> chosen < 3 ? part.ids[chosen] : String.join("\n", names(part));
        Map<String, Long> units = new HashMap<>();
        for (Part part : family) {
            units.merge(key.apply(part), part.isFinal ? part.units : -part.units, Long::sum);
        }
        boolean more = units.values().stream().anyMatch(change -> change > 0);
        boolean less = units.values().stream().anyMatch(change -> change < 0);
        return more && less || more && listedChange(family) > 0 || less && listedChange(family) < 0;
    }

    private static boolean hasAll(List<Part> family, int kind) {
        return family.stream().allMatch(part -> part.ids[kind] != null);
    }

    private static List<String> names(Part part) {
        List<String> names = new ArrayList<>();
        for (String id : part.ids) {
            names.add(id == null ? "" : id);
        }
        return names;
    }

    private static void pair(
            List<List<Part>> gone, List<List<Part>> added, Set<String> kinds, List<Substitute> substitutes) {
        Comparator<List<Part>> dearestFirst = Comparator.comparingLong(Verdict::listed).reversed();
        gone.sort(dearestFirst);
        added.sort(dearestFirst);
        for (List<Part> bought : List.copyOf(added)) {
            String category = category(bought);
            for (List<Part> old : gone) {
                if (category != null && category.equals(category(old))) {
                    added.remove(bought);
                    gone.remove(old);
                    List<Part> both = new ArrayList<>(old);
                    both.addAll(bought);
                    compare(both, kinds, substitutes);
                    break;
                }
            }
        }
    }

    /** Adds the kind of an upsell or a downsell with money, or notes an upsell from which removed lines are taken. */
    private static void compare(List<Part> family, Set<String> kinds, List<Substitute> substitutes) {
        long change = listedChange(family);
        long amount = family.stream().mapToLong(part -> part.isFinal ? part.net : -part.net).sum();
        if (change > 0 && substitutes != null) {
            substitutes.add(new Substitute(category(family), amount));
        } else if (change > 0 && amount >= LEAST) {
            kinds.add("upsell");
        } else if (change < 0 && -amount >= LEAST) {
            kinds.add("downsell");
        }
    }

    private static void setOff(List<List<Part>> gone, Set<String> kinds, List<Substitute> substitutes) {
        Map<String, Long> removed = new HashMap<>();
        for (List<Part> family : gone) {
            if (category(family) != null) {
                removed.merge(category(family), net(family), Long::sum);
            }
        }
        substitutes.sort(Comparator.comparingLong(Substitute::amount).reversed());
        for (Substitute substitute : substitutes) {
            long taken = Math.min(substitute.amount, removed.getOrDefault(substitute.category, 0L));
            removed.merge(substitute.category == null ? "" : substitute.category, -taken, Long::sum);
            if (substitute.amount - taken >= LEAST) {
                kinds.add("upsell");
            }
        }
    }

    private static long listedChange(List<Part> family) {
        return family.stream().mapToLong(part -> part.isFinal ? part.listed : -part.listed).sum();
    }

    private static long listed(List<Part> family) {
        return family.stream().mapToLong(part -> part.listed).sum();
    }

    private static long net(List<Part> family) {
        return family.stream().mapToLong(part -> part.net).sum();
    }

    private static String category(List<Part> family) {
        Part dearest = family.get(0);
        for (Part part : family) {
            if (part.price > dearest.price) {
                dearest = part;
            }
        }
        return dearest.line.category;
    }

    private static String id(String text) {
        return text == null || text.isEmpty() ? null : text;
    }

    private static long amount(String text) {
        return text == null || text.isEmpty() ? 0 : new BigDecimal(text).movePointRight(4).longValue();
    }
}
