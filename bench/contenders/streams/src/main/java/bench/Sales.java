package bench;

import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import com.fasterxml.jackson.annotation.JsonProperty;
import com.fasterxml.jackson.core.type.TypeReference;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.time.OffsetDateTime;
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
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StoreQueryParameters;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.QueryableStoreTypes;
import org.apache.kafka.streams.state.Stores;

/**
 * Kafka Streams: one processor, two stores (RocksDB, cached, with changelogs), one thread.
 *
 * <p>Arguments: GUARANTEE SERVERS TOPIC RECORDS WARM-UP. Minutes are counted in a plain store of each partition, which saves it the repartition topic that
 * its DSL would make.
 */
public final class Sales {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final CountDownLatch DONE = new CountDownLatch(1);
    private static long seen;

    @JsonIgnoreProperties(ignoreUnknown = true)
    record Event(String type, String time, Data data) {}

    @JsonIgnoreProperties(ignoreUnknown = true)
    record Data(
            @JsonProperty("checkout_id") String checkout,
            String channel,
            String segment,
            List<Verdict.Line> products,
            Intent intent) {}

    @JsonIgnoreProperties(ignoreUnknown = true)
    record Intent(List<Verdict.Line> products) {}

    record Checkout(List<Verdict.Line> intent, String channel, String segment, Long minute, Set<String> kinds) {}

    private record Job(long records, long warm) {}

    private static final class Judge implements Processor<String, Event, Void, Void> {
        private final Job job;
        private KeyValueStore<String, Checkout> checkouts;
        private KeyValueStore<String, Map<String, Integer>> minutes;

        Judge(Job job) {
            this.job = job;
        }

        @Override
        public void init(ProcessorContext<Void, Void> context) {
            checkouts = context.getStateStore("checkouts");
            minutes = context.getStateStore("minutes");
        }

        @Override
        public void process(Record<String, Event> record) {
            take(record.value());
            seen++;
            if (seen == job.warm || seen == job.records) {
                System.out.println("{\"records\": " + seen + "}");
            }
            if (seen == job.records) {
                DONE.countDown();
            }
        }

        private void take(Event event) {
            Data data = event.data;
            Checkout known = checkouts.get(data.checkout);
            List<Verdict.Line> intent = known == null ? null : known.intent;
            String channel = data.channel != null ? data.channel : known == null ? "unknown" : known.channel;
            String segment = data.segment != null ? data.segment : known == null ? "unknown" : known.segment;
            Long minute = known == null ? null : known.minute;
            Set<String> kinds = known == null ? Set.of() : known.kinds;
            if (data.intent != null) {
                intent = data.intent.products;
            }
            boolean completed = event.type.equals("commerce.order.completed.v1");
            if (event.type.startsWith("commerce.checkout.")) {
                if (intent == null && !data.products.isEmpty()) {
                    intent = data.products;
                }
            } else if (completed || event.type.equals("commerce.order.updated.v1")) {
                if (completed) {
                    minute = OffsetDateTime.parse(event.time).toEpochSecond() / 60 * 60;
                }
                Set<String> now = intent == null ? Set.of() : Verdict.judge(intent, data.products);
                String key = minute + "|" + channel + "|" + segment;
                Map<String, Integer> row = minutes.get(key);
                row = row == null ? new TreeMap<>() : row;
                if (completed) {
                    row.merge("transactions", 1, Integer::sum);
                }
                for (String kind : kinds) {
                    row.merge(kind, -1, Integer::sum);
                }
                for (String kind : now) {
                    row.merge(kind, 1, Integer::sum);
                }
                minutes.put(key, row);
                kinds = now;
            }
            checkouts.put(data.checkout, new Checkout(intent, channel, segment, minute, kinds));
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
        String topic = arguments[2];
        Job job = new Job(Long.parseLong(arguments[3]), Long.parseLong(arguments[4]));
        Properties settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, "bench-streams-" + UUID.randomUUID());
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, arguments[1]);
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, arguments[0]);
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 1);
        settings.put(StreamsConfig.STATE_DIR_CONFIG, Files.createTempDirectory(java.nio.file.Path.of("."), "state").toString());
        settings.put("auto.offset.reset", "earliest");
        var checkouts = new TypeReference<Checkout>() {};
        var minutes = new TypeReference<Map<String, Integer>>() {};
        var topology = new Topology()
                .addSource("events", new StringDeserializer(), json(new TypeReference<Event>() {}).deserializer(), topic)
                .addProcessor("judge", () -> new Judge(job), "events")
                .addStateStore(
                        Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore("checkouts"), Serdes.String(), json(checkouts))
                                .withCachingEnabled(),
                        "judge")
                .addStateStore(
                        Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore("minutes"), Serdes.String(), json(minutes))
                                .withCachingEnabled(),
                        "judge");
        try (KafkaStreams streams = new KafkaStreams(topology, settings)) {
            streams.start();
            DONE.await();
            Map<String, Integer> total = new TreeMap<>();
            var store = streams.store(StoreQueryParameters.fromNameAndType(
                    "minutes", QueryableStoreTypes.<String, Map<String, Integer>>keyValueStore()));
            try (var rows = store.all()) {
                rows.forEachRemaining(row -> row.value.forEach((kind, number) -> total.merge(kind, number, Integer::sum)));
            }
            System.out.println("{\"result\": " + JSON.writeValueAsString(total) + "}");
        }
    }
}
