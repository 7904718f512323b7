package bench;

import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import com.fasterxml.jackson.annotation.JsonProperty;
import java.math.BigDecimal;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Comparator;
import java.util.HashSet;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;

/** The rules of docs/reference/semantics.md for a cart, without refunds. Amounts are in ten-thousandths. */
final class Verdict {
    @JsonIgnoreProperties(ignoreUnknown = true)
    record Line(
            String sku,
            @JsonProperty("variant_id") String variant,
            @JsonProperty("product_id") String product,
            String category,
            int quantity,
            String price,
            String discount,
            String replaces) {}

    private static final class Merged {
        final Line line;
        int quantity;
        long listed;
        long net;

        Merged(Line line) {
            this.line = line;
        }

        void add(Line other) {
            long list = amount(other.price) * other.quantity;
            quantity += other.quantity;
            listed += list;
            net += list - Math.min(list, amount(other.discount));
        }

        double unit() {
            return (double) listed / quantity;
        }
    }

    private Verdict() {}

    /** The kinds of an order, `any` among them. */
    static Set<String> judge(Collection<Line> intent, Collection<Line> fin) {
        List<Merged> wanted = merged(intent);
        List<Merged> bought = merged(fin);
        Set<String> products = new HashSet<>();
        wanted.forEach(line -> products.add(line.line.product));
        products.remove(null);
        Set<String> kinds = new TreeSet<>();
        for (int pass = 0; pass < 4; pass++) {
            for (Iterator<Merged> left = bought.iterator(); left.hasNext(); ) {
                Merged line = left.next();
                Merged match = null;
                for (Merged other : wanted) {
                    if (matches(pass, line.line, other.line)) {
                        match = other;
                        break;
                    }
                }
                if (match == null) {
                    continue;
                }
                wanted.remove(match);
                left.remove();
                long before = pass == 1 ? match.quantity : match.listed;
                long after = pass == 1 ? line.quantity : line.listed;
                if (after != before) {
                    kinds.add(after > before ? "upsell" : "downsell");
                }
            }
        }
        for (Merged line : bought) {
            kinds.add(products.contains(line.line.product) ? "upsell" : "cross_sell");
        }
        if (kinds.contains("upsell") || kinds.contains("cross_sell")) {
            kinds.add("any");
        }
        return kinds;
    }

    private static List<Merged> merged(Collection<Line> lines) {
        Map<String, Merged> merged = new LinkedHashMap<>();
        for (Line line : lines) {
            if (line.quantity > 0) {
                String key = line.sku != null ? line.sku : line.variant != null ? line.variant : line.product;
                merged.computeIfAbsent(key, k -> new Merged(line)).add(line);
            }
        }
        List<Merged> parts = new ArrayList<>();
        merged.values().stream().filter(line -> line.listed > 0 && line.net > 0).forEach(parts::add);
        parts.sort(Comparator.comparingDouble(Merged::unit).reversed());
        return parts;
    }

    private static boolean matches(int pass, Line fin, Line intent) {
        return switch (pass) {
            case 0 -> fin.replaces != null
                    && (fin.replaces.equals(intent.sku)
                            || fin.replaces.equals(intent.variant)
                            || fin.replaces.equals(intent.product));
            case 1 -> same(fin, intent);
            case 2 -> fin.product != null && fin.product.equals(intent.product);
            default -> fin.category != null && fin.category.equals(intent.category);
        };
    }

    private static boolean same(Line fin, Line intent) {
        if (fin.sku != null && intent.sku != null) {
            return fin.sku.equals(intent.sku);
        }
        if (fin.variant != null && intent.variant != null) {
            return fin.variant.equals(intent.variant);
        }
        boolean bare = fin.sku == null && fin.variant == null && intent.sku == null && intent.variant == null;
        return bare && fin.product != null && fin.product.equals(intent.product);
    }

    private static long amount(String text) {
        return text == null || text.isEmpty() ? 0 : new BigDecimal(text).movePointRight(4).longValue();
    }
}
