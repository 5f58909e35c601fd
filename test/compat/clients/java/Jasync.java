/* The steps with jasync-mysql. The argument is its version. */

import com.github.jasync.sql.db.Configuration;
import com.github.jasync.sql.db.QueryResult;
import com.github.jasync.sql.db.RowData;
import com.github.jasync.sql.db.SSLConfiguration;
import com.github.jasync.sql.db.mysql.MySQLConnection;
import com.github.jasync.sql.db.mysql.MySQLQueryResult;
import com.github.jasync.sql.db.mysql.exceptions.MySQLException;
import java.io.File;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;

class Jasync implements Steps.Driver {
  static final int MAX_MESSAGE_BYTES = 64 << 20;

  public static void main(String[] args) {
    Steps.run(new Jasync(), args[0]);
  }

  @Override
  public List<Object> errorOf(Throwable error) {
    if (!(error instanceof MySQLException own)) return null;
    var message = own.getErrorMessage();
    // It leaves the marker in the SQLSTATE.
    return List.of(message.getErrorCode(), message.getSqlState().replaceFirst("^#", ""), message.getErrorMessage());
  }

  @Override
  public Steps.Session connect(Steps.Login login) throws Exception {
    if (login.socket() != null) throw new Steps.Unsupported("no unix socket");
    if (login.compress()) throw new Steps.Unsupported("no compression");
    if (login.multi()) throw new Steps.Unsupported("no multi-statements");
    if (login.localFile() != null) throw new Steps.Unsupported("no LOAD DATA LOCAL");
    var tls = login.cafile() == null
        ? new SSLConfiguration()
        : new SSLConfiguration(SSLConfiguration.Mode.VerifyFull, new File(login.cafile()), null, null);
    var configuration = new Configuration(
        login.user(), login.host(), login.port(), login.password(), login.database(), tls, StandardCharsets.UTF_8,
        MAX_MESSAGE_BYTES);
    return new Session(wait(new MySQLConnection(configuration).connect()));
  }

  /** The runner's limit for a behaviour is later. */
  static <T> T wait(CompletableFuture<T> future) throws Exception {
    try {
      return future.get(55, TimeUnit.SECONDS);
    } catch (ExecutionException error) {
      throw error.getCause() instanceof Exception cause ? cause : error;
    }
  }

  record Session(MySQLConnection connection) implements Steps.Session {
    @Override
    public List<List<List<Object>>> query(String sql) throws Exception {
      return results(Jasync.wait(connection.sendQuery(sql)));
    }

    @Override
    public List<List<List<Object>>> execute(String sql, List<Object> parameters) throws Exception {
      return results(Jasync.wait(connection.sendPreparedStatement(sql, parameters)));
    }

    @Override
    public List<Object> info(String sql) throws Exception {
      QueryResult result = Jasync.wait(connection.sendQuery(sql));
      return List.of(result.getRowsAffected(), ((MySQLQueryResult) result).getLastInsertId());
    }

    @Override
    public void close() throws Exception {
      Jasync.wait(connection.disconnect());
    }

    static List<List<List<Object>>> results(QueryResult result) {
      if (result.getRows().columnNames().isEmpty()) return List.of();
      List<List<Object>> rows = new ArrayList<>();
      for (RowData row : result.getRows()) rows.add(new ArrayList<>(row));
      return List.of(rows);
    }
  }
}
