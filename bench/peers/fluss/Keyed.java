import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Locale;
import java.util.SplittableRandom;
import java.util.concurrent.Semaphore;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.fluss.client.Connection;
import org.apache.fluss.client.ConnectionFactory;
import org.apache.fluss.client.admin.Admin;
import org.apache.fluss.client.lookup.Lookuper;
import org.apache.fluss.client.table.Table;
import org.apache.fluss.client.table.writer.UpsertWriter;
import org.apache.fluss.config.Configuration;
import org.apache.fluss.metadata.DatabaseDescriptor;
import org.apache.fluss.metadata.Schema;
import org.apache.fluss.metadata.TableDescriptor;
import org.apache.fluss.metadata.TablePath;
import org.apache.fluss.row.BinaryString;
import org.apache.fluss.row.GenericRow;
import org.apache.fluss.row.TimestampNtz;
import org.apache.fluss.types.DataTypes;

/**
 * Drives a keyed table of Fluss with its own Java client, which is its fastest.
 *
 * <pre>
 * Keyed create ADDRESS TABLE BUCKETS
 * Keyed upsert ADDRESS TABLE RECORDS              all records of a file of user profiles
 * Keyed lookup ADDRESS TABLE KEYS SECONDS FLIGHT  random keys, FLIGHT of them unanswered
 * </pre>
 *
 * Each prints one JSON object. Before the clock starts, each does the same for a while, so that the
 * compiler of the JVM is done with most.
 */
public class Keyed {
  private static final String DATABASE = "bench";
  private static final int RECORD_BYTES = 93;
  private static final int WARM_UP_RECORDS = 100_000;
  private static final double WARM_UP_SECONDS = 3;
  private static final int BATCH_MAX = 1024;

  private Keyed() {}

  /** Runs one command. */
  public static void main(String[] arguments) throws Exception {
    String command = arguments[0];
    Configuration settings = new Configuration();
    settings.setString("bootstrap.servers", arguments[1]);
    TablePath path = TablePath.of(DATABASE, arguments[2]);
    int flight = command.equals("lookup") ? Integer.parseInt(arguments[5]) : 1;
    // A batch of lookups is sent when it is full, and otherwise after 100 ms: never more than fly.
    settings.setString("client.lookup.max-batch-size", "" + Math.min(flight, BATCH_MAX));
    try (Connection connection = ConnectionFactory.createConnection(settings)) {
      switch (command) {
        case "create" -> create(connection, path, Integer.parseInt(arguments[3]));
        case "upsert" -> upsert(connection, path, Path.of(arguments[3]));
        case "lookup" -> {
          try (Table table = connection.getTable(path)) {
            long keys = Long.parseLong(arguments[3]);
            lookup(table, keys, WARM_UP_SECONDS, flight);
            System.out.println(lookup(table, keys, Double.parseDouble(arguments[4]), flight));
          }
        }
        default -> throw new IllegalArgumentException(command);
      }
    }
    System.exit(0);
  }

  private static void create(Connection connection, TablePath path, int buckets) throws Exception {
    Schema schema =
        Schema.newBuilder()
            .column("user_id", DataTypes.BIGINT())
            .column("name", DataTypes.STRING())
            .column("email", DataTypes.STRING())
            .column("country", DataTypes.STRING())
            .column("tier", DataTypes.STRING())
            .column("age", DataTypes.INT())
            .column("score", DataTypes.DOUBLE())
            .column("balance", DataTypes.DOUBLE())
            .column("created", DataTypes.TIMESTAMP(6))
            .column("visits", DataTypes.BIGINT())
            .column("flags", DataTypes.BIGINT())
            .primaryKey("user_id")
            .build();
    TableDescriptor descriptor =
        TableDescriptor.builder().schema(schema).distributedBy(buckets, "user_id").build();
    Admin admin = connection.getAdmin();
    admin.createDatabase(DATABASE, DatabaseDescriptor.EMPTY, true).get();
    for (String name : new String[] {path.getTableName(), warm(path).getTableName()}) {
      TablePath each = TablePath.of(DATABASE, name);
      admin.dropTable(each, true).get();
      admin.createTable(each, descriptor, false).get();
    }
    Thread.sleep(2000); // the leaders of the buckets are elected behind the call
    System.out.println("{}");
  }

  /** A table beside each, which the warm-up writes to. */
  private static TablePath warm(TablePath path) {
    return TablePath.of(DATABASE, path.getTableName() + "_warm");
  }

  private static void upsert(Connection connection, TablePath path, Path file) throws Exception {
    ByteBuffer records;
    try (FileChannel channel = FileChannel.open(file)) {
      records = channel.map(FileChannel.MapMode.READ_ONLY, 0, channel.size());
    }
    records.order(ByteOrder.LITTLE_ENDIAN);
    int count = records.capacity() / RECORD_BYTES;
    try (Table table = connection.getTable(warm(path))) {
      upsert(table, records, Math.min(count, WARM_UP_RECORDS));
    }
    try (Table table = connection.getTable(path)) {
      System.out.println(upsert(table, records, count));
    }
  }

  private static String upsert(Table table, ByteBuffer records, int count) throws Exception {
    UpsertWriter writer = table.newUpsert().createWriter();
    AtomicReference<Throwable> failed = new AtomicReference<>();
    double cpu = cpu();
    long began = System.nanoTime();
    for (int i = 0; i < count; i++) {
      writer
          .upsert(row(records, i * RECORD_BYTES))
          .exceptionally(
              error -> {
                failed.set(error);
                return null;
              });
    }
    writer.flush();
    return result(count, began, cpu, failed.get(), "");
  }

  private static String lookup(Table table, long keys, double seconds, int flight)
      throws Exception {
    Lookuper lookuper = table.newLookup().createLookuper();
    Semaphore free = new Semaphore(flight);
    SplittableRandom random = new SplittableRandom(42);
    AtomicReference<Throwable> failed = new AtomicReference<>();
    AtomicLong done = new AtomicLong();
    AtomicInteger taken = new AtomicInteger();
    long[] latencies = new long[1 << 22];
    double cpu = cpu();
    long began = System.nanoTime();
    long end = began + (long) (seconds * 1e9);
    while (System.nanoTime() < end) {
      free.acquire();
      long sent = System.nanoTime();
      lookuper
          .lookup(GenericRow.of(random.nextLong(keys)))
          .whenComplete(
              (found, error) -> {
                int at = taken.getAndIncrement();
                if (at < latencies.length) {
                  latencies[at] = System.nanoTime() - sent;
                }
                if (error != null || found.getSingletonRow() == null) {
                  failed.set(error != null ? error : new IllegalStateException("not found"));
                }
                done.incrementAndGet();
                free.release();
              });
      if (flight == 1) {
        free.acquire(); // one after the other, and the clock runs from when it is sent
        free.release();
      }
    }
    // What is left does not fill a batch, and waits for the client's timer.
    long answered = done.get();
    long now = System.nanoTime();
    free.acquire(flight);
    int count = Math.min(taken.get(), latencies.length);
    long[] sorted = Arrays.copyOf(latencies, count);
    Arrays.sort(sorted);
    String percentiles =
        String.format(
            Locale.ROOT,
            ",\"p50_ms\":%.4f,\"p99_ms\":%.4f",
            sorted[count / 2] / 1e6,
            sorted[(int) (count * 0.99)] / 1e6);
    long shift = System.nanoTime() - now;
    return result(answered, began + shift, cpu, failed.get(), percentiles);
  }

  private static String result(long rows, long began, double cpu, Throwable failed, String more)
      throws Exception {
    double seconds = (System.nanoTime() - began) / 1e9;
    if (failed != null) {
      throw new Exception("of " + rows + " rows at least one failed", failed);
    }
    return String.format(
        Locale.ROOT,
        "{\"rows\":%d,\"seconds\":%.4f,\"client_cpu\":%.3f%s}",
        rows,
        seconds,
        cpu() - cpu,
        more);
  }

  private static double cpu() {
    return ((com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean())
            .getProcessCpuTime()
        / 1e9;
  }

  private static GenericRow row(ByteBuffer records, int at) {
    GenericRow row = new GenericRow(11);
    row.setField(0, records.getLong(at));
    row.setField(5, records.getInt(at + 8));
    row.setField(6, records.getDouble(at + 12));
    row.setField(7, records.getDouble(at + 20));
    row.setField(8, TimestampNtz.fromMicros(records.getLong(at + 28)));
    row.setField(9, records.getLong(at + 36));
    row.setField(10, records.getLong(at + 44));
    row.setField(1, text(records, at + 52, 12));
    row.setField(2, text(records, at + 64, 22));
    row.setField(3, text(records, at + 86, 2));
    row.setField(4, text(records, at + 88, 5));
    return row;
  }

  /** A string without the zeros behind it. */
  private static BinaryString text(ByteBuffer records, int at, int room) {
    byte[] bytes = new byte[room];
    records.get(at, bytes);
    int length = room;
    while (length > 0 && bytes[length - 1] == 0) {
      length--;
    }
    return BinaryString.fromBytes(bytes, 0, length);
  }
}
