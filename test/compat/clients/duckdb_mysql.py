"""DuckDB's mysql extension: ATTACH, then mysql_query() for results and mysql_execute() for the rest."""

import glob
import os
import re

import duckdb
import duckdb_extension_mysql_scanner

from steps import Unsupported, run_steps

EXTENSION = glob.glob(
    os.path.join(os.path.dirname(duckdb_extension_mysql_scanner.__file__), 'extensions/*/mysql_scanner.duckdb_extension')
)[0]


class DuckDB:
    version = duckdb.__version__

    def error(self, error):
        # It names the address and user of a failed login.
        text = re.sub(r'Failed to connect to MySQL database with parameters ".*?": ', '', str(error), flags=re.DOTALL)
        found = re.search(r'\b(\d{4,5})(?: \((\w{5})\))?: (.*)', text, re.DOTALL)
        return [int(found[1]), found[2] or '', found[3]] if found else [0, '', text]

    def connect(self, target, options):
        for unsupported in ('multi', 'localInfile'):
            if options.get(unsupported):
                raise Unsupported('no such setting')
        given = {'host': target['host'], 'port': target['port']}
        if target.get('database'):
            given['database'] = target['database']
        if target.get('socket'):
            given = {**given, 'host': 'localhost', 'port': 0, 'socket': target['socket']}
        if target.get('ca'):
            given.update(ssl_mode='verify_identity', ssl_ca=target['cafile'])
        if options.get('compress'):
            given['compression'] = 'required'
        return DuckDBConnection(given, target['user'], target['password'])


class DuckDBConnection:
    def __init__(self, given, user, password):
        self.raw = duckdb.connect()
        self.raw.execute(f"LOAD '{EXTENSION}'")
        # Its text of settings takes some passwords for a URL.
        self.raw.execute(f'CREATE SECRET login (TYPE mysql, USER {literal(user)}, PASSWORD {literal(password)})')
        settings = ' '.join(f'{key}={value}' for key, value in given.items())
        self.raw.execute(f'ATTACH {literal(settings)} AS remote (TYPE mysql, SECRET login)')

    def query(self, sql):
        if re.match(r'SET @|START TRANSACTION', sql):
            raise Unsupported('its queries use a pool, which resets sessions')
        if re.match(r'(SELECT|SHOW)\b', sql):
            return [self.raw.execute(f"SELECT * FROM mysql_query('remote', {literal(sql)})").fetchall()]
        if sql.startswith('CALL'):
            raise Unsupported('no procedures with results')
        self.raw.execute(f"CALL mysql_execute('remote', {literal(sql)})")
        return []

    def identity(self):
        return [None, None]

    def close(self):
        self.raw.close()


def literal(text):
    return "'" + text.replace("'", "''") + "'"


if __name__ == '__main__':
    run_steps(DuckDB())
