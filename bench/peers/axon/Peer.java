import com.zaxxer.hikari.HikariConfig;
import com.zaxxer.hikari.HikariDataSource;
import jakarta.persistence.EntityManager;
import jakarta.persistence.EntityManagerFactory;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Proxy;
import java.net.URI;
import java.sql.Types;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Consumer;
import org.axonframework.common.configuration.AxonConfiguration;
import org.axonframework.common.jpa.EntityManagerProvider;
import org.axonframework.eventsourcing.annotation.EventSourcedEntity;
import org.axonframework.eventsourcing.annotation.EventSourcingHandler;
import org.axonframework.eventsourcing.annotation.EventTag;
import org.axonframework.eventsourcing.annotation.reflection.EntityCreator;
import org.axonframework.eventsourcing.configuration.EventSourcedEntityModule;
import org.axonframework.eventsourcing.configuration.EventSourcingConfigurer;
import org.axonframework.eventsourcing.eventstore.jpa.AggregateBasedJpaEventStorageEngine;
import org.axonframework.eventsourcing.eventstore.jpa.AggregateEventEntry;
import org.axonframework.eventsourcing.eventstore.jpa.SQLStateResolver;
import org.axonframework.messaging.commandhandling.annotation.CommandHandler;
import org.axonframework.messaging.commandhandling.gateway.CommandGateway;
import org.axonframework.messaging.core.unitofwork.transaction.Transaction;
import org.axonframework.messaging.core.unitofwork.transaction.TransactionManager;
import org.axonframework.messaging.eventhandling.conversion.EventConverter;
import org.axonframework.messaging.eventhandling.gateway.EventAppender;
import org.axonframework.modelling.annotation.TargetEntityId;
import org.hibernate.boot.model.TypeContributions;
import org.hibernate.dialect.PostgreSQLDialect;
import org.hibernate.jpa.HibernatePersistenceConfiguration;
import org.hibernate.service.ServiceRegistry;
import org.hibernate.type.SqlTypes;
import org.hibernate.type.descriptor.jdbc.BinaryJdbcType;

/**
 * Axon Framework 5 with its aggregate-based JPA engine: the command gateway finds the entity, which is sourced from
 * its events, decides and appends; a unique index refuses the second writer of a sequence number. One thread for each client.
 */
public final class Peer {
    static final String VERSION = "5.0.1";
    static final int CONNECTIONS = 16;
    static final int WARM_UP = 200;
    static final int EVENTS_BEFORE = 5;
    static final int LINES_AT_MOST = 100;
    static final String USAGE = "use --workload new|existing --commands N --clients N --url URL";

    public record Line(String sku, int quantity, long unitPriceMinor) {
        static Line example() {
            return new Line("85123A-hanging-heart", 6, 255);
        }
    }

    public record OrderPlaced(
            @EventTag(key = "Order") String orderId, String customerId, String currency, List<Line> lines, String placedAt) {
        static OrderPlaced example(String orderId) {
            String customer = UUID.randomUUID().toString();
            return new OrderPlaced(orderId, customer, "GBP", List.of(Line.example()), "2026-01-31T12:34:56.789Z");
        }
    }

    public record LineAdded(@EventTag(key = "Order") String orderId, Line line) {}

    public record PlaceOrder(@TargetEntityId String orderId) {}

    public record AddLine(@TargetEntityId String orderId, Line line) {}

    /** Makes the five events that an existing order has. */
    public record Fill(@TargetEntityId String orderId) {}

    @EventSourcedEntity(tagKey = "Order")
    public static class Order {
        private boolean placed;
        private int lines;

        @EntityCreator
        public Order() {}

        @CommandHandler
        public void handle(PlaceOrder command, EventAppender events) {
            if (placed) throw new IllegalStateException("the order is placed already");
            events.append(OrderPlaced.example(command.orderId()));
        }

        @CommandHandler
        public void handle(AddLine command, EventAppender events) {
            if (!placed) throw new IllegalStateException("the order is not placed");
            if (lines >= LINES_AT_MOST) throw new IllegalStateException("the order has too many lines");
            events.append(new LineAdded(command.orderId(), command.line()));
        }

        @CommandHandler
        public void handle(Fill command, EventAppender events) {
            events.append(OrderPlaced.example(command.orderId()));
            for (int i = 1; i < EVENTS_BEFORE; i++) events.append(new LineAdded(command.orderId(), Line.example()));
        }

        @EventSourcingHandler
        public void on(OrderPlaced event) {
            placed = true;
            lines = event.lines().size();
        }

        @EventSourcingHandler
        public void on(LineAdded event) {
            lines++;
        }
    }

    /** Payloads as BYTEA: without this, Hibernate makes a large object of each, which Axon advises against. */
    public static class ByteaDialect extends PostgreSQLDialect {
        @Override
        protected String columnType(int type) {
            return type == SqlTypes.BLOB ? "bytea" : super.columnType(type);
        }

        @Override
        protected String castType(int type) {
            return type == SqlTypes.BLOB ? "bytea" : super.castType(type);
        }

        @Override
        public void contributeTypes(TypeContributions contributions, ServiceRegistry services) {
            super.contributeTypes(contributions, services);
            var types = contributions.getTypeConfiguration().getJdbcTypeRegistry();
            types.addDescriptor(Types.BLOB, BinaryJdbcType.INSTANCE);
        }
    }

    /** What Spring does for Axon: one entity manager and transaction for each thread, which inner ones join. */
    record Jpa(EntityManagerFactory factory, ThreadLocal<EntityManager> current)
            implements TransactionManager, EntityManagerProvider {
        @Override
        public Transaction startTransaction() {
            EntityManager outer = current.get();
            if (outer != null) return new Joined(outer);
            EntityManager manager = factory.createEntityManager();
            current.set(manager);
            manager.getTransaction().begin();
            return new Outer(manager, current);
        }

        @Override
        public boolean requiresSameThreadInvocations() {
            return true;
        }

        /** The thread's own; its users close it, which must not end the transaction. */
        @Override
        public EntityManager getEntityManager() {
            EntityManager manager = current.get();
            if (manager == null) throw new IllegalStateException("no transaction in this thread");
            Class<?>[] interfaces = {EntityManager.class};
            return (EntityManager) Proxy.newProxyInstance(Peer.class.getClassLoader(), interfaces, (proxy, method, values) -> {
                if (method.getName().equals("close")) return null;
                try {
                    return method.invoke(manager, values);
                } catch (InvocationTargetException error) {
                    throw error.getCause();
                }
            });
        }
    }

    record Joined(EntityManager manager) implements Transaction {
        @Override
        public void commit() {}

        @Override
        public void rollback() {
            if (manager.isOpen() && manager.getTransaction().isActive()) manager.getTransaction().setRollbackOnly();
        }
    }

    record Outer(EntityManager manager, ThreadLocal<EntityManager> current) implements Transaction {
        @Override
        public void commit() {
            end(() -> manager.getTransaction().commit());
        }

        @Override
        public void rollback() {
            end(() -> {
                if (manager.getTransaction().isActive()) manager.getTransaction().rollback();
            });
        }

        private void end(Runnable how) {
            if (!manager.isOpen()) return;
            current.remove();
            try (manager) {
                how.run();
            }
        }
    }

    static HikariDataSource connect(String url) {
        URI at = URI.create(url);
        if (!List.of("postgres", "postgresql").contains(at.getScheme()) || at.getHost() == null)
            throw new IllegalArgumentException("--url must be postgres://user:password@host:port/database");
        String[] user = (at.getUserInfo() == null ? "" : at.getUserInfo()).split(":", 2);
        int port = at.getPort() < 0 ? 5432 : at.getPort();
        HikariConfig config = new HikariConfig();
        config.setJdbcUrl("jdbc:postgresql://" + at.getHost() + ":" + port + at.getPath());
        config.setUsername(user[0]);
        if (user.length > 1) config.setPassword(user[1]);
        config.setMaximumPoolSize(CONNECTIONS);
        config.setAutoCommit(false);
        try {
            return new HikariDataSource(config);
        } catch (RuntimeException error) {
            throw new IllegalStateException("cannot use " + at.getHost() + ":" + port + "; start Postgres there: " + error.getMessage());
        }
    }

    static EntityManagerFactory persistence(HikariDataSource connections) {
        return new HibernatePersistenceConfiguration("peer")
                .managedClass(AggregateEventEntry.class)
                .property("jakarta.persistence.nonJtaDataSource", connections)
                .property("hibernate.dialect", ByteaDialect.class.getName())
                .property("hibernate.hbm2ddl.auto", "update")
                .property("hibernate.globally_quoted_identifiers", true)
                .property("hibernate.connection.provider_disables_autocommit", true)
                .createEntityManagerFactory();
    }

    static AxonConfiguration axon(Jpa jpa) {
        return EventSourcingConfigurer.create()
                .componentRegistry(registry -> registry.registerComponent(TransactionManager.class, c -> jpa))
                .registerEventStorageEngine(c -> new AggregateBasedJpaEventStorageEngine(
                        jpa, jpa, c.getComponent(EventConverter.class),
                        config -> config.persistenceExceptionResolver(new SQLStateResolver())))
                .registerEntity(EventSourcedEntityModule.autodetected(String.class, Order.class))
                .start();
    }

    /** What the clients saw. */
    record Seen(List<Long> took, List<String> failures, double seconds) {
        double percentileMs(int percent) {
            int index = Math.max(Math.ceilDiv(took.size() * percent, 100) - 1, 0);
            return took.isEmpty() ? 0 : took.get(index) / 1e6;
        }
    }

    /** Each client, a thread, takes the next order as soon as its last command is answered. */
    static Seen run(int clients, List<String> orders, Consumer<String> command) throws InterruptedException {
        AtomicInteger next = new AtomicInteger();
        List<Long> took = new ArrayList<>();
        List<String> failures = new ArrayList<>();
        Runnable client = () -> {
            List<Long> mine = new ArrayList<>();
            for (int i; (i = next.getAndIncrement()) < orders.size(); ) {
                long start = System.nanoTime();
                try {
                    command.accept(orders.get(i));
                    mine.add(System.nanoTime() - start);
                } catch (RuntimeException error) {
                    synchronized (failures) {
                        failures.add(oneLine(error));
                    }
                }
            }
            synchronized (took) {
                took.addAll(mine);
            }
        };
        long start = System.nanoTime();
        List<Thread> threads = new ArrayList<>();
        for (int i = 0; i < clients; i++) threads.add(Thread.ofPlatform().start(client));
        for (Thread thread : threads) thread.join();
        double seconds = (System.nanoTime() - start) / 1e9;
        took.sort(null);
        return new Seen(took, failures, seconds);
    }

    static String bench(Map<String, String> args) throws InterruptedException {
        String workload = args.get("--workload");
        if (!List.of("new", "existing").contains(workload)) throw new IllegalArgumentException("--workload is new or existing; " + USAGE);
        int commands = positive(args, "--commands");
        int clients = positive(args, "--clients");
        try (HikariDataSource connections = connect(args.get("--url")); EntityManagerFactory factory = persistence(connections)) {
            Jpa jpa = new Jpa(factory, new ThreadLocal<>());
            CommandGateway gateway = axon(jpa).getComponent(CommandGateway.class);
            long expected = count(jpa);
            List<String> orders = new ArrayList<>();
            for (int i = 0; i < WARM_UP + commands; i++) orders.add(UUID.randomUUID().toString());
            Consumer<String> command = order -> gateway.sendAndWait(new PlaceOrder(order));
            if (workload.equals("existing")) {
                Seen filled = run(clients, orders, order -> gateway.sendAndWait(new Fill(order)));
                if (!filled.failures().isEmpty()) throw new IllegalStateException(filled.failures().getFirst());
                jpa.executeInTransaction(() -> jpa.getEntityManager().createNativeQuery("ANALYZE").executeUpdate());
                expected += (long) EVENTS_BEFORE * orders.size();
                command = order -> gateway.sendAndWait(new AddLine(order, Line.example()));
            }
            Seen before = run(clients, orders.subList(0, WARM_UP), command);
            Seen seen = run(clients, orders.subList(WARM_UP, orders.size()), command);
            if (!seen.failures().isEmpty()) System.err.println("axon: a command failed: " + seen.failures().getFirst());
            expected += before.took().size() + seen.took().size();
            long found = count(jpa);
            if (found != expected)
                throw new IllegalStateException("the store has " + found + " events, not " + expected + "; run it in a store of its own");
            return String.format(
                    Locale.ROOT,
                    "{\"peer\":\"axon\",\"version\":\"%s\",\"workload\":\"%s\",\"clients\":%d,\"commands\":%d,\"failed\":%d,"
                            + "\"seconds\":%.3f,\"p50_ms\":%.3f,\"p99_ms\":%.3f}",
                    VERSION, workload, clients, commands, seen.failures().size(), seen.seconds(), seen.percentileMs(50), seen.percentileMs(99));
        }
    }

    static long count(Jpa jpa) {
        String query = "SELECT count(e) FROM AggregateEventEntry e";
        return jpa.fetchInTransaction(() -> jpa.getEntityManager().createQuery(query, Long.class).getSingleResult());
    }

    static Map<String, String> parse(String[] words) {
        List<String> known = List.of("--workload", "--commands", "--clients", "--url");
        Map<String, String> args = new java.util.HashMap<>();
        for (int i = 0; i + 1 < words.length; i += 2) args.put(words[i], words[i + 1]);
        if (words.length % 2 != 0 || !args.keySet().equals(new java.util.HashSet<>(known)))
            throw new IllegalArgumentException("arguments " + Arrays.toString(words) + "; " + USAGE);
        return args;
    }

    static int positive(Map<String, String> args, String name) {
        if (!args.get(name).matches("[1-9][0-9]{0,8}")) throw new IllegalArgumentException(name + " must be a number, at least 1; " + USAGE);
        return Integer.parseInt(args.get(name));
    }

    static String oneLine(Throwable error) {
        return String.valueOf(error.getMessage() == null ? error : error.getMessage()).replaceAll("\\s+", " ");
    }

    public static void main(String[] words) {
        System.setProperty("org.jboss.logging.provider", "slf4j"); // To slf4j-nop, as Axon's own.
        System.setProperty("axoniq.update-checker.disabled", "true");
        try {
            System.out.println(bench(parse(words)));
            System.exit(0);
        } catch (Exception error) {
            System.err.println("axon: " + oneLine(error));
            System.exit(1);
        }
    }
}
