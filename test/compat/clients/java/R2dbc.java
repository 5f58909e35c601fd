/* The steps over R2DBC. The arguments are the driver, mysql or mariadb, and its version. */

import io.r2dbc.spi.Connection;
import io.r2dbc.spi.ConnectionFactories;
import io.r2dbc.spi.ConnectionFactoryOptions;
import io.r2dbc.spi.Option;
import io.r2dbc.spi.R2dbcException;
import io.r2dbc.spi.Result;
import io.r2dbc.spi.Statement;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import org.reactivestreams.Publisher;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;

class R2dbc implements Steps.Driver {
  /** The runner's limit for a behaviour is later. */
  static final Duration LIMIT = Duration.ofSeconds(55);
  static boolean isMariadb;

  public static void main(String[] args) {
    isMariadb = args[0].equals("mariadb");
    Steps.run(new R2dbc(), args[1]);
  }

  @Override
  public List<Object> errorOf(Throwable error) {
    if (!(error instanceof R2dbcException own)) return null;
    return List.of(own.getErrorCode(), own.getSqlState() == null ? "" : own.getSqlState(), String.valueOf(own.getMessage()));
  }

  @Override
  public Steps.Session connect(Steps.Login login) {
    if (isMariadb && login.compress()) throw new Steps.Unsupported("no compression");
    if (isMariadb && login.localFile() != null) throw new Steps.Unsupported("no LOAD DATA LOCAL");
    var options = ConnectionFactoryOptions.builder()
        .option(ConnectionFactoryOptions.DRIVER, isMariadb ? "mariadb" : "mysql")
        .option(ConnectionFactoryOptions.HOST, login.host())
        .option(ConnectionFactoryOptions.PORT, login.port())
        .option(ConnectionFactoryOptions.USER, login.user())
        .option(ConnectionFactoryOptions.PASSWORD, login.password());
    if (login.database() != null) options.option(ConnectionFactoryOptions.DATABASE, login.database());
    if (isMariadb) {
      options.option(Option.valueOf("useServerPrepStmts"), true);
      if (login.multi()) options.option(Option.valueOf("allowMultiQueries"), true);
      // Without TLS, it sends MySQL a password only if it may ask for the key.
      options.option(Option.valueOf("allowPublicKeyRetrieval"), true);
      if (login.socket() != null) options.option(Option.valueOf("socket"), login.socket());
    } else {
      options.option(Option.valueOf("useServerPrepareStatement"), true);
      options.option(Option.valueOf("connectionTimeZone"), "UTC");
      if (login.compress()) options.option(Option.valueOf("compressionAlgorithms"), "zlib");
      if (login.socket() != null) options.option(Option.valueOf("unixSocket"), login.socket());
      if (login.localFile() != null)
        options.option(Option.valueOf("allowLoadLocalInfileInPath"), Path.of(login.localFile()).getParent().toString());
    }
    if (login.cafile() != null) {
      options.option(Option.valueOf("sslMode"), isMariadb ? "verify-full" : "VERIFY_IDENTITY");
      options.option(Option.valueOf(isMariadb ? "serverSslCert" : "sslCa"), login.cafile());
    }
    return new Session(wait(ConnectionFactories.get(options.build()).create()));
  }

  static <T> T wait(Publisher<? extends T> publisher) {
    return Mono.<T>from(publisher).block(LIMIT);
  }

  record Session(Connection connection) implements Steps.Session {
    @Override
    public List<List<List<Object>>> query(String sql) {
      return results(connection.createStatement(sql));
    }

    @Override
    public List<List<List<Object>>> execute(String sql, List<Object> parameters) {
      Statement statement = connection.createStatement(sql);
      for (int i = 0; i < parameters.size(); i++) {
        Object value = parameters.get(i);
        if (value == null) statement.bindNull(i, String.class);
        else statement.bind(i, value instanceof byte[] bytes ? ByteBuffer.wrap(bytes) : value);
      }
      return results(statement);
    }

    @Override
    public String threadId() {
      try {
        return String.valueOf(connection.getClass().getMethod("getThreadId").invoke(connection));
      } catch (ReflectiveOperationException ofMysql) {
        return null;
      }
    }

    @Override
    public String version() {
      return connection.getMetadata().getDatabaseVersion();
    }

    @Override
    public List<Object> info(String sql) {
      List<Object> seen = new ArrayList<>(List.of("none", "none"));
      Flux.from(connection.createStatement(sql).returnGeneratedValues("id").execute())
          .concatMap(result -> result.flatMap(segment -> {
            if (segment instanceof Result.UpdateCount count) seen.set(0, count.value());
            if (segment instanceof Result.RowSegment row) seen.set(1, row.row().get(0));
            return segment instanceof Result.Message message ? Mono.error(message.exception()) : Mono.empty();
          }))
          .blockLast(LIMIT);
      // A row that the server returns is an affected row, too.
      if (seen.get(0).equals("none") && !seen.get(1).equals("none")) seen.set(0, 1);
      return seen;
    }

    @Override
    public List<List<Object>> cursor(String sql, int size) {
      if (isMariadb) throw new Steps.Unsupported("no cursor");
      return results(connection.createStatement(sql).fetchSize(size)).get(0);
    }

    @Override
    public void timeout(String sql, int ms) {
      R2dbc.wait(connection.setStatementTimeout(Duration.ofMillis(ms)));
      query(sql);
    }

    @Override
    public void close() {
      R2dbc.wait(connection.close());
    }

    /** Statements without rows have no result set here. */
    static List<List<List<Object>>> results(Statement statement) {
      List<List<List<Object>>> all = new ArrayList<>();
      Flux.from(statement.execute())
          .concatMap(result -> {
            List<List<Object>> rows = new ArrayList<>();
            return Flux.from(result.flatMap(segment -> {
              if (segment instanceof Result.Message message) return Mono.error(message.exception());
              if (segment instanceof Result.RowSegment given) {
                var row = given.row();
                List<Object> cells = new ArrayList<>();
                for (int i = 0; i < row.getMetadata().getColumnMetadatas().size(); i++) cells.add(row.get(i));
                rows.add(cells);
              }
              return Mono.empty();
            })).doOnComplete(() -> {
              if (!rows.isEmpty()) all.add(rows);
            });
          })
          .blockLast(LIMIT);
      return all;
    }
  }
}
