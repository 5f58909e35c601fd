import { execFile, execFileSync, spawnSync } from 'node:child_process'
import { chmodSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { type Test, test } from 'tap'
import { complete, completionScript, SHELLS, toText } from '../../src/commands/completion.ts'
import { COMMANDS } from '../../src/commands/table.ts'
import { COMMAND_NAMES } from '../../src/config/option-spec.ts'
import { optionNames, optionSpec, optionsOf } from '../../src/config/options.ts'
import { ERRORS } from '../../src/error-codes.ts'
import { ensureProgram, findProgram } from '../support/packages.ts'
import { PROGRAM } from '../support/program.ts'

const run = promisify(execFile)

const FILE = `endpoints:
  - { name: orders, rds-endpoint: orders.abcdefghijkl.eu-west-1.rds.amazonaws.com }
  - { name: reports, rds-endpoint: reports.abcdefghijkl.eu-west-1.rds.amazonaws.com, listen: '127.0.0.1:3307' }
`

/** The program on a PATH, and a home with a configuration file and two profiles. */
function home(t: Test): { directory: string; environment: NodeJS.ProcessEnv } {
  const quoted = PROGRAM.map(word => `'${word.replaceAll("'", "'\\''")}'`).join(' ')
  const directory = t.testdir({
    bin: { 'mysql-iam-proxy': `#!/bin/sh\nexec ${quoted} "$@"\n` },
    '.config': { 'mysql-iam-proxy': { 'config.yaml': FILE } },
    '.aws': { config: '[default]\n[profile dev]\n[profile prod]\n' },
    here: { 'proxy.yaml': FILE, 'other.txt': '', certificates: {} },
  })
  chmodSync(join(directory, 'bin/mysql-iam-proxy'), 0o755)
  const inherited = Object.entries(process.env).filter(([name]) => !/^(AWS_|MYSQL_IAM_PROXY_|TAP|XDG_)/.test(name))
  const environment = {
    ...Object.fromEntries(inherited),
    PATH: `${directory}/bin:${process.env['PATH']}`,
    HOME: directory,
    TERM: 'xterm',
    LC_ALL: 'C.UTF-8',
  }
  return { directory, environment }
}

/** Each with the words that it completes to. The last word of a line is the one at the cursor. */
const LINES: readonly (readonly [line: string, ...words: string[]])[] = [
  ['mysql-iam-proxy che', 'check'],
  ['mysql-iam-proxy --log-form', '--log-format'],
  ['mysql-iam-proxy --log-format ', 'auto', 'json', 'pretty'],
  ['mysql-iam-proxy --profile ', 'default', 'dev', 'prod'],
  ['mysql-iam-proxy check or', 'orders'],
  ['mysql-iam-proxy config s', 'schema', 'show'],
  ['mysql-iam-proxy explain TLS_WRONG', 'TLS_WRONG_NAME'],
  ['mysql-iam-proxy --config pro', 'proxy.yaml'],
]

const words = async (word: string, before: string[], environment: NodeJS.ProcessEnv = {}) => {
  const found = await complete(word, before, COMMANDS, environment)
  return typeof found === 'string' ? found : found.map(([candidate]) => candidate)
}

test('every option of every command is completed, with its choices', async t => {
  for (const command of COMMAND_NAMES) {
    const before = command === 'run' ? [] : [command]
    const flags = await words('--', before)
    for (const name of optionsOf(command)) t.ok(flags.includes(`--${name}`), `${command} --${name}`)
    t.ok(flags.includes('--help'), command)
    const others = optionNames.filter(name => !optionsOf(command).includes(name))
    for (const name of others) t.notOk(flags.includes(`--${name}`), `${command} takes no --${name}`)
  }
  for (const name of optionsOf('run')) {
    const { choices, short, kind } = optionSpec(name)
    if (!choices) continue
    t.same(await words('', [`--${name}`]), choices, name)
    t.same(
      await words(`--${name}=`, []),
      choices.map(choice => `--${name}=${choice}`),
      `--${name}=`,
    )
    if (short && kind !== 'boolean') t.same(await words('', [`-${short}`]), choices, `-${short}`)
  }
})

test('what is given already, and what cannot follow', async t => {
  const flags = await words('--', ['--user', 'app', '--ca', 'a.pem'])
  t.notOk(flags.includes('--user'), 'once is enough')
  t.ok(flags.includes('--ca'), 'may be repeated')
  t.same(await words('ch', ['--user']), [], 'any user')
  t.same(await words('--syntax', ['config', 'check']), ['--syntax-only'])
  t.same(await words('s', ['config', 'check']), [], 'one word only')
  t.ok((await words('', ['wait'])).includes('--until'), 'a command without arguments has only options')
  t.equal(await words('', ['exec', '--']), 'files')
  t.equal(await words('', ['--ca']), 'files')
  t.equal(await words('', ['--bundle-cache']), 'folders')
  t.equal(await words('--config=', []), 'files')
  t.ok((await words('10', ['explain'])).includes('1045'))
  for (const code of Object.keys(ERRORS)) t.ok((await words('', ['explain'])).includes(code), code)
  t.same(await words('ch', ['help']), ['check'])
  t.same(await words('ch', ['help', 'check']), [])
})

test('endpoints are those of the configuration file', async t => {
  const { directory } = home(t)
  const file = join(directory, 'here/proxy.yaml')
  t.same(await words('', ['check'], { HOME: directory, XDG_CONFIG_HOME: `${directory}/.config` }), [
    'orders',
    'reports',
  ])
  t.same(await words('rep', ['check', '--config', file]), ['reports'])
  t.same(await words('rep', ['check', `--config=${file}`]), ['reports'])
  t.same(await words('rep', [], { MYSQL_IAM_PROXY_CONFIG: file }), ['reports'])
  t.same(await words('', ['--config', file, 'check', '--endpoint']), ['orders', 'reports'])
  t.same(await words('o', ['check', '--config', '/nowhere.yaml']), [], 'an unreadable file is no error here')
})

test('each script is made for its shell, and SHELL names it', async t => {
  for (const shell of SHELLS) {
    t.equal(completionScript(undefined, { SHELL: `/usr/bin/${shell}` }), completionScript(shell, {}))
    t.match(
      completionScript(shell, {}),
      `# Completion of mysql-iam-proxy for ${shell === 'powershell' ? 'PowerShell' : shell}.`,
    )
    t.match(completionScript(shell, {}), '__complete "=', shell)
  }
  t.same(COMMANDS.completion.choices, SHELLS)
  t.throws(() => completionScript(undefined, { SHELL: '/bin/ksh' }), /bash, zsh, fish, powershell/)
  t.equal(toText([['check', 'Check a login']]), 'check\tCheck a login\n')
  t.equal(toText('files'), ':files\n')
})

test('completion prints its script and nothing else, then ends', async t => {
  const { environment } = home(t)
  for (const shell of SHELLS) {
    const { stdout, stderr } = await run('mysql-iam-proxy', ['completion', shell], { env: environment })
    t.equal(stdout, completionScript(shell, {}), shell)
    t.equal(stderr, '')
  }
  const found = await run('mysql-iam-proxy', ['completion'], { env: { ...environment, SHELL: '/bin/zsh' } })
  t.equal(found.stdout, completionScript('zsh', {}), 'it starts no proxy')
})

test('bash', async t => {
  const { directory, environment } = home(t)
  const script = `
    source <(mysql-iam-proxy completion bash)
    complete -p mysql-iam-proxy >/dev/null || exit 1
    while IFS= read -r line; do
      COMP_LINE=$line COMP_POINT=\${#line}
      read -ra COMP_WORDS <<<"$line"
      case $line in *' ') COMP_WORDS+=('') ;; esac
      COMP_CWORD=$(( \${#COMP_WORDS[@]} - 1 ))
      _mysql_iam_proxy
      printf '%s\\n' "$(printf '%s\\n' "\${COMPREPLY[@]}" | sort | tr '\\n' ' ')"
    done
    # As bash itself splits them at =.
    COMP_LINE='mysql-iam-proxy --log-format=j' COMP_POINT=30 COMP_WORDS=(mysql-iam-proxy --log-format = j) COMP_CWORD=3
    _mysql_iam_proxy; echo "\${COMPREPLY[@]}"
    COMP_LINE='mysql-iam-proxy --log-format=' COMP_POINT=29 COMP_WORDS=(mysql-iam-proxy --log-format =) COMP_CWORD=2
    _mysql_iam_proxy; echo "\${COMPREPLY[@]}"`
  const input = LINES.map(([line]) => `${line}\n`).join('')
  const options = { input, env: environment, cwd: `${directory}/here`, encoding: 'utf8' } as const
  const lines = execFileSync(await ensureProgram('bash', 'bash'), ['-c', script], options).split('\n')
  const wanted = LINES.map(([, ...candidates]) => [...candidates].sort().join(' '))
  t.same(
    lines.slice(0, LINES.length).map(line => line.trim()),
    wanted,
  )
  t.same(lines.slice(LINES.length, -1), ['json', 'auto pretty json'])
})

test('fish', async t => {
  const { directory, environment } = home(t)
  const fish = await ensureProgram('fish', 'fish')
  const asks = [...LINES, ['mysql-iam-proxy --log-format=j', '--log-format=json'] as const]
  const script = ['mysql-iam-proxy completion fish | source', ...asks.map(([line]) => `complete -C '${line}'; echo .`)]
  const options = { env: environment, cwd: `${directory}/here`, encoding: 'utf8' } as const
  const answers = execFileSync(fish, ['-c', script.join('\n')], options).split('.\n')
  asks.forEach(([line, ...candidates], index) => {
    const found = answers[index]!.split('\n').filter(Boolean)
    t.same(found.map(row => row.split('\t')[0]).sort(), [...candidates].sort(), line)
  })
  t.match(answers[0], /^check\tCheck each step of a login/, 'with a description')
})

test('zsh', async t => {
  const { directory, environment } = home(t)
  const zsh = await ensureProgram('zsh', 'zsh')
  // An interactive zsh on a pseudoterminal. Its compadd prints the candidates instead of offering them.
  const inner = `
PS1=; unsetopt prompt_cr prompt_sp
autoload -Uz compinit && compinit -u -D
source <(mysql-iam-proxy completion zsh)
compadd() {
  local -a found
  builtin compadd -O found "$@"
  builtin compadd "$@"
  for word in $found; do print -r -- "<$word>"; done
}
show() { zle complete-word; print -r -- "<done>"; zle kill-whole-line; }
zle -N show; bindkey '^I' show
print -r -- '<ready>'
`
  const outer = `
zmodload zsh/zpty
zpty shell ${zsh} -f -i
zpty -w shell "source $1"
zpty -r shell out '*<ready>*'
shift
for line in "$@"; do
  zpty -w -n shell "$line"$'\\t'
  zpty -r shell out '*<done>*'
  print -r -- "$out"
  print -r -- '<next>'
done
zpty -d shell`
  const { writeFileSync } = await import('node:fs')
  writeFileSync(join(directory, 'inner.zsh'), inner)
  writeFileSync(join(directory, 'outer.zsh'), outer)
  const asks = [...LINES, ['mysql-iam-proxy --log-format=j', '--log-format=json'] as const]
  const { stdout } = await run(
    zsh,
    ['-f', `${directory}/outer.zsh`, `${directory}/inner.zsh`, ...asks.map(([l]) => l)],
    {
      env: environment,
      cwd: `${directory}/here`,
    },
  )
  const answers = stdout.split('<next>')
  asks.forEach(([line, ...candidates], index) => {
    const found = [...answers[index]!.matchAll(/<([^<>\n]+)>/g)]
      .map(([, word]) => word!)
      .filter(word => word !== 'done')
    t.same([...new Set(found)].sort(), [...candidates].sort(), line)
  })
})

test('PowerShell: the script is well formed', async t => {
  const script = completionScript('powershell', {})
  t.match(script, /Register-ArgumentCompleter -Native -CommandName mysql-iam-proxy -ScriptBlock \{/)
  const pairs = ['()', '{}', '[]'].map(pair => [...pair].map(bracket => script.split(bracket).length))
  for (const [open, close] of pairs) t.equal(open, close)
  const pwsh = findProgram('pwsh')
  if (pwsh === undefined) {
    t.comment('pwsh is not installed, and Debian has no package of it: only the text was checked')
    return
  }
  const parse =
    '$errors = $null; [void][Management.Automation.Language.Parser]::ParseInput($input, [ref]$null, [ref]$errors); exit $errors.Count'
  t.equal(spawnSync(pwsh, ['-NoProfile', '-Command', parse], { input: script }).status, 0)
})
