/* The steps with the MySQL client of Vert.x. The argument is its version. */

import io.vertx.core.Future;
import io.vertx.core.buffer.Buffer;
import io.vertx.core.net.PemTrustOptions;
import io.vertx.mysqlclient.MySQLAuthOptions;
import io.vertx.mysqlclient.MySQLClient;
import io.vertx.mysqlclient.MySQLConnectOptions;
import io.vertx.mysqlclient.MySQLConnection;
import io.vertx.mysqlclient.MySQLException;
import io.vertx.mysqlclient.SslMode;
import io.vertx.mysqlclient.data.spatial.Point;
import io.vertx.sqlclient.Row;
import io.vertx.sqlclient.RowSet;
import io.vertx.sqlclient.Tuple;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;

class Vertx implements Steps.Driver {
  static final int PIPELINING_LIMIT = 64;
  static final io.vertx.core.Vertx VERTX = io.vertx.core.Vertx.vertx();

  public static void main(String[] args) {
    Steps.run(new Vertx(), args[0]);
  }

  @Override
  public List<Object> errorOf(Throwable error) {
    if (!(error instanceof MySQLException own)) return null;
    return List.of(own.getErrorCode(), own.getSqlState() == null ? "" : own.getSqlState(), messageOf(own));
  }

  /** Its text adds the number and the SQLSTATE. */
  static String messageOf(MySQLException error) {
    return error.getMessage().replaceFirst("(?s)^\\{errorMessage=(.*), errorCode=\\d+, sqlState=\\w*}$", "$1");
  }

  @Override
  public Steps.Session connect(Steps.Login login) throws Exception {
    if (login.socket() != null) throw new Steps.Unsupported("a unix socket needs another library");
    if (login.compress()) throw new Steps.Unsupported("no compression");
    var options = new MySQLConnectOptions()
        .setHost(login.host())
        .setPort(login.port())
        .setUser(login.user())
        .setPassword(login.password())
        .setPipeliningLimit(PIPELINING_LIMIT);
    if (login.database() != null) options.setDatabase(login.database());
    if (login.cafile() != null) {
      options.setSslMode(SslMode.VERIFY_IDENTITY);
      options.setHostnameVerificationAlgorithm("HTTPS");
      options.setPemTrustOptions(new PemTrustOptions().addCertPath(login.cafile()));
    }
    return new Session(wait(MySQLConnection.connect(VERTX, options)));
  }

  /** The runner's limit for a behaviour is later. */
  static <T> T wait(Future<T> future) throws Exception {
    try {
      return future.toCompletionStage().toCompletableFuture().get(55, TimeUnit.SECONDS);
    } catch (ExecutionException error) {
      throw error.getCause() instanceof Exception cause ? cause : error;
    }
  }

  record Session(MySQLConnection connection) implements Steps.Session {
    @Override
    public List<List<List<Object>>> query(String sql) throws Exception {
      return results(Vertx.wait(connection.query(sql).execute()));
    }

    @Override
    public List<List<List<Object>>> execute(String sql, List<Object> parameters) throws Exception {
      Tuple tuple = Tuple.tuple();
      for (Object value : parameters) tuple.addValue(value instanceof byte[] bytes ? Buffer.buffer(bytes) : value);
      return results(Vertx.wait(connection.preparedQuery(sql).execute(tuple)));
    }

    @Override
    public String version() {
      return connection.databaseMetadata().fullVersion();
    }

    @Override
    public List<Object> info(String sql) throws Exception {
      RowSet<Row> result = Vertx.wait(connection.query(sql).execute());
      return List.of(result.rowCount(), result.property(MySQLClient.LAST_INSERTED_ID));
    }

    @Override
    public void reset() throws Exception {
      Vertx.wait(connection.resetConnection());
    }

    @Override
    public void changeUser(Steps.Login login) throws Exception {
      var options = new MySQLAuthOptions().setUser(login.user()).setPassword(login.password());
      Vertx.wait(connection.changeUser(options.setDatabase(login.database())));
    }

    @Override
    public List<List<Object>> cursor(String sql, int size) throws Exception {
      var cursor = Vertx.wait(connection.prepare(sql)).cursor();
      List<List<Object>> rows = new ArrayList<>();
      do {
        for (Row row : Vertx.wait(cursor.read(size))) rows.add(cells(row));
      } while (cursor.hasMore());
      Vertx.wait(cursor.close());
      return rows;
    }

    @Override
    public List<List<List<Object>>> pipeline(List<String> statements) throws Exception {
      List<Future<RowSet<Row>>> futures = new ArrayList<>();
      for (String sql : statements) futures.add(connection.query(sql).execute());
      List<List<List<Object>>> all = new ArrayList<>();
      for (var future : futures) all.addAll(results(Vertx.wait(future)));
      return all;
    }

    @Override
    public void close() throws Exception {
      Vertx.wait(connection.close());
    }

    /** Statements without rows have no result set here. */
    static List<List<List<Object>>> results(RowSet<Row> first) {
      List<List<List<Object>>> all = new ArrayList<>();
      for (RowSet<Row> set = first; set != null; set = set.next()) {
        List<List<Object>> rows = new ArrayList<>();
        for (Row row : set) rows.add(cells(row));
        if (!rows.isEmpty()) all.add(rows);
      }
      return all;
    }

    static List<Object> cells(Row row) {
      List<Object> cells = new ArrayList<>();
      for (int i = 0; i < row.size(); i++) {
        Object value = row.getValue(i);
        if (value instanceof Buffer buffer) cells.add(buffer.getBytes());
        else if (value instanceof Point point) cells.add("POINT(" + point.getX() + " " + point.getY() + ")");
        else cells.add(value);
      }
      return cells;
    }
  }
}
