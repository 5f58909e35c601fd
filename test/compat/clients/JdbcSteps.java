/*
 * Carries out the steps of test/compat/behaviours.ts over JDBC; a line of JSON for each behaviour. The first argument is
 * the prefix of the URL: jdbc:mysql or jdbc:mariadb. Run as one file: java -cp DRIVER:GSON JdbcSteps.java PREFIX
 */

import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.io.PrintStream;
import java.lang.reflect.Method;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.sql.CallableStatement;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.sql.Types;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Properties;

class JdbcSteps {
  static class Unsupported extends RuntimeException {
    Unsupported(String reason) {
      super(reason);
    }
  }

  static final Gson GSON = new GsonBuilder().serializeNulls().disableHtmlEscaping().create();
  static final PrintStream OUT = new PrintStream(System.out, true, StandardCharsets.UTF_8);
  /** Of Connector/J 5.1. */
  static final String OLD_MYSQL = "com.mysql.jdbc.MySQLConnection";
  static String prefix;
  static boolean isMariadb;
  static JsonObject given;

  public static void main(String[] args) throws Exception {
    prefix = args[0];
    isMariadb = prefix.equals("jdbc:mariadb");
    given = JsonParser.parseString(System.getenv("COMPAT")).getAsJsonObject();
    var driver = DriverManager.getDriver(prefix + "://127.0.0.1/");
    OUT.println(GSON.toJson(Map.of("version", driver.getMajorVersion() + "." + driver.getMinorVersion() + versionTail(driver))));
    for (JsonElement element : given.getAsJsonArray("behaviours")) {
      JsonObject behaviour = element.getAsJsonObject();
      Map<String, Object> line = runBehaviour(behaviour.getAsJsonArray("steps"));
      line.put("behaviour", behaviour.get("id").getAsString());
      OUT.println(GSON.toJson(line));
    }
    OUT.flush();
    Runtime.getRuntime().halt(0);
  }

  /** The third number is in the jar's manifest alone. */
  static String versionTail(java.sql.Driver driver) {
    String jar = driver.getClass().getProtectionDomain().getCodeSource().getLocation().getPath();
    var match = java.util.regex.Pattern.compile("-\\d+\\.\\d+(\\.\\d+)\\.jar").matcher(jar);
    return match.find() ? match.group(1) : "";
  }

  static Map<String, Object> runBehaviour(JsonArray steps) {
    Map<String, Connection> connections = new HashMap<>();
    List<Object> values = new ArrayList<>();
    Map<String, Object> line = new HashMap<>();
    try {
      for (JsonElement step : steps) values.add(runStep(connections, step.getAsJsonObject()));
      line.put("values", values);
    } catch (Unsupported reason) {
      line.put("unsupported", reason.getMessage());
    } catch (Throwable error) {
      line.put("values", values);
      line.put("error", errorOf(error));
    } finally {
      for (Connection connection : connections.values()) {
        try {
          connection.close();
        } catch (SQLException ignored) {
          // it may be broken already
        }
      }
    }
    return line;
  }

  static List<Object> errorOf(Throwable error) {
    if (error instanceof SQLException sql) {
      return List.of(sql.getErrorCode(), sql.getSQLState() == null ? "" : sql.getSQLState(), messageOf(sql));
    }
    return List.of(0, "", String.valueOf(error));
  }

  /** MariaDB's drivers put the thread id, and at the login the address, before the server's message. */
  static String messageOf(SQLException error) {
    return String.valueOf(error.getMessage()).replaceAll("address=\\(host=\\S+|\\(conn=\\d+\\) ", "");
  }

  static Object runStep(Map<String, Connection> connections, JsonObject step) throws Exception {
    String name = text(step, "on", "a");
    Connection connection = connections.get(name);
    String sql = text(step, "sql", "");
    if (sql.contains("{big}")) {
      JsonObject big = given.getAsJsonObject("big");
      sql = sql.replace("{big}", big.get("repeat").getAsString().repeat(big.get("times").getAsInt()));
    }
    if (sql.contains("{threadId}")) sql = sql.replace("{threadId}", threadId(connections.get("a")));
    boolean digest = step.has("digest");
    switch (text(step, "do", "")) {
      case "connect":
        connections.put(name, connect(step));
        return null;
      case "connectFails":
        try {
          connections.put(name, connect(step));
        } catch (SQLException error) {
          return errorOf(error);
        }
        throw new IllegalStateException("the login was accepted");
      case "query":
        if (sql.startsWith("CALL")) return call(connections, name, connection, sql);
        try (Statement statement = connection.createStatement()) {
          return results(statement, statement.execute(sql), digest);
        }
      case "execute":
        try (PreparedStatement statement = connection.prepareStatement(sql)) {
          int i = 0;
          for (JsonElement parameter : step.getAsJsonArray("params")) bind(statement, ++i, parameter);
          return results(statement, statement.execute(), digest);
        }
      case "fails":
        try (Statement statement = connection.createStatement()) {
          statement.execute(sql);
        } catch (SQLException error) {
          return errorOf(error);
        }
        throw new IllegalStateException("there was no error");
      case "identity":
        var values = new ArrayList<Object>();
        values.add(threadId(connection));
        values.add(connection.getMetaData().getDatabaseProductVersion());
        return values;
      case "info":
        try (Statement statement = connection.createStatement()) {
          int affected = statement.executeUpdate(sql, Statement.RETURN_GENERATED_KEYS);
          try (ResultSet keys = statement.getGeneratedKeys()) {
            return List.of(String.valueOf(affected), keys.next() ? keys.getString(1) : "none");
          }
        }
      case "cursor":
        try (PreparedStatement statement = connection.prepareStatement(sql)) {
          statement.setFetchSize(step.get("size").getAsInt());
          return List.of(digestOf(rowsOf(statement.executeQuery())));
        }
      case "interrupted":
        try (Statement statement = connection.createStatement(); ResultSet rows = statement.executeQuery(sql)) {
          rows.next();
          return rows.getInt(1) == 1 ? "interrupted" : "not interrupted";
        } catch (SQLException error) {
          if (error.getErrorCode() == 1317 || String.valueOf(error.getSQLState()).startsWith("70100")) return "interrupted";
          throw error;
        }
      case "timeout": {
        long started = System.nanoTime();
        try (Statement statement = connection.createStatement()) {
          statement.setQueryTimeout(Math.max(1, step.get("ms").getAsInt() / 1000));
          statement.executeQuery(sql).next();
        } catch (SQLException expected) {
          // a timeout, of whichever type
        }
        return System.nanoTime() - started < 8_000_000_000L ? "timed out" : "ran to its end";
      }
      case "reset":
        callIfThere(connection, isMariadb ? "org.mariadb.jdbc.Connection" : mysqlType(),
            isMariadb ? "reset" : "resetServerState");
        return null;
      case "changeUser":
        changeUser(connection, step);
        return null;
      case "sleep":
        Thread.sleep(step.get("ms").getAsInt());
        return null;
      case "pipeline":
        return pipeline(connection, sql, step.get("size").getAsInt());
      case "binlog":
        throw new Unsupported("reads no binlog");
      default:
        throw new Unsupported("cannot " + text(step, "do", ""));
    }
  }

  static Connection connect(JsonObject step) throws SQLException {
    JsonObject target = given.getAsJsonObject("targets").getAsJsonObject(text(step, "to", "plain"));
    if (target.has("socket")) throw new Unsupported("a unix socket needs another library");
    String database = step.has("database") ? text(step, "database", "") : text(target, "database", "");
    Properties properties = new Properties();
    properties.setProperty("user", text(step, "user", text(target, "user", "")));
    properties.setProperty("password", text(step, "password", text(target, "password", "")));
    properties.setProperty("allowMultiQueries", String.valueOf(step.has("multi")));
    properties.setProperty("allowLocalInfile", "true"); // MariaDB's
    properties.setProperty("allowLoadLocalInfile", "true");
    properties.setProperty("useCompression", String.valueOf(step.has("compress")));
    properties.setProperty("useServerPrepStmts", "true");
    // Without TLS, a server with caching_sha2_password wants it; the proxy does not.
    if (given.get("direct").getAsBoolean()) properties.setProperty("allowPublicKeyRetrieval", "true");
    if (isMariadb) {
      properties.setProperty("useResetConnection", "true");
    } else {
      properties.setProperty("useCursorFetch", "true");
      properties.setProperty("connectionTimeZone", "UTC");
      properties.setProperty("characterEncoding", "UTF-8");
      properties.setProperty("serverTimezone", "UTC"); // 5.1
    }
    if (target.has("ca")) {
      properties.setProperty("sslMode", isMariadb ? "verify-full" : "VERIFY_IDENTITY");
      if (isMariadb) {
        properties.setProperty("useSsl", "true"); // 2.7
        properties.setProperty("serverSslCert", text(target, "cafile", ""));
      } else {
        properties.setProperty("useSSL", "true"); // 5.1, which offers MariaDB nothing later than TLS 1.1 by default
        if (mysqlType().equals(OLD_MYSQL)) properties.setProperty("enabledTLSProtocols", "TLSv1.2");
        properties.setProperty("requireSSL", "true");
        properties.setProperty("verifyServerCertificate", "true");
        properties.setProperty("trustCertificateKeyStoreUrl", keyStoreOf(text(target, "cafile", "")));
        properties.setProperty("trustCertificateKeyStoreType", "PKCS12");
        properties.setProperty("trustCertificateKeyStorePassword", "changeit");
      }
    }
    String address = target.get("host").getAsString() + ":" + target.get("port").getAsInt();
    return DriverManager.getConnection(prefix + "://" + address + "/" + database, properties);
  }

  /** MySQL's driver takes authorities from a key store only. */
  static String keyStoreOf(String file) {
    try {
      var store = java.security.KeyStore.getInstance("PKCS12");
      store.load(null, null);
      try (var in = new java.io.FileInputStream(file)) {
        store.setCertificateEntry("ca", java.security.cert.CertificateFactory.getInstance("X.509").generateCertificate(in));
      }
      var path = java.nio.file.Files.createTempFile("compat", ".p12");
      path.toFile().deleteOnExit();
      try (var out = new java.io.FileOutputStream(path.toFile())) {
        store.store(out, "changeit".toCharArray());
      }
      return path.toUri().toString();
    } catch (Exception error) {
      throw new IllegalStateException(error);
    }
  }

  static String threadId(Connection connection) throws Exception {
    String type = isMariadb ? "org.mariadb.jdbc.Connection" : mysqlType();
    try {
      Object driver = connection.unwrap(Class.forName(type));
      if (type.equals(OLD_MYSQL)) return String.valueOf(Class.forName(type).getMethod("getId").invoke(driver));
      if (!isMariadb) {
        Object session = driver.getClass().getMethod("getSession").invoke(driver);
        return String.valueOf(session.getClass().getMethod("getThreadId").invoke(session));
      }
      return String.valueOf(driver.getClass().getMethod("getThreadId").invoke(driver));
    } catch (ReflectiveOperationException | SQLException none) {
      try { // MariaDB Connector/J 2.7
        Class<?> old = Class.forName("org.mariadb.jdbc.MariaDbConnection");
        return String.valueOf(old.getMethod("getServerThreadId").invoke(connection.unwrap(old)));
      } catch (ReflectiveOperationException no) {
        return null;
      }
    }
  }

  static String mysqlType() {
    try {
      return Class.forName("com.mysql.cj.jdbc.JdbcConnection").getName();
    } catch (ClassNotFoundException old) {
      return OLD_MYSQL;
    }
  }

  static void callIfThere(Connection connection, String type, String method) throws Exception {
    Method found;
    Object driver;
    try {
      Class<?> declared = Class.forName(type);
      driver = connection.unwrap(declared);
      found = declared.getMethod(method);
    } catch (ReflectiveOperationException none) {
      try { // MariaDB Connector/J 2.7
        Class<?> old = Class.forName("org.mariadb.jdbc.MariaDbConnection");
        driver = connection.unwrap(old);
        found = old.getMethod(method);
      } catch (ReflectiveOperationException no) {
        throw new Unsupported("no " + method);
      }
    }
    try {
      found.invoke(driver);
    } catch (java.lang.reflect.InvocationTargetException error) {
      if (error.getCause() instanceof SQLException sql) throw sql;
      throw error;
    }
  }

  /** Of MySQL's driver; it names no database with it, and asks the server for the one of before. */
  static void changeUser(Connection connection, JsonObject step) throws Exception {
    if (isMariadb) throw new Unsupported("no changeUser");
    Class<?> type = Class.forName(mysqlType());
    try {
      type.getMethod("changeUser", String.class, String.class)
          .invoke(connection.unwrap(type), text(step, "user", ""), text(step, "password", ""));
    } catch (java.lang.reflect.InvocationTargetException error) {
      if (error.getCause() instanceof SQLException sql) throw sql;
      throw error;
    }
    connection.setCatalog(text(step, "database", ""));
  }

  /** An OUT parameter the way JDBC has it; @squared is set for the step that asks for it. */
  static Object call(Map<String, Connection> connections, String name, Connection connection, String sql) throws SQLException {
    try (CallableStatement statement = connection.prepareCall(sql.replaceAll("(?s)CALL two_results\\(7, @squared\\)", "{CALL two_results(?, ?)}"))) {
      statement.setInt(1, 7);
      statement.registerOutParameter(2, Types.INTEGER);
      Object results = results(statement, statement.execute(), false);
      try (Statement set = connection.createStatement()) {
        set.execute("SET @squared = " + statement.getInt(2));
      }
      return results;
    }
  }

  /** A batch: MariaDB's driver sends it as a pipeline or as COM_STMT_BULK_EXECUTE. */
  static Object pipeline(Connection connection, String sql, int size) throws SQLException {
    throw new Unsupported("no pipelining of queries");
  }

  static void bind(PreparedStatement statement, int i, JsonElement value) throws SQLException {
    if (value.isJsonNull()) {
      statement.setObject(i, null);
    } else if (value.isJsonObject()) {
      JsonObject object = value.getAsJsonObject();
      if (object.has("hex")) statement.setBytes(i, HexFormat.of().parseHex(object.get("hex").getAsString()));
      else statement.setString(i, object.get("repeat").getAsString().repeat(object.get("times").getAsInt()));
    } else if (value.getAsJsonPrimitive().isNumber()) {
      statement.setLong(i, value.getAsLong());
    } else {
      statement.setString(i, value.getAsString());
    }
  }

  static Object results(Statement statement, boolean isResult, boolean digest) throws SQLException {
    List<Object> results = new ArrayList<>();
    for (;;) {
      if (isResult) {
        List<List<String>> rows = rowsOf(statement.getResultSet());
        results.add(digest ? digestOf(rows) : rows);
      } else if (statement.getUpdateCount() == -1) {
        return results;
      }
      isResult = statement.getMoreResults();
    }
  }

  static List<List<String>> rowsOf(ResultSet set) throws SQLException {
    List<List<String>> rows = new ArrayList<>();
    int columns = set.getMetaData().getColumnCount();
    while (set.next()) {
      List<String> row = new ArrayList<>();
      for (int i = 1; i <= columns; i++) row.add(show(set, i));
      rows.add(row);
    }
    return rows;
  }

  static Object digestOf(List<List<String>> rows) {
    StringBuilder text = new StringBuilder();
    for (List<String> row : rows) text.append(String.join("\t", row)).append('\n');
    return List.of(rows.size(), md5(text.toString().getBytes(StandardCharsets.UTF_8)));
  }

  static String show(ResultSet set, int column) throws SQLException {
    int type = set.getMetaData().getColumnType(column);
    boolean isBinary = type == Types.BINARY || type == Types.VARBINARY || type == Types.LONGVARBINARY || type == Types.BLOB || type == Types.OTHER;
    byte[] bytes;
    if (isBinary) {
      bytes = set.getBytes(column);
    } else {
      String text = set.getString(column);
      bytes = text == null ? null : text.getBytes(StandardCharsets.UTF_8);
    }
    if (bytes == null) return "NULL";
    if (bytes.length > 1000) return bytes.length + " bytes, MD5 " + md5(bytes);
    try {
      return StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(bytes)).toString();
    } catch (CharacterCodingException notText) {
      return "0x" + HexFormat.of().formatHex(bytes);
    }
  }

  static String md5(byte[] bytes) {
    try {
      return HexFormat.of().formatHex(MessageDigest.getInstance("MD5").digest(bytes));
    } catch (java.security.NoSuchAlgorithmException never) {
      throw new IllegalStateException(never);
    }
  }

  static String text(JsonObject object, String key, String otherwise) {
    JsonElement value = object.get(key);
    return value == null || value.isJsonNull() ? otherwise : value.getAsString();
  }
}
