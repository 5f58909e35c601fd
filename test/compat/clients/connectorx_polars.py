"""connectorx under polars.read_database_uri(): each query has its own pool of one connection.

Its pool retries a failed login for 30 seconds, and a program with such a pool does not always end. So each query runs in a
separate process that has a time limit.
"""

import multiprocessing
import re
import urllib.parse

from steps import Unsupported, run_steps

LIMIT_S = 45


def read(uri, sql, pipe):
    import polars

    try:
        frame = polars.read_database_uri(sql, uri, engine='connectorx')
        pipe.send((True, frame.rows()))
    except BaseException as error:  # a panic of Rust is no Exception
        pipe.send((False, f'{type(error).__name__}: {error}'))


class Connectorx:
    def __init__(self):
        from importlib.metadata import version

        self.version = version('connectorx')

    def error(self, error):
        text = str(error)
        found = re.search(r'ERROR (\d+) \((\w+)\): (.*?)\s*\}?$', text, re.DOTALL)
        return [int(found[1]), found[2], found[3]] if found else [0, '', text]

    def connect(self, target, options):
        for unsupported in ('compress', 'multi', 'localInfile'):
            if options.get(unsupported):
                raise Unsupported('reads the result of one query')
        if target.get('socket'):
            raise Unsupported('no unix socket')
        connection = ConnectorxConnection(target)
        if options['do'] == 'connectFails':
            connection.query('SELECT 1')
        return connection


class ConnectorxConnection:
    def __init__(self, target):
        quoted = {key: urllib.parse.quote(target[key] or '', safe='') for key in ('user', 'password', 'database')}
        self.uri = 'mysql://{user}:{password}@{host}:{port}/{database}'.format(
            **quoted, host=target['host'], port=target['port']
        )
        if target.get('ca'):
            raise Unsupported('no TLS setting')

    def query(self, sql):
        if not re.match('SELECT', sql) or 'GET_LOCK' in sql:
            raise Unsupported('reads tables, and each query has its own connection')
        ours, theirs = multiprocessing.Pipe(duplex=False)
        process = multiprocessing.Process(target=read, args=(self.uri, sql, theirs), daemon=True)
        process.start()
        theirs.close()
        try:
            if not ours.poll(LIMIT_S):
                raise TimeoutError(f'no answer within {LIMIT_S} s')
            is_result, value = ours.recv()
        except EOFError:
            process.join()
            raise RuntimeError(f'its process exited with {process.exitcode}') from None
        finally:
            process.kill()
        if not is_result:
            raise RuntimeError(value)
        return [value]

    def identity(self):
        return [None, None]

    def close(self):
        pass


if __name__ == '__main__':
    multiprocessing.set_start_method('spawn')
    run_steps(Connectorx())
