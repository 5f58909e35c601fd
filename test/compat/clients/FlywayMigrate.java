/* Flyway's migrate and validate, for tools.mjs. The arguments are the URL, user, password and folder of the migrations. */

import org.flywaydb.core.Flyway;
import org.flywaydb.core.api.FlywayException;

class FlywayMigrate {
  public static void main(String[] args) {
    try {
      var flyway = Flyway.configure()
          .dataSource(args[0], args[1], args[2])
          .locations("filesystem:" + args[3])
          .baselineOnMigrate(true)
          .baselineVersion("0")
          .load();
      System.out.println("migrations executed: " + flyway.migrate().migrationsExecuted);
      flyway.validate();
    } catch (FlywayException error) {
      System.err.println(error.getMessage());
      Runtime.getRuntime().halt(1);
    }
    System.out.flush();
    Runtime.getRuntime().halt(0);
  }
}
