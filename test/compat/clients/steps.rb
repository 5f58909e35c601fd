# Carries out the steps of test/compat/behaviours.ts with mysql2 of Ruby; a line of JSON for each behaviour.
require 'bigdecimal'
require 'digest'
require 'json'
require 'mysql2'

class Unsupported < StandardError; end

GIVEN = JSON.parse(ENV.fetch('COMPAT'))
$stdout.sync = true

def emit(line)
  puts JSON.generate(line)
end

def error_of(error)
  return [error.error_number || 0, error.sql_state || '', error.message] if error.is_a?(Mysql2::Error)

  [0, '', "#{error.class}: #{error.message}"]
end

def connect(step)
  target = GIVEN['targets'][step['to'] || 'plain'].merge(step.slice('user', 'password', 'database'))
  options = { username: target['user'], password: target['password'], encoding: 'utf8mb4', as: :array,
              cast: false, max_allowed_packet: 256 << 20 }
  options[:database] = target['database'] if target['database']
  if target['socket']
    options[:socket] = target['socket']
  else
    options.merge!(host: target['host'], port: target['port'])
  end
  options.merge!(sslca: target['cafile'], sslverify: true) if target['ca']
  options[:local_infile] = true if step['localInfile']
  flags = []
  flags << 'MULTI_STATEMENTS' if step['multi']
  flags << 'COMPRESS' if step['compress']
  options[:flags] = flags unless flags.empty?
  options[:read_timeout] = step['ms'] / 1000.0 if step['ms']
  Mysql2::Client.new(options)
end

def results(connection, result)
  all = []
  loop do
    all << result.to_a if result
    break unless connection.next_result

    result = connection.store_result
  end
  all
end

def run_step(connections, step)
  name = step['on'] || 'a'
  connection = connections[name]
  sql = (step['sql'] || '').dup
  sql.sub!('{big}') { GIVEN['big']['repeat'] * GIVEN['big']['times'] }
  sql.sub!('{threadId}') { connections['a'].thread_id.to_s }
  case step['do']
  when 'connect'
    connections[name] = connect(step)
    nil
  when 'connectFails'
    begin
      connections[name] = connect(step)
    rescue Mysql2::Error => e
      return error_of(e)
    end
    raise 'the login was accepted'
  when 'query'
    shown(results(connection, connection.query(sql)), step['digest'])
  when 'execute'
    statement = connection.prepare(sql)
    shown([statement.execute(*step['params'].map { |value| parameter(value) }).to_a], step['digest'])
  when 'fails'
    begin
      connection.query(sql)
    rescue Mysql2::Error => e
      return error_of(e)
    end
    raise 'there was no error'
  when 'identity'
    [connection.thread_id.to_s, connection.server_info[:version]]
  when 'info'
    connection.query(sql)
    [connection.affected_rows.to_s, connection.last_id.to_s]
  when 'interrupted'
    begin
      connection.query(sql).to_a[0][0] == '1' ? 'interrupted' : 'not interrupted'
    rescue Mysql2::Error => e
      raise unless e.error_number == 1317

      'interrupted'
    end
  when 'timeout'
    started = Process.clock_gettime(Process::CLOCK_MONOTONIC)
    begin
      limited = connect(step)
      limited.query(sql)
    rescue Mysql2::Error
      nil
    end
    Process.clock_gettime(Process::CLOCK_MONOTONIC) - started < 8 ? 'timed out' : 'ran to its end'
  when 'sleep'
    sleep(step['ms'] / 1000.0)
    nil
  else
    raise Unsupported, "no #{step['do']}"
  end
end

def parameter(value)
  return value unless value.is_a?(Hash)

  value['hex'] ? [value['hex']].pack('H*') : value['repeat'] * value['times']
end

def shown(all, digest)
  all.map do |rows|
    texts = rows.map { |row| row.map { |value| show(value) } }
    next texts unless digest

    [texts.length, Digest::MD5.hexdigest(texts.map { |row| "#{row.join("\t")}\n" }.join)]
  end
end

def show(value)
  return 'NULL' if value.nil?

  bytes = (value.is_a?(BigDecimal) ? value.to_s('F') : value.to_s).b
  return "#{bytes.length} bytes, MD5 #{Digest::MD5.hexdigest(bytes)}" if bytes.length > 1000

  text = bytes.dup.force_encoding('UTF-8')
  text.valid_encoding? ? text : "0x#{bytes.unpack1('H*')}"
end

def run_behaviour(steps)
  connections = {}
  values = []
  begin
    steps.each { |step| values << run_step(connections, step) }
    { values: values }
  rescue Unsupported => e
    { unsupported: e.message }
  rescue StandardError => e
    { values: values, error: error_of(e) }
  ensure
    connections.each_value(&:close)
  end
end

emit({ version: "#{Mysql2::VERSION} on #{Mysql2::Client.info[:version]}" })
GIVEN['behaviours'].each do |behaviour|
  emit({ behaviour: behaviour['id'] }.merge(run_behaviour(behaviour['steps'])))
end
