/** The clients of Java: how to install and start each. */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Client } from './clients.ts'
import { cacheDirectory, clientsDirectory, jars, run } from './install.ts'

const program = (name: string) => join(clientsDirectory, name)

const debezium = '3.3.0.Final'

const debeziumClient: Client = {
  name: `Debezium's engine`,
  usedBy: 'Kafka Connect, Debezium Server, Airbyte, Flink CDC',
  async prepare() {
    const ids = ['debezium-embedded', 'debezium-connector-mysql', 'debezium-connector-mariadb', 'debezium-api']
    const path = await jars(`debezium-${debezium}`, ...ids.map(id => `io.debezium:${id}:${debezium}`), gson)
    return { command: ['java', '-Xmx1g', '-cp', path, program('DebeziumStream.java'), debezium] }
  },
}

const gson = 'com.google.code.gson:gson:2.13.2'

const jdbcClients: Client[] = [
  jdbcClient('MySQL Connector/J 5.1', 'mysql', 'mysql:mysql-connector-java:5.1.49', 'older applications in Java'),
  jdbcClient(
    'MySQL Connector/J 8',
    'mysql',
    'mysql:mysql-connector-java:8.0.33',
    'DBeaver, DataGrip, Debezium, Tableau',
  ),
  jdbcClient('MySQL Connector/J 9', 'mysql', 'com.mysql:mysql-connector-j:9.7.0', 'DBeaver, DataGrip, Debezium 3'),
  jdbcClient('MariaDB Connector/J 2.7', 'mariadb', 'org.mariadb.jdbc:mariadb-java-client:2.7.12', 'Metabase'),
  jdbcClient('MariaDB Connector/J 3', 'mariadb', 'org.mariadb.jdbc:mariadb-java-client:3.5.11', 'DBeaver, DataGrip'),
]

function jdbcClient(name: string, kind: string, artifact: string, usedBy: string): Client {
  return {
    name,
    usedBy,
    async prepare() {
      const path = await jars(artifact.split(':').slice(1).join('-'), artifact, gson)
      return { command: ['java', '-Xmx1g', '-cp', path, program('JdbcSteps.java'), `jdbc:${kind}`] }
    },
  }
}

/** Drivers that share java/Steps.java. */
const asyncClients: Client[] = [
  asyncClient('r2dbc-mysql', 'R2dbc', 'io.asyncer:r2dbc-mysql:1.4.3', 'Spring Data R2DBC, Micronaut', 'mysql'),
  asyncClient('r2dbc-mariadb', 'R2dbc', 'org.mariadb:r2dbc-mariadb:1.4.2', 'Spring Data R2DBC', 'mariadb'),
  asyncClient('MySQL client of Vert.x', 'Vertx', 'io.vertx:vertx-mysql-client:4.5.11', 'Quarkus, Hibernate Reactive'),
  asyncClient(
    'jasync-mysql',
    'Jasync',
    'com.github.jasync-sql:jasync-mysql:2.2.4',
    'applications in Kotlin; it also fails directly with 20 MB up and down',
  ),
]

function asyncClient(name: string, type: string, artifact: string, usedBy: string, ...args: string[]): Client {
  return {
    name,
    usedBy,
    async prepare() {
      const [, id = '', version = ''] = artifact.split(':')
      const path = await compiled(id, await jars(`${id}-${version}`, artifact, gson), `java/${type}.java`)
      return { command: ['java', '-Xmx1g', '-cp', path, type, ...args, version] }
    },
  }
}

export const javaClients: Client[] = [...jdbcClients, debeziumClient, ...asyncClients]

const connector = 'com.mysql:mysql-connector-j:9.7.0'

/** Tools of one task, which tools.mjs starts. */
export const javaTools: Client[] = [
  {
    name: 'Flyway',
    usedBy: 'migrations, by its API; on MySQL Connector/J',
    async prepare() {
      const version = '13.12.1'
      const artifacts = [`org.flywaydb:flyway-core:${version}`, `org.flywaydb:flyway-mysql:${version}`, connector]
      const path = await jars(`flyway-core-${version}`, ...artifacts)
      return tool('flyway', version, ['-cp', path, program('FlywayMigrate.java')])
    },
  },
  {
    name: 'Liquibase',
    usedBy: 'migrations, by its command line; on MySQL Connector/J',
    async prepare() {
      // Versions from 5 are no longer free software.
      const version = '4.33.0'
      const artifacts = [
        `org.liquibase:liquibase-core:${version}`,
        connector,
        'info.picocli:picocli:4.7.7',
        'org.yaml:snakeyaml:2.4',
      ]
      const path = await jars(`liquibase-${version}`, ...artifacts)
      return tool('liquibase', version, ['-cp', path, 'liquibase.integration.commandline.LiquibaseCommandLine'])
    },
  },
]

/**
 * Most of the time of such a tool is the start of Java.
 * @param javaArgs start it
 */
function tool(name: string, version: string, javaArgs: string[]) {
  return {
    command: [process.execPath, program('tools.mjs'), name],
    env: {
      COMPAT_VERSION: version,
      COMPAT_TOOL: JSON.stringify(['-Xmx512m', '-XX:TieredStopAtLevel=1', '-XX:+UseSerialGC', ...javaArgs]),
    },
  }
}

/** Compiles a program and java/Steps.java, and adds their classes to the class path. */
async function compiled(name: string, path: string, file: string): Promise<string> {
  const classes = join(cacheDirectory, `classes-${name}`)
  await mkdir(classes, { recursive: true })
  await run('javac', ['-nowarn', '-d', classes, '-cp', path, program('java/Steps.java'), program(file)])
  return `${classes}:${path}`
}
