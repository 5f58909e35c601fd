"""Carries out the steps of test/compat/behaviours.ts with a driver for Python; a line of JSON for each behaviour."""

import datetime
import decimal
import hashlib
import json
import os
import sys
import time


class Unsupported(Exception):
    """What a driver has no way to do."""


def run_steps(driver):
    given = json.loads(os.environ['COMPAT'])
    emit({'version': driver.version})
    for behaviour in given['behaviours']:
        emit({'behaviour': behaviour['id'], **run_behaviour(driver, given, behaviour['steps'])})
    sys.stdout.flush()
    os._exit(0)


def emit(line):
    print(json.dumps(line), flush=True)


def run_behaviour(driver, given, steps):
    connections = {}
    values = []
    try:
        for step in steps:
            values.append(run_step(driver, given, connections, step))
        return {'values': values}
    except Unsupported as reason:
        return {'unsupported': str(reason)}
    except Exception as error:
        return {'values': values, 'error': driver.error(error)}
    finally:
        for connection in connections.values():
            try:
                connection.close()
            except Exception:
                pass


def run_step(driver, given, connections, step):
    name = step.get('on', 'a')
    connection = connections.get(name)
    target = {**given['targets'][step.get('to', 'plain')]}
    for key in ('user', 'password', 'database'):
        if key in step:
            target[key] = step[key]
    sql = step.get('sql', '')
    if '{big}' in sql:
        sql = sql.replace('{big}', given['big']['repeat'] * given['big']['times'])
    if '{threadId}' in sql:
        thread_id = connections['a'].identity()[0]
        if thread_id is None:
            raise Unsupported('tells no thread id')
        sql = sql.replace('{threadId}', str(thread_id))
    action = step['do']

    def need(operation):
        if not hasattr(connection, operation):
            raise Unsupported('no ' + operation)

    if action == 'connect':
        connections[name] = driver.connect(target, step)
        return None
    if action == 'connectFails':
        try:
            connections[name] = driver.connect(target, step)
        except Unsupported:
            raise
        except Exception as error:
            return driver.error(error)
        raise RuntimeError('the login was accepted')
    if action == 'query':
        return shown(connection.query(sql), step.get('digest'))
    if action == 'execute':
        need('execute')
        return shown(connection.execute(sql, [parameter(value) for value in step['params']]), step.get('digest'))
    if action == 'fails':
        try:
            connection.query(sql)
        except Unsupported:
            raise
        except Exception as error:
            return driver.error(error)
        raise RuntimeError('there was no error')
    if action == 'identity':
        thread_id, version = connection.identity()
        return [thread_id and str(thread_id), version]
    if action == 'info':
        need('info')
        return [str(value) for value in connection.info(sql)]
    if action == 'cursor':
        need('cursor')
        return shown([connection.cursor(sql, step['size'])], True)
    if action == 'interrupted':
        try:
            return 'interrupted' if show(connection.query(sql)[0][0][0]) == '1' else 'not interrupted'
        except Exception as error:
            if driver.error(error)[0] == 1317:
                return 'interrupted'
            raise
    if action == 'timeout':
        need('timeout')
        started = time.monotonic()
        try:
            connection.timeout(sql, step['ms'] / 1000)
        except Unsupported:
            raise
        except Exception:
            pass
        return 'timed out' if time.monotonic() - started < 8 else 'ran to its end'
    if action == 'reset':
        need('reset')
        connection.reset()
        return None
    if action == 'changeUser':
        need('change_user')
        connection.change_user(target['user'], target['password'], target['database'])
        return None
    if action == 'reuse':
        if not hasattr(driver, 'reuse'):
            raise Unsupported('no pool that resets')
        return [show(value) for value in driver.reuse(target, sql)]
    if action == 'pipeline':
        raise Unsupported('no pipelining')
    if action == 'sleep':
        time.sleep(step['ms'] / 1000)
        return None
    if action == 'binlog':
        if not hasattr(driver, 'binlog'):
            raise Unsupported('reads no binlog')
        return driver.binlog(target, sql)
    raise Unsupported('cannot ' + action)


def parameter(value):
    if not isinstance(value, dict):
        return value
    return bytes.fromhex(value['hex']) if 'hex' in value else value['repeat'] * value['times']


def shown(results, digest):
    texts = [[[show(value) for value in row] for row in rows] for rows in results]
    if not digest:
        return texts
    return [[len(rows), md5(''.join('\t'.join(row) + '\n' for row in rows).encode())] for rows in texts]


def md5(data):
    return hashlib.md5(data).hexdigest()


def show(value):
    if value is None:
        return 'NULL'
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, (set, frozenset)):
        return ','.join(sorted(value))
    if isinstance(value, decimal.Decimal):
        value = format(value, 'f')
    if isinstance(value, (datetime.date, datetime.time, datetime.timedelta)):
        value = str(value)
    data = bytes(value) if isinstance(value, (bytes, bytearray, memoryview)) else str(value).encode()
    if len(data) > 1000:
        return f'{len(data)} bytes, MD5 {md5(data)}'
    try:
        return data.decode()
    except UnicodeDecodeError:
        return '0x' + data.hex()
