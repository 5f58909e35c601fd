"""PyMySQL, mysqlclient, MySQL Connector/Python, asyncmy, aiomysql, SQLAlchemy. The first argument names the driver."""

import asyncio
import re
import subprocess
import sys

from steps import Unsupported, run_steps


class Connection:
    """What DB-API drivers have in common."""

    def __init__(self, raw):
        self.raw = raw

    def query(self, sql):
        with self.raw.cursor() as cursor:
            cursor.execute(sql)
            return self.results(cursor)

    def results(self, cursor):
        results = []
        while True:
            if cursor.description:
                results.append([list(row) for row in cursor.fetchall()])
            if not cursor.nextset():
                return results

    def info(self, sql):
        with self.raw.cursor() as cursor:
            cursor.execute(sql)
            return [cursor.rowcount, cursor.lastrowid]

    def close(self):
        self.raw.close()


def db_api_error(error):
    arguments = getattr(error, 'args', ())
    if len(arguments) > 1 and isinstance(arguments[0], int):
        return [arguments[0], '', str(arguments[1])]
    return [0, '', f'{type(error).__name__}: {error}']


def common(target):
    given = {'user': target['user'], 'password': target['password'], 'charset': 'utf8mb4'}
    if target.get('database'):
        given['database'] = target['database']
    if target.get('socket'):
        given['unix_socket'] = target['socket']
    else:
        given.update(host=target['host'], port=target['port'])
    return given


class PyMySQL:
    def __init__(self):
        import pymysql

        self.module = pymysql
        self.version = pymysql.__version__

    error = staticmethod(db_api_error)

    def connect(self, target, options):
        from pymysql.constants import CLIENT

        if options.get('compress'):
            raise Unsupported('no compression')
        given = common(target)
        if target.get('ca'):
            given['ssl'] = {'ca': target['cafile']}
        return PyMySQLConnection(
            self.module.connect(
                **given,
                autocommit=True,
                local_infile=bool(options.get('localInfile')),
                client_flag=CLIENT.MULTI_STATEMENTS if options.get('multi') else 0,
                max_allowed_packet=64 << 20,
                read_timeout=None,
            )
        )


class PyMySQLConnection(Connection):
    def identity(self):
        return [self.raw.thread_id(), self.raw.get_server_info()]

    def timeout(self, sql, seconds):
        self.raw._read_timeout = seconds
        self.query(sql)


class MySQLClient:
    def __init__(self):
        import MySQLdb

        self.module = MySQLdb
        self.version = f'{version_of("mysqlclient")} on {MySQLdb.get_client_info()}'

    error = staticmethod(db_api_error)

    def connect(self, target, options):
        given = common(target)
        if target.get('ca'):
            given['ssl'] = {'ca': target['cafile']}
        if options.get('compress'):
            given['compress'] = 1
        if options.get('localInfile'):
            given['local_infile'] = 1
        # Since 2.0, where the default is True.
        if self.module.version_info >= (2, 0):
            given['multi_statements'] = bool(options.get('multi'))
        return MySQLClientConnection(self.module.connect(**given, autocommit=True))


class MySQLClientConnection(Connection):
    def identity(self):
        return [self.raw.thread_id(), self.raw.get_server_info()]

    def change_user(self, user, password, database):
        self.raw.change_user(user, password, database)


class MySQLConnector:
    def __init__(self, pure):
        import mysql.connector

        if not pure and not mysql.connector.HAVE_CEXT:
            sys.exit('Error: the package has no C extension here')
        self.module = mysql.connector
        self.pure = pure
        self.version = mysql.connector.__version__

    def error(self, error):
        if hasattr(error, 'errno'):
            return [error.errno, error.sqlstate or '', error.msg]
        return db_api_error(error)

    def connect(self, target, options):
        given = common(target)
        if target.get('ca'):
            given['ssl_ca'] = target['cafile']
            given['ssl_verify_identity'] = True
        if options.get('compress'):
            given['compress'] = True
        if options.get('localInfile'):
            given['allow_local_infile'] = True
        raw = self.module.connect(**given, autocommit=True, use_pure=self.pure, raise_on_warnings=False)
        return MySQLConnectorConnection(raw)

    def reuse(self, target, sql):
        from mysql.connector.pooling import MySQLConnectionPool

        pool = MySQLConnectionPool(pool_size=1, pool_reset_session=True, use_pure=self.pure, **common(target))
        first = pool.get_connection()
        thread_id = first.connection_id
        with first.cursor() as cursor:
            cursor.execute('SET @compat = 1')
        first.close()
        second = pool.get_connection()
        with second.cursor() as cursor:
            cursor.execute(sql)
            return ['same' if second.connection_id == thread_id else 'another', *cursor.fetchone()]


class MySQLConnectorConnection(Connection):
    def query(self, sql):
        with self.raw.cursor() as cursor:
            cursor.execute(sql)
            return self.results(cursor)

    def execute(self, sql, parameters):
        with self.raw.cursor(prepared=True) as cursor:
            cursor.execute(sql.replace('?', '%s'), parameters)
            return [[list(row) for row in cursor.fetchall()]]

    def identity(self):
        info = getattr(self.raw, 'server_info', None) or self.raw.get_server_info()
        return [self.raw.connection_id, info]

    def reset(self):
        self.raw.cmd_reset_connection()

    def change_user(self, user, password, database):
        self.raw.cmd_change_user(user, password, database, 45)

    def timeout(self, sql, seconds):
        with self.raw.cursor(read_timeout=seconds) as cursor:
            cursor.execute(sql)
            cursor.fetchall()


class Asyncio:
    """asyncmy and aiomysql: the same calls."""

    def __init__(self, name):
        self.module = __import__(name)
        self.version = getattr(self.module, '__version__', None) or version_of(name)
        self.loop = asyncio.new_event_loop()

    error = staticmethod(db_api_error)

    def connect(self, target, options):
        if options.get('compress'):
            raise Unsupported('no compression')
        given = common(target)
        if 'database' in given:
            given['db'] = given.pop('database')
        if target.get('ca'):
            import ssl

            given['ssl'] = ssl.create_default_context(cafile=target['cafile'])
        if options.get('localInfile'):
            given['local_infile'] = True
        if options.get('multi'):
            from pymysql.constants import CLIENT

            given['client_flag'] = CLIENT.MULTI_STATEMENTS
        raw = self.loop.run_until_complete(self.module.connect(**given, autocommit=True))
        return AsyncioConnection(self.loop, raw)


class AsyncioConnection:
    def __init__(self, loop, raw):
        self.loop = loop
        self.raw = raw

    async def results(self, sql):
        async with self.raw.cursor() as cursor:
            await cursor.execute(sql)
            results = []
            while True:
                if cursor.description:
                    results.append([list(row) for row in await cursor.fetchall()])
                if not await cursor.nextset():
                    return results

    def query(self, sql):
        return self.loop.run_until_complete(self.results(sql))

    def info(self, sql):
        async def run():
            async with self.raw.cursor() as cursor:
                await cursor.execute(sql)
                return [cursor.rowcount, cursor.lastrowid]

        return self.loop.run_until_complete(run())

    def identity(self):
        return [self.raw.thread_id(), self.raw.get_server_info()]

    def timeout(self, sql, seconds):
        async def run():
            await asyncio.wait_for(self.results(sql), seconds)

        self.loop.run_until_complete(run())

    def close(self):
        self.raw.close()


class SQLAlchemy:
    """Its pool rolls back and hands out the same connection again; on PyMySQL, mysqlclient or Connector/Python."""

    def __init__(self, dialect):
        import sqlalchemy

        self.dialect = dialect
        self.module = sqlalchemy
        self.version = sqlalchemy.__version__

    def error(self, error):
        original = getattr(error, 'orig', None) or error
        if hasattr(original, 'errno'):
            return [original.errno, original.sqlstate or '', original.msg]
        return db_api_error(original)

    def connect(self, target, options):
        if options.get('compress') or options.get('localInfile') or options.get('multi') or target.get('socket'):
            raise Unsupported("the driver's business")
        arguments = {}
        if target.get('ca'):
            arguments['ssl'] = {'ca': target['cafile']}
        engine = self.module.create_engine(
            self.module.URL.create(
                f'mysql+{self.dialect}',
                username=target['user'],
                password=target['password'] or None,
                host=target['host'],
                port=target['port'],
                database=target.get('database'),
                query={'charset': 'utf8mb4'},
            ),
            connect_args=arguments,
            pool_size=1,
            pool_pre_ping=True,
        )
        return SQLAlchemyConnection(self.module, engine.connect().execution_options(isolation_level='AUTOCOMMIT'))


class SQLAlchemyConnection:
    def __init__(self, module, raw):
        self.module = module
        self.raw = raw

    def query(self, sql):
        result = self.raw.exec_driver_sql(sql)
        return [[list(row) for row in result.fetchall()]] if result.returns_rows else []

    def info(self, sql):
        result = self.raw.exec_driver_sql(sql)
        return [result.rowcount, result.lastrowid]

    def identity(self):
        driver = self.raw.connection.driver_connection
        return [driver.thread_id() if hasattr(driver, 'thread_id') else driver.connection_id, None]

    def close(self):
        self.raw.close()
        self.raw.engine.dispose()


class ODBC:
    def __init__(self):
        import pyodbc

        self.module = pyodbc
        self.driver = subprocess.check_output(['sh', '-c', 'ls /usr/lib/*/odbc/libmaodbc.so'], text=True).strip()
        package = subprocess.check_output(['dpkg-query', '-W', 'odbc-mariadb'], text=True).split()[1]
        self.version = package.split('-')[0]

    def error(self, error):
        # ('42S02', '[42S02] [ma-3.1.15][10.11.19-MariaDB]Table … (1146) (SQLExecDirectW)')
        if len(error.args) < 2:
            return [0, '', str(error)]
        state, text = error.args[0], error.args[1]
        found = re.search(r'\[[^\]]*\]\[?[^\]]*\]?(.*) \((\d+)\)', text)
        if not found:
            return [0, state, text]
        # Beyond the emoji of a message the driver shows memory that was never written: not the same twice.
        return [int(found[2]), '', found[1].split('\0')[0]]

    def connect(self, target, options):
        text = self.driver
        given = {'DRIVER': text, 'UID': target['user'], 'PWD': '{' + target['password'].replace('}', '}}') + '}'}
        if target.get('database'):
            given['DATABASE'] = target['database']
        if target.get('socket'):
            given['SOCKET'] = target['socket']
        else:
            given.update(SERVER=target['host'], PORT=target['port'], TCPIP=1)
        if target.get('ca'):
            given.update(SSLCA=target['cafile'], SSLVERIFY=1)
        flags = 0
        flags |= 2048 if options.get('compress') else 0
        flags |= 67108864 if options.get('multi') else 0
        given['OPTION'] = flags
        if options.get('localInfile'):
            given['INITSTMT'] = 'DO 0'
        raw = self.module.connect(';'.join(f'{key}={value}' for key, value in given.items()), autocommit=True)
        return ODBCConnection(raw)


class ODBCConnection(Connection):
    def execute(self, sql, parameters):
        with self.raw.cursor() as cursor:
            cursor.execute(sql, parameters)
            return self.results(cursor)

    def identity(self):
        return [None, None]

    def info(self, sql):
        with self.raw.cursor() as cursor:
            affected = cursor.execute(sql).rowcount
            return [affected, cursor.execute('SELECT LAST_INSERT_ID()').fetchone()[0]]

    def timeout(self, sql, seconds):
        self.raw.timeout = int(seconds)
        self.query(sql)


def version_of(name):
    from importlib.metadata import version

    return version(name)


DRIVERS = {
    'PyMySQL': PyMySQL,
    'mysqlclient': MySQLClient,
    'mysql-connector-python': lambda: MySQLConnector(False),
    'mysql-connector-python-pure': lambda: MySQLConnector(True),
    'asyncmy': lambda: Asyncio('asyncmy'),
    'aiomysql': lambda: Asyncio('aiomysql'),
    'pyodbc': ODBC,
    'SQLAlchemy-pymysql': lambda: SQLAlchemy('pymysql'),
    'SQLAlchemy-mysqldb': lambda: SQLAlchemy('mysqldb'),
}

run_steps(DRIVERS[sys.argv[1]]())
