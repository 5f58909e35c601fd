/* Debezium's engine reads the binlog; a line of JSON for each behaviour of test/compat/behaviours.ts. */

import com.google.gson.Gson;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import io.debezium.engine.ChangeEvent;
import io.debezium.engine.DebeziumEngine;
import io.debezium.engine.format.Json;
import java.io.PrintStream;
import java.sql.Connection;
import java.sql.DriverManager;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;

class DebeziumStream {
  public static void main(String[] args) throws Exception {
    PrintStream out = System.out;
    System.setOut(System.err); // its log
    JsonObject given = JsonParser.parseString(System.getenv("COMPAT")).getAsJsonObject();
    out.println(new Gson().toJson(Map.of("version", args[0])));
    JsonObject target = given.getAsJsonObject("targets").getAsJsonObject("plain");
    for (JsonElement element : given.getAsJsonArray("behaviours")) {
      JsonObject behaviour = element.getAsJsonObject();
      JsonObject step = behaviour.getAsJsonArray("steps").get(0).getAsJsonObject();
      Map<String, Object> line = new HashMap<>();
      String options = given.get("direct").getAsBoolean() ? "?allowPublicKeyRetrieval=true" : "";
      line.put("behaviour", behaviour.get("id").getAsString());
      if (!step.get("do").getAsString().equals("binlog")) {
        line.put("unsupported", "reads the binlog, nothing else");
      } else {
        try {
          line.put("values", List.of(stream(target, options, step.get("sql").getAsString())));
        } catch (Throwable error) {
          line.put("error", List.of(0, "", String.valueOf(error)));
        }
      }
      out.println(new Gson().toJson(line));
    }
    out.flush();
    Runtime.getRuntime().halt(0);
  }

  static String stream(JsonObject target, String options, String sql) throws Exception {
    String host = target.get("host").getAsString();
    String port = target.get("port").getAsString();
    String user = target.get("user").getAsString();
    String password = target.get("password").getAsString();
    String database = target.get("database").getAsString();
    String url = "jdbc:mysql://" + host + ":" + port + "/" + database + options;
    try (Connection writer = DriverManager.getConnection(url, user, password)) {
      boolean isMariadb = writer.getMetaData().getDatabaseProductVersion().contains("MariaDB");
      Properties properties = new Properties();
      properties.setProperty("name", "compat");
      properties.setProperty("connector.class", isMariadb
          ? "io.debezium.connector.mariadb.MariaDbConnector" : "io.debezium.connector.mysql.MySqlConnector");
      properties.setProperty("offset.storage", "org.apache.kafka.connect.storage.MemoryOffsetBackingStore");
      properties.setProperty("schema.history.internal", "io.debezium.relational.history.MemorySchemaHistory");
      properties.setProperty("topic.prefix", "compat");
      properties.setProperty("database.hostname", host);
      properties.setProperty("database.port", port);
      properties.setProperty("database.user", user);
      properties.setProperty("database.password", password);
      properties.setProperty("database.server.id", String.valueOf(2_000_000 + (System.nanoTime() & 0xfffff)));
      properties.setProperty("database.ssl.mode", isMariadb ? "disable" : "disabled");
      if (!isMariadb && !options.isEmpty()) properties.setProperty("driver.allowPublicKeyRetrieval", "true");
      properties.setProperty("database.include.list", database);
      properties.setProperty("table.include.list", database + ".streamed");
      properties.setProperty("snapshot.mode", "no_data");
      CompletableFuture<String> seen = new CompletableFuture<>();
      String marker = UUID.randomUUID().toString();
      DebeziumEngine<ChangeEvent<String, String>> engine = DebeziumEngine.create(Json.class)
          .using(properties)
          .notifying(event -> {
            if (event.value() != null && event.value().contains(marker)) seen.complete("seen");
          })
          .using((success, message, error) -> {
            if (!success) seen.completeExceptionally(new IllegalStateException(message, error));
          })
          .build();
      ExecutorService executor = Executors.newSingleThreadExecutor();
      executor.execute(engine);
      // It says when it streams in its log alone, so the row is inserted again and again.
      for (int i = 0; i < 40 && !seen.isDone(); i++) {
        writer.createStatement().execute(sql.replace("{marker}", marker));
        try {
          seen.get(1, TimeUnit.SECONDS);
        } catch (java.util.concurrent.TimeoutException notYet) {
          continue;
        }
      }
      return seen.getNow("no event within 40 s");
    }
  }
}
