"""python-mysql-replication: reads the binlog, over PyMySQL."""

import os
import random
import secrets
import threading

from steps import Unsupported, run_steps


class Replication:
    def __init__(self):
        from importlib.metadata import version

        self.version = version('mysql-replication')

    def error(self, error):
        arguments = getattr(error, 'args', ())
        if len(arguments) > 1 and isinstance(arguments[0], int):
            return [arguments[0], '', str(arguments[1])]
        return [0, '', f'{type(error).__name__}: {error}']

    def connect(self, target, options):
        raise Unsupported('reads the binlog, nothing else')

    def binlog(self, target, sql):
        import pymysql
        from pymysqlreplication import BinLogStreamReader
        from pymysqlreplication.row_event import WriteRowsEvent

        settings = {key: target[key] for key in ('host', 'port', 'user', 'password')}
        marker = secrets.token_hex(8)
        writer = pymysql.connect(**settings, database=target['database'], autocommit=True)
        with writer.cursor() as cursor:
            cursor.execute('SELECT VERSION()')
            version = cursor.fetchone()[0]
            is_mariadb = 'MariaDB' in version
            is_old = is_mariadb or version < '8.2'
            cursor.execute('SHOW MASTER STATUS' if is_old else 'SHOW BINARY LOG STATUS')
            log_file, log_position = cursor.fetchone()[:2]
        stream = BinLogStreamReader(
            connection_settings=settings,
            server_id=1_000_000 + random.randrange(1 << 20),
            blocking=True,
            only_events=[WriteRowsEvent],
            is_mariadb=is_mariadb,
            log_file=log_file,
            log_pos=log_position,
            resume_stream=True,
        )
        timer = threading.Timer(1, lambda: self.write(writer, sql.replace('{marker}', marker)))
        timer.start()
        watchdog = threading.Timer(30, lambda: os._exit(1))
        watchdog.start()
        for event in stream:
            for row in event.rows:
                if marker in row['values'].values():
                    watchdog.cancel()
                    stream.close()
                    return 'seen'

    def write(self, writer, sql):
        with writer.cursor() as cursor:
            cursor.execute(sql)


run_steps(Replication())
