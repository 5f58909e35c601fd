<?php
/** Carries out the steps of test/compat/behaviours.ts with mysqli or PDO; a line of JSON for each behaviour. */

error_reporting(E_ALL & ~E_WARNING & ~E_DEPRECATED);
mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);
ini_set('memory_limit', '512M');

class Unsupported extends Exception {}

$given = json_decode(getenv('COMPAT'), true);
$kind = $argv[1];
if ($kind === 'laravel') {
    error_reporting(E_ALL & ~E_WARNING & ~E_DEPRECATED & ~E_NOTICE);
    require '/usr/share/php/Illuminate/Database/autoload.php';
}
emit(['version' => getenv('COMPAT_VERSION') ?: PHP_VERSION]);
foreach ($given['behaviours'] as ['id' => $id, 'steps' => $steps]) {
    emit(['behaviour' => $id] + runBehaviour($steps));
}
exit(0);

function emit(array $line): void
{
    fwrite(STDOUT, json_encode($line, JSON_THROW_ON_ERROR | JSON_UNESCAPED_UNICODE) . "\n");
}

function runBehaviour(array $steps): array
{
    $connections = [];
    $values = [];
    try {
        foreach ($steps as $step) {
            $values[] = runStep($connections, $step);
        }
        return ['values' => $values];
    } catch (Unsupported $reason) {
        return ['unsupported' => $reason->getMessage()];
    } catch (Throwable $error) {
        return ['values' => $values, 'error' => errorOf($error)];
    } finally {
        foreach ($connections as $connection) {
            $connection->close();
        }
    }
}

function errorOf(Throwable $error): array
{
    // Laravel adds the statement to the text.
    if ($error instanceof Illuminate\Database\QueryException) {
        return errorOf($error->getPrevious());
    }
    if ($error instanceof PDOException) {
        // The number is in errorInfo, but for the errors of a login, whose text alone has it.
        [$sqlState, $errno, $message] = ($error->errorInfo ?? []) + ['', 0, $error->getMessage()];
        $message = preg_replace('/^SQLSTATE\[\w+\](?: \[\d+\]|: [^:]*: \d+) /', '', $message);
        return [$errno ?: $error->getCode(), (string) $sqlState, $message];
    }
    if ($error instanceof mysqli_sql_exception) {
        return [$error->getCode(), $error->getSqlState(), $error->getMessage()];
    }
    return [0, '', get_class($error) . ': ' . $error->getMessage()];
}

function runStep(array &$connections, array $step): mixed
{
    global $given, $kind;
    $name = $step['on'] ?? 'a';
    $connection = $connections[$name] ?? null;
    $sql = $step['sql'] ?? '';
    if (str_contains($sql, '{big}')) {
        $sql = str_replace('{big}', str_repeat($given['big']['repeat'], $given['big']['times']), $sql);
    }
    if (str_contains($sql, '{threadId}')) {
        $sql = str_replace('{threadId}', $connections['a']->identity()[0] ?? throw new Unsupported('tells no thread id'), $sql);
    }
    $need = function (string $operation) use ($connection) {
        method_exists($connection, $operation) || throw new Unsupported("no $operation");
    };
    $target = $given['targets'][$step['to'] ?? 'plain'];
    foreach (['user', 'password', 'database'] as $key) {
        if (array_key_exists($key, $step)) {
            $target[$key] = $step[$key];
        }
    }
    $connect = function () use ($kind, $target, $step) {
        return match ($kind) {
            'mysqli' => new MysqliClient($target, $step),
            'pdo' => new PdoClient($target, $step, false),
            'pdo-persistent' => new PdoClient($target, $step, true),
            'mysqli-persistent' => new MysqliClient($target, $step, 'p:'),
            'laravel' => new LaravelClient($target, $step),
        };
    };
    switch ($step['do']) {
        case 'connect':
            $connections[$name] = $connect();
            return null;
        case 'connectFails':
            try {
                $connections[$name] = $connect();
            } catch (Unsupported $reason) {
                throw $reason;
            } catch (Throwable $error) {
                // Whatever the server says, PHP has HY000 for a login.
                return array_replace(errorOf($error), [1 => '']);
            }
            throw new RuntimeException('the login was accepted');
        case 'query':
            return shown($connection->query($sql), $step);
        case 'execute':
            return shown($connection->execute($sql, array_map('parameter', $step['params'])), $step);
        case 'fails':
            try {
                $connection->query($sql);
            } catch (Throwable $error) {
                return errorOf($error);
            }
            throw new RuntimeException('there was no error');
        case 'identity':
            return $connection->identity();
        case 'info':
            return array_map('strval', $connection->info($sql));
        case 'cursor':
            $need('cursor');
            return shown([$connection->cursor($sql, $step['size'])], ['digest' => true]);
        case 'interrupted':
            try {
                return show($connection->query($sql)[0][0][0]) === '1' ? 'interrupted' : 'not interrupted';
            } catch (Throwable $error) {
                if (errorOf($error)[0] === 1317) {
                    return 'interrupted';
                }
                throw $error;
            }
        case 'changeUser':
            $need('changeUser');
            $connection->changeUser($step['user'], $step['password'], $step['database']);
            return null;
        case 'reuse':
            $kind === 'mysqli-persistent' || throw new Unsupported('no pool that resets');
            $before = $connection->identity()[0];
            $connection->close();
            $connections[$name] = $connection = $connect();
            return [$connection->identity()[0] === $before ? 'same' : 'another', ...shown($connection->query($sql), $step)[0][0]];
        case 'timeout':
            $need('timeout');
            $started = microtime(true);
            $connection->timeout($sql, $step['ms']);
            return microtime(true) - $started < 8 ? 'timed out' : 'ran to its end';
        case 'sleep':
            usleep($step['ms'] * 1000);
            return null;
    }
    throw new Unsupported("no {$step['do']}");
}

class MysqliClient
{
    private mysqli $raw;

    public function __construct(array $target, array $options, string $prefix = '')
    {
        if ($prefix !== '' && isset($options['compress'])) {
            throw new Unsupported('takes an uncompressed one that is there already');
        }
        $raw = mysqli_init();
        $flags = isset($options['compress']) ? MYSQLI_CLIENT_COMPRESS : 0;
        $raw->options(MYSQLI_OPT_LOCAL_INFILE, isset($options['localInfile']) ? 1 : 0);
        if (isset($target['ca'])) {
            $raw->ssl_set(null, null, $target['cafile'], null, null);
            $flags |= MYSQLI_CLIENT_SSL;
        }
        $host = isset($target['socket']) ? 'localhost' : $target['host'];
        $raw->real_connect($prefix . $host, $target['user'], $target['password'], $target['database'] ?? '',
            $target['port'], $target['socket'] ?? null, $flags);
        $raw->set_charset('utf8mb4');
        $this->raw = $raw;
    }

    public function query(string $sql): array
    {
        $this->raw->multi_query($sql);
        $results = [];
        do {
            $result = $this->raw->store_result();
            if ($result) {
                $results[] = $result->fetch_all();
            }
        } while ($this->raw->more_results() && $this->raw->next_result());
        return $results;
    }

    public function execute(string $sql, array $parameters): array
    {
        $statement = $this->raw->prepare($sql);
        $statement->execute($parameters);
        return [$statement->get_result()->fetch_all()];
    }

    public function cursor(string $sql, int $size): array
    {
        $statement = $this->raw->prepare($sql);
        $statement->attr_set(MYSQLI_STMT_ATTR_CURSOR_TYPE, MYSQLI_CURSOR_TYPE_READ_ONLY);
        $statement->execute();
        $statement->bind_result($id, $word);
        $rows = [];
        while ($statement->fetch()) {
            $rows[] = [$id, $word];
        }
        return $rows;
    }

    public function info(string $sql): array
    {
        $this->raw->query($sql);
        return [$this->raw->affected_rows, $this->raw->insert_id];
    }

    public function identity(): array
    {
        return [(string) $this->raw->thread_id, $this->raw->server_info];
    }

    public function changeUser(string $user, string $password, string $database): void
    {
        $this->raw->change_user($user, $password, $database);
    }

    public function close(): void
    {
        $this->raw->close();
    }
}

class PdoClient
{
    private ?PDO $raw;

    public function __construct(array $target, array $options, private bool $persistent)
    {
        $address = isset($target['socket']) ? "unix_socket={$target['socket']}" : "host={$target['host']};port={$target['port']}";
        $database = isset($target['database']) ? ";dbname={$target['database']}" : '';
        $attributes = [
            PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION,
            // A text is a key: connections a and b should be two.
            PDO::ATTR_PERSISTENT => $persistent ? 'key ' . json_encode($options) : false,
            PDO::ATTR_EMULATE_PREPARES => isset($options['multi']),
            PDO::MYSQL_ATTR_LOCAL_INFILE => isset($options['localInfile']),
            PDO::MYSQL_ATTR_COMPRESS => isset($options['compress']),
        ];
        if (isset($target['ca'])) {
            $attributes[PDO::MYSQL_ATTR_SSL_CA] = $target['cafile'];
        }
        $this->raw = new PDO("mysql:$address$database;charset=utf8mb4", $target['user'], $target['password'], $attributes);
    }

    public function query(string $sql): array
    {
        $statement = $this->raw->query($sql);
        $results = [];
        do {
            if ($statement->columnCount() > 0) {
                $results[] = $statement->fetchAll(PDO::FETCH_NUM);
            }
        } while ($statement->nextRowset());
        return $results;
    }

    public function execute(string $sql, array $parameters): array
    {
        $statement = $this->raw->prepare($sql);
        $statement->execute($parameters);
        return [$statement->fetchAll(PDO::FETCH_NUM)];
    }

    public function info(string $sql): array
    {
        return [$this->raw->exec($sql), $this->raw->lastInsertId()];
    }

    public function identity(): array
    {
        return [null, $this->raw->getAttribute(PDO::ATTR_SERVER_VERSION)];
    }

    public function close(): void
    {
        $this->raw = null;
    }
}

/** As an application has it: a connection of DB::connection(), its methods for transactions. */
class LaravelClient
{
    private ?Illuminate\Database\Connection $raw;

    public function __construct(array $target, array $options)
    {
        if (isset($options['multi']) || isset($options['compress'])) {
            throw new Unsupported("up to PDO");
        }
        $manager = new Illuminate\Database\Capsule\Manager();
        // What a new application has in config/database.php.
        $manager->addConnection([
            'driver' => 'mysql',
            'host' => $target['host'],
            'port' => $target['port'],
            'database' => $target['database'] ?? '',
            'username' => $target['user'],
            'password' => $target['password'],
            'unix_socket' => $target['socket'] ?? '',
            'charset' => 'utf8mb4',
            'collation' => 'utf8mb4_unicode_ci',
            'prefix' => '',
            'strict' => true,
            'engine' => null,
            'options' => array_filter([
                PDO::MYSQL_ATTR_SSL_CA => $target['cafile'] ?? null,
                PDO::MYSQL_ATTR_LOCAL_INFILE => isset($options['localInfile']),
            ]),
        ]);
        $this->raw = $manager->getConnection();
        $this->raw->getPdo();
    }

    public function query(string $sql): array
    {
        switch ($sql) {
            case 'START TRANSACTION':
            case 'SAVEPOINT s':
                $this->raw->beginTransaction();
                return [];
            case 'ROLLBACK':
            case 'ROLLBACK TO SAVEPOINT s':
                $this->raw->rollBack();
                return [];
            case 'COMMIT':
                $this->raw->commit();
                return [];
        }
        if (preg_match('/^SELECT/', $sql)) {
            return $this->execute($sql, []);
        }
        $this->raw->unprepared($sql);
        return [];
    }

    public function execute(string $sql, array $parameters): array
    {
        return [array_map(fn(object $row) => array_values((array) $row), $this->raw->select($sql, $parameters))];
    }

    public function info(string $sql): array
    {
        return [$this->raw->affectingStatement($sql), $this->raw->getPdo()->lastInsertId()];
    }

    public function identity(): array
    {
        return [null, $this->raw->getPdo()->getAttribute(PDO::ATTR_SERVER_VERSION)];
    }

    public function close(): void
    {
        $this->raw?->disconnect();
        $this->raw = null;
    }
}

function parameter(mixed $value): mixed
{
    if (!is_array($value)) {
        return $value;
    }
    return isset($value['hex']) ? hex2bin($value['hex']) : str_repeat($value['repeat'], $value['times']);
}

function shown(array $results, array $step): array
{
    return array_map(function (array $rows) use ($step) {
        $texts = array_map(fn(array $row) => array_map('show', $row), $rows);
        if (!isset($step['digest'])) {
            return $texts;
        }
        return [count($texts), md5(implode('', array_map(fn($row) => implode("\t", $row) . "\n", $texts)))];
    }, $results);
}

function show(mixed $value): string
{
    if ($value === null) {
        return 'NULL';
    }
    $text = is_bool($value) ? (string) (int) $value : (string) $value;
    if (strlen($text) > 1000) {
        return strlen($text) . ' bytes, MD5 ' . md5($text);
    }
    return preg_match('//u', $text) ? $text : '0x' . bin2hex($text);
}
