package bench;

import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import com.fasterxml.jackson.annotation.JsonProperty;
import com.fasterxml.jackson.core.type.TypeReference;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.OffsetDateTime;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.TreeMap;
import java.util.UUID;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.Serializer;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StoreQueryParameters;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueIterator;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.QueryableStoreTypes;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.Stores;
import org.apache.kafka.streams.state.WindowStore;

/**
 * Kafka Streams: a processor for the verdicts, two stores (RocksDB, cached, with changelogs), one thread.
 *
 * <p>Arguments: HOW GUARANTEE SERVERS TOPIC RECORDS WARM-UP. HOW is `dsl`, minutes as windows of its DSL, by place, through a repartition topic;
 * or `processor`, minutes in a plain store per partition, without that topic; readers add the partitions up.
 */
public final class Sales {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final CountDownLatch DONE = new CountDownLatch(1);
    private static final TypeReference<Map<String, Integer>> COUNTS = new TypeReference<>() {};
    private static Job job;
    private static long seen;
    private static long judged;
    private static long counted;

    @JsonIgnoreProperties(ignoreUnknown = true)
    record Event(String type, String time, Data data) {}

    @JsonIgnoreProperties(ignoreUnknown = true)
    record Data(
            @JsonProperty("checkout_id") String checkout,
            @JsonProperty("order_id") String order,
            String channel,
            String segment,
            List<Verdict.Line> products,
            Intent intent) {}

    @JsonIgnoreProperties(ignoreUnknown = true)
    record Intent(List<Verdict.Line> products) {}

    /** `orders`: the lines of each order by its id, in order of completion. */
    record Checkout(
            List<Verdict.Line> intent,
            String channel,
            String segment,
            Long minute,
            Set<String> kinds,
            LinkedHashMap<String, List<Verdict.Line>> orders) {}

    record Delta(long minute, String channel, String segment, Map<String, Integer> counts) {
        String place() {
            return channel + "|" + segment;
        }
    }

    private record Job(long records, long warm) {}

    /** Applies an event and returns what it adds to the counts of a minute and a place, if anything. */
    private static final class Judge implements Processor<String, Event, String, Delta> {
        private ProcessorContext<String, Delta> context;
        private KeyValueStore<String, Checkout> checkouts;

        @Override
        public void init(ProcessorContext<String, Delta> context) {
            this.context = context;
            checkouts = context.getStateStore("checkouts");
        }

        @Override
        public void process(Record<String, Event> record) {
            Delta delta = take(record.value());
            if (delta != null) {
                judged++;
                context.forward(record.withKey(delta.place()).withValue(delta).withTimestamp(delta.minute * 1000));
            }
            seen++;
            if (seen == job.warm) {
                System.out.println("{\"records\": " + seen + "}");
            }
            endIfDone();
        }

        private Delta take(Event event) {
            Data data = event.data;
            Checkout known = checkouts.get(data.checkout);
            List<Verdict.Line> intent = known == null ? null : known.intent;
            String channel = data.channel != null ? data.channel : known == null ? "unknown" : known.channel;
            String segment = data.segment != null ? data.segment : known == null ? "unknown" : known.segment;
            Long minute = known == null ? null : known.minute;
            Set<String> kinds = known == null ? Set.of() : known.kinds;
            Delta delta = null;
            if (data.intent != null) {
                intent = data.intent.products;
            }
            LinkedHashMap<String, List<Verdict.Line>> orders = known == null ? new LinkedHashMap<>() : known.orders;
            if (event.type.startsWith("commerce.checkout.")) {
                if (intent == null && !data.products.isEmpty()) {
                    intent = data.products;
                }
            } else if (event.type.equals("commerce.order.completed.v1") || event.type.equals("commerce.order.updated.v1")) {
                boolean first = minute == null;
                if (first) {
                    minute = OffsetDateTime.parse(event.time).toEpochSecond() / 60 * 60;
                }
                // Without an id it is about the order that was completed first.
                String unnamed = orders.isEmpty() ? "" : orders.keySet().iterator().next();
                orders.put(data.order == null || data.order.isEmpty() ? unnamed : data.order, data.products);
                List<Verdict.Line> lines = orders.values().stream().flatMap(List::stream).toList();
                Set<String> now = intent == null ? Set.of() : Verdict.judge(intent, lines);
                Map<String, Integer> counts = new TreeMap<>();
                if (first) {
                    counts.put("transactions", 1);
                }
                for (String kind : kinds) {
                    counts.merge(kind, -1, Integer::sum);
                }
                for (String kind : now) {
                    counts.merge(kind, 1, Integer::sum);
                }
                kinds = now;
                delta = new Delta(minute, channel, segment, counts);
            }
            checkouts.put(data.checkout, new Checkout(intent, channel, segment, minute, kinds, orders));
            return delta;
        }
    }

    /** Adds to the counts in a store of the partition. */
    private static final class Count implements Processor<String, Delta, Void, Void> {
        private KeyValueStore<String, Map<String, Integer>> minutes;

        @Override
        public void init(ProcessorContext<Void, Void> context) {
            minutes = context.getStateStore("minutes");
        }

        @Override
        public void process(Record<String, Delta> record) {
            String key = record.value().minute + "|" + record.key();
            Map<String, Integer> row = minutes.get(key);
            minutes.put(key, add(row == null ? new TreeMap<>() : row, record.value()));
        }
    }

    private static Map<String, Integer> add(Map<String, Integer> row, Delta delta) {
        delta.counts.forEach((kind, number) -> row.merge(kind, number, Integer::sum));
        counted++;
        endIfDone();
        return row;
    }

    private static void endIfDone() {
        if (seen == job.records && counted == judged && DONE.getCount() > 0) {
            System.out.println("{\"records\": " + seen + "}");
            DONE.countDown();
        }
    }

    private static Topology dsl(String topic) {
        var builder = new StreamsBuilder();
        builder.addStateStore(checkouts());
        builder.stream(topic, Consumed.with(Serdes.String(), json(new TypeReference<Event>() {})))
                .process(Judge::new, "checkouts")
                .groupByKey(Grouped.with("place", Serdes.String(), json(new TypeReference<Delta>() {})))
                .windowedBy(TimeWindows.ofSizeAndGrace(Duration.ofMinutes(1), Duration.ofHours(1)))
                .aggregate(
                        TreeMap::new,
                        (place, delta, row) -> add(row, delta),
                        Materialized.<String, Map<String, Integer>, WindowStore<Bytes, byte[]>>as("minutes")
                                .withKeySerde(Serdes.String())
                                .withValueSerde(json(COUNTS)));
        return builder.build();
    }

    private static Topology processor(String topic) {
        return new Topology()
                .addSource("events", new StringDeserializer(), json(new TypeReference<Event>() {}).deserializer(), topic)
                .addProcessor("judge", Judge::new, "events")
                .addProcessor("count", Count::new, "judge")
                .addStateStore(checkouts(), "judge")
                .addStateStore(
                        Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore("minutes"), Serdes.String(), json(COUNTS))
                                .withCachingEnabled(),
                        "count");
    }

    private static StoreBuilder<KeyValueStore<String, Checkout>> checkouts() {
        return Stores.keyValueStoreBuilder(
                        Stores.persistentKeyValueStore("checkouts"), Serdes.String(), json(new TypeReference<Checkout>() {}))
                .withCachingEnabled();
    }

    private static <K> void addUp(Map<String, Integer> total, KeyValueIterator<K, ? extends Map<String, Integer>> rows) {
        try (rows) {
            rows.forEachRemaining(row -> row.value.forEach((kind, number) -> total.merge(kind, number, Integer::sum)));
        }
    }

    private static <T> Serde<T> json(TypeReference<T> type) {
        var reader = JSON.readerFor(type);
        var writer = JSON.writerFor(type);
        Serializer<T> serializer = (topic, value) -> {
            try {
                return value == null ? null : writer.writeValueAsBytes(value);
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            }
        };
        Deserializer<T> deserializer = (topic, bytes) -> {
            try {
                return bytes == null ? null : reader.readValue(bytes);
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            }
        };
        return Serdes.serdeFrom(serializer, deserializer);
    }

    public static void main(String[] arguments) throws Exception {
        boolean windows = arguments[0].equals("dsl");
        String topic = arguments[3];
        job = new Job(Long.parseLong(arguments[4]), Long.parseLong(arguments[5]));
        Properties settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, "bench-streams-" + UUID.randomUUID());
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, arguments[2]);
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, arguments[1]);
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 1);
        settings.put(StreamsConfig.STATE_DIR_CONFIG, Files.createTempDirectory(Path.of("."), "state").toString());
        settings.put("auto.offset.reset", "earliest");
        try (KafkaStreams streams = new KafkaStreams(windows ? dsl(topic) : processor(topic), settings)) {
            streams.start();
            DONE.await();
            Map<String, Integer> total = new TreeMap<>();
            if (windows) {
                addUp(total, streams.store(StoreQueryParameters.fromNameAndType(
                        "minutes", QueryableStoreTypes.<String, Map<String, Integer>>windowStore())).all());
            } else {
                addUp(total, streams.store(StoreQueryParameters.fromNameAndType(
                        "minutes", QueryableStoreTypes.<String, Map<String, Integer>>keyValueStore())).all());
            }
            System.out.println("{\"result\": " + JSON.writeValueAsString(total) + "}");
        }
    }
}
