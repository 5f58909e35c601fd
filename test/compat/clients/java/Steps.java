/*
 * What the programs for the asynchronous drivers of Java share: the steps of test/compat/behaviours.ts, a line of JSON
 * for each behaviour. A driver waits for its results, so that steps run in sequence.
 */

import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.io.PrintStream;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;

class Steps {
  static class Unsupported extends RuntimeException {
    Unsupported(String reason) {
      super(reason);
    }
  }

  interface Driver {
    Session connect(Login login) throws Exception;

    /** [errno, SQLSTATE, message], or null if it is not an error of the driver's own kind. */
    List<Object> errorOf(Throwable error);
  }

  /** A connection. Results are result sets of rows of values. */
  interface Session {
    List<List<List<Object>>> query(String sql) throws Exception;

    List<List<List<Object>>> execute(String sql, List<Object> parameters) throws Exception;

    void close() throws Exception;

    default String threadId() {
      return null;
    }

    default String version() {
      return null;
    }

    /** [affected rows, last insert id] */
    default List<Object> info(String sql) throws Exception {
      throw new Unsupported("no info");
    }

    default void reset() throws Exception {
      throw new Unsupported("no reset");
    }

    default void changeUser(Login login) throws Exception {
      throw new Unsupported("no changeUser");
    }

    default List<List<Object>> cursor(String sql, int size) throws Exception {
      throw new Unsupported("no cursor");
    }

    default void timeout(String sql, int ms) throws Exception {
      throw new Unsupported("no timeout");
    }

    default List<List<List<Object>>> pipeline(List<String> statements) throws Exception {
      throw new Unsupported("no pipelining of queries");
    }
  }

  /** Where a step connects to. The texts are null if they are not given. */
  record Login(
      String host, int port, String socket, String cafile, String user, String password, String database,
      boolean compress, boolean multi, String localFile) {}

  static final Gson GSON = new GsonBuilder().serializeNulls().disableHtmlEscaping().create();
  static final PrintStream OUT = new PrintStream(System.out, true, StandardCharsets.UTF_8);
  static JsonObject given;
  static Driver driver;

  static void run(Driver its, String version) {
    driver = its;
    given = JsonParser.parseString(System.getenv("COMPAT")).getAsJsonObject();
    OUT.println(GSON.toJson(Map.of("version", version)));
    for (JsonElement element : given.getAsJsonArray("behaviours")) {
      JsonObject behaviour = element.getAsJsonObject();
      Map<String, Object> line = runBehaviour(behaviour.getAsJsonArray("steps"));
      line.put("behaviour", behaviour.get("id").getAsString());
      OUT.println(GSON.toJson(line));
    }
    OUT.flush();
    Runtime.getRuntime().halt(0);
  }

  static Map<String, Object> runBehaviour(JsonArray steps) {
    Map<String, Session> sessions = new HashMap<>();
    List<Object> values = new ArrayList<>();
    Map<String, Object> line = new HashMap<>();
    try {
      for (JsonElement step : steps) values.add(runStep(sessions, step.getAsJsonObject()));
      line.put("values", values);
    } catch (Unsupported reason) {
      line.put("unsupported", reason.getMessage());
    } catch (Throwable error) {
      line.put("values", values);
      line.put("error", errorOf(error));
    } finally {
      for (Session session : sessions.values()) {
        try {
          session.close();
        } catch (Throwable ignored) {
          // it may be broken already
        }
      }
    }
    return line;
  }

  /** A driver may wrap the server's error in one with another number. */
  static List<Object> errorOf(Throwable error) {
    List<Object> answer = List.of(0, "", String.valueOf(error));
    for (Throwable cause = error; cause != null; cause = cause.getCause()) {
      List<Object> own = driver.errorOf(cause);
      if (own != null) answer = own;
    }
    return answer;
  }

  static Object runStep(Map<String, Session> sessions, JsonObject step) throws Exception {
    String name = text(step, "on", "a");
    Session session = sessions.get(name);
    String sql = text(step, "sql", "");
    if (sql.contains("{big}")) sql = sql.replace("{big}", repeated(given.getAsJsonObject("big")));
    if (sql.contains("{threadId}")) {
      String id = sessions.get("a").threadId();
      if (id == null) throw new Unsupported("tells no thread id");
      sql = sql.replace("{threadId}", id);
    }
    boolean digest = step.has("digest");
    switch (text(step, "do", "")) {
      case "connect":
        sessions.put(name, driver.connect(login(step)));
        return null;
      case "connectFails":
        try {
          sessions.put(name, driver.connect(login(step)));
          sessions.get(name).query("SELECT 1");
        } catch (Unsupported reason) {
          throw reason;
        } catch (Throwable error) {
          return errorOf(error);
        }
        throw new IllegalStateException("the login was accepted");
      case "query":
        return shown(session.query(sql), digest);
      case "execute": {
        List<Object> parameters = new ArrayList<>();
        for (JsonElement parameter : step.getAsJsonArray("params")) parameters.add(parameter(parameter));
        return shown(session.execute(sql, parameters), digest);
      }
      case "fails":
        try {
          session.query(sql);
        } catch (Throwable error) {
          return errorOf(error);
        }
        throw new IllegalStateException("there was no error");
      case "identity": {
        List<Object> values = new ArrayList<>();
        values.add(session.threadId());
        values.add(session.version());
        return values;
      }
      case "info": {
        List<String> values = new ArrayList<>();
        for (Object value : session.info(sql)) values.add(show(value));
        return values;
      }
      case "cursor":
        return shown(List.of(session.cursor(sql, step.get("size").getAsInt())), true);
      case "interrupted":
        try {
          return show(session.query(sql).get(0).get(0).get(0)).equals("1") ? "interrupted" : "not interrupted";
        } catch (Throwable error) {
          if (errorOf(error).get(0).equals(1317)) return "interrupted";
          throw error;
        }
      case "timeout": {
        long started = System.nanoTime();
        try {
          session.timeout(sql, step.get("ms").getAsInt());
        } catch (Unsupported reason) {
          throw reason;
        } catch (Exception expected) {
          // a timeout, of whichever type
        }
        return System.nanoTime() - started < 8_000_000_000L ? "timed out" : "ran to its end";
      }
      case "reset":
        session.reset();
        return null;
      case "changeUser":
        session.changeUser(login(step));
        return null;
      case "sleep":
        Thread.sleep(step.get("ms").getAsInt());
        return null;
      case "pipeline": {
        List<String> statements = new ArrayList<>();
        for (int i = 1; i <= step.get("size").getAsInt(); i++) statements.add(sql.replace("{n}", String.valueOf(i)));
        return shown(session.pipeline(statements), false);
      }
      default:
        throw new Unsupported("cannot " + text(step, "do", ""));
    }
  }

  static Login login(JsonObject step) {
    JsonObject target = given.getAsJsonObject("targets").getAsJsonObject(text(step, "to", "plain"));
    return new Login(
        text(target, "host", null),
        target.get("port").getAsInt(),
        text(target, "socket", null),
        text(target, "cafile", null),
        text(step, "user", text(target, "user", "")),
        text(step, "password", text(target, "password", "")),
        step.has("database") ? text(step, "database", null) : text(target, "database", null),
        step.has("compress"),
        step.has("multi"),
        step.has("localInfile") ? text(given, "file", null) : null);
  }

  static Object parameter(JsonElement value) {
    if (value.isJsonNull()) return null;
    if (value.isJsonObject()) {
      JsonObject object = value.getAsJsonObject();
      return object.has("hex") ? HexFormat.of().parseHex(object.get("hex").getAsString()) : repeated(object);
    }
    return value.getAsJsonPrimitive().isNumber() ? (Object) value.getAsLong() : value.getAsString();
  }

  static String repeated(JsonObject value) {
    return value.get("repeat").getAsString().repeat(value.get("times").getAsInt());
  }

  static List<Object> shown(List<List<List<Object>>> results, boolean digest) {
    List<Object> all = new ArrayList<>();
    for (List<List<Object>> rows : results) {
      List<List<String>> texts = new ArrayList<>();
      for (List<Object> row : rows) {
        List<String> cells = new ArrayList<>();
        for (Object value : row) cells.add(show(value));
        texts.add(cells);
      }
      all.add(digest ? digestOf(texts) : texts);
    }
    return all;
  }

  static Object digestOf(List<List<String>> rows) {
    StringBuilder text = new StringBuilder();
    for (List<String> row : rows) text.append(String.join("\t", row)).append('\n');
    return List.of(rows.size(), md5(text.toString().getBytes(StandardCharsets.UTF_8)));
  }

  static String show(Object value) {
    if (value == null) return "NULL";
    if (value instanceof Boolean truth) return truth ? "1" : "0";
    if (value instanceof Object[] members) {
      List<String> texts = new ArrayList<>();
      for (Object member : members) texts.add(show(member));
      return String.join(",", texts);
    }
    byte[] bytes;
    if (value instanceof byte[] given) bytes = given;
    else if (value instanceof ByteBuffer buffer) buffer.duplicate().get(bytes = new byte[buffer.remaining()]);
    else bytes = String.valueOf(value).getBytes(StandardCharsets.UTF_8);
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
