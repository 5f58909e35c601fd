/**
 * `mysql-iam-proxy completion SHELL`: a script that asks this program for the candidates at each press of the Tab key. So a
 * script stays valid when options change. The answers come from the tables of commands and options.
 */
import { readProfileNames } from '../aws/profiles.ts'
import type { Command } from '../config/option-spec.ts'
import { environmentName, isOption, type OptionName, optionSpec, optionsOf } from '../config/options.ts'
import { ProxyError } from '../errors.ts'
import { commandOf, commandWords } from './arguments.ts'
import type { CommandTable, WordKind } from './command.ts'

export const SHELLS = ['bash', 'zsh', 'fish', 'powershell'] as const
export type Shell = (typeof SHELLS)[number]

/** A word, and what it means. */
export type Candidate = readonly [word: string, describe: string]

/** Candidates, or that the shell completes names of files or folders. */
export type Completion = readonly Candidate[] | 'files' | 'folders'

/** The script for `shell`, or else for the shell in SHELL. @throws ProxyError CONFIG_INVALID if that is none of the four */
export function completionScript(shell: string | undefined, environment: NodeJS.ProcessEnv): string {
  const wanted = shell ?? environment['SHELL']?.replace(/^.*\//, '')
  const found = SHELLS.find(name => name === wanted)
  if (found) return SCRIPTS[found]
  throw new ProxyError('CONFIG_INVALID', `completion needs the name of a shell: ${SHELLS.join(', ')}`)
}

/** A line for each candidate: the word, a tab, the description. `:files` and `:folders` stand alone. */
export function toText(completion: Completion): string {
  if (typeof completion === 'string') return `:${completion}\n`
  return completion.map(([word, describe]) => `${word}\t${describe}\n`).join('')
}

/** The candidates for a word. @param before the words before it, without the program */
export async function complete(
  word: string,
  before: readonly string[],
  commands: CommandTable,
  environment: NodeJS.ProcessEnv,
): Promise<Completion> {
  if (before.includes('--')) return 'files'
  const command = commandOf(before)
  const options = optionsOf(command)
  const { name, prefix, value } = optionAt(word, before, options)
  if (name !== undefined) {
    const values = await valuesOf(name, before, environment)
    return typeof values === 'string' ? values : startingWith(value, values).map(([v, what]) => [prefix + v, what])
  }
  if (word.startsWith('-')) return startingWith(word, flagsOf(options, before))
  const words = await wordsOf(command, before, commands, environment)
  return startingWith(word, words.length > 0 || word !== '' ? words : flagsOf(options, before))
}

/** The option whose value is completed: after `--name` or `-n`, or in `--name=value`. */
function optionAt(word: string, before: readonly string[], options: readonly OptionName[]) {
  const named = (flag: string) => {
    return options.find(name => flag === `--${name}` || flag === `-${optionSpec(name).short}`)
  }
  const takesValue = (name: OptionName | undefined) => name !== undefined && optionSpec(name).kind !== 'boolean'
  const last = named(before.at(-1) ?? '')
  if (takesValue(last)) return { name: last, prefix: '', value: word }
  const [, flag = '', value = ''] = /^(--[^=]+)=(.*)$/.exec(word) ?? []
  const inline = named(flag)
  return takesValue(inline) ? { name: inline, prefix: `${flag}=`, value } : { name: undefined, prefix: '', value: '' }
}

async function valuesOf(
  name: OptionName,
  before: readonly string[],
  environment: NodeJS.ProcessEnv,
): Promise<Completion> {
  const { choices, placeholder, default: standard } = optionSpec(name)
  if (choices) return choices.map(choice => [choice, choice === standard ? 'the default' : ''])
  if (placeholder === 'FILE') return 'files'
  if (placeholder === 'FOLDER') return 'folders'
  if (name === 'profile') return (await readProfileNames(environment)).profiles.map(profile => [profile, ''])
  return name === 'endpoint' ? await endpointNames(before, environment) : []
}

function flagsOf(options: readonly OptionName[], before: readonly string[]): Candidate[] {
  const isOpen = (name: OptionName) => optionSpec(name).kind === 'strings' || !before.includes(`--${name}`)
  const own = options.filter(isOpen).map((name): Candidate => [`--${name}`, short(optionSpec(name).describe)])
  return [...own, ['--help', 'Show the help'], ['--version', 'Show the version']]
}

/** What may stand at the place of the word, besides options. */
async function wordsOf(
  command: Command,
  before: readonly string[],
  commands: CommandTable,
  environment: NodeJS.ProcessEnv,
): Promise<Candidate[]> {
  const { choices, completes } = commands[command]
  if (choices) return isFirst(command, before) ? choices.map(choice => [choice, '']) : []
  const names = commandWords.map((name): Candidate => [name, short(commands[name].describe)])
  const candidates: Record<WordKind, () => Promise<Candidate[]>> = {
    endpoints: () => endpointNames(before, environment),
    commands: async () => (isFirst(command, before) ? names : []),
    codes: async () => {
      const { errorCodes } = await import('./explain.ts')
      return errorCodes().map(([code, explanation]) => [code, short(explanation)])
    },
  }
  const found = completes === undefined ? [] : await candidates[completes]()
  return command === 'run' && isFirst(command, before) ? [...names, ...found] : found
}

/** Whether no word stands before this one, except the command. */
function isFirst(command: Command, before: readonly string[]): boolean {
  const isValue = (index: number) => {
    const name = /^--([^=]+)$/.exec(before[index - 1] ?? '')?.[1]
    return name !== undefined && isOption(name) && optionSpec(name).kind !== 'boolean'
  }
  const words = before.filter((word, index) => !word.startsWith('-') && !isValue(index))
  return words.length === (command === 'run' ? 0 : 1)
}

/** Of the configuration file on the line, in the environment or at the default place. */
async function endpointNames(before: readonly string[], environment: NodeJS.ProcessEnv): Promise<Candidate[]> {
  const [{ readConfigFile }, { defaultConfigFile }] = await Promise.all([
    import('../config/file.ts'),
    import('../config/default-file.ts'),
  ])
  const flag = before.lastIndexOf('--config')
  const inline = before.findLast(word => word.startsWith('--config='))?.slice('--config='.length)
  const path =
    (flag < 0 ? inline : before[flag + 1]) || environment[environmentName('config')] || defaultConfigFile(environment)
  if (path === undefined) return []
  const file = await readConfigFile(path, 'config', []).catch(() => undefined)
  return (file?.content?.endpoints ?? []).flatMap(({ name, source }): Candidate[] => {
    const host = String(source.value('rds-endpoint') ?? '')
    return name === undefined ? [] : [[name, host]]
  })
}

function startingWith(start: string, candidates: readonly Candidate[]): Candidate[] {
  return candidates.filter(([word]) => word.toLowerCase().startsWith(start.toLowerCase()))
}

/** In characters; a shell shows a description beside its word. */
const MAX_DESCRIPTION = 60

/** The first sentence, on one line. */
function short(describe: string): string {
  const [first = ''] = describe.split(/[.;:(](?:\s|$)|\s\(/)
  return first.length <= MAX_DESCRIPTION ? first : `${first.slice(0, MAX_DESCRIPTION - 1)}…`
}

const SCRIPTS: Record<Shell, string> = {
  // Bash splits words at = and : and then replaces only what is behind them.
  bash: `# Completion of mysql-iam-proxy for bash.
# Now: source <(mysql-iam-proxy completion bash)
# Always: mysql-iam-proxy completion bash > ~/.local/share/bash-completion/completions/mysql-iam-proxy
_mysql_iam_proxy() {
  local line=\${COMP_LINE:0:COMP_POINT} cur=\${COMP_WORDS[COMP_CWORD]} word= words candidate skip kind=
  read -ra words <<<"$line"
  case $line in
    *[[:space:]]) ;;
    *) word=\${words[\${#words[@]}-1]}; unset "words[\${#words[@]}-1]" ;;
  esac
  case $cur in =|:) cur= ;; esac
  skip=\${word%"$cur"}
  COMPREPLY=()
  while IFS=$'\\t' read -r candidate _; do
    case $candidate in
      :files) kind=-f ;;
      :folders) kind=-d ;;
      *) COMPREPLY+=("\${candidate#"$skip"}") ;;
    esac
  done < <("\${words[0]/#\\~/$HOME}" __complete "=$word" "\${words[@]:1}" 2>/dev/null)
  [ -n "$kind" ] || return 0
  type compopt >/dev/null 2>&1 && compopt -o filenames 2>/dev/null # not in bash 3
  while IFS= read -r candidate; do COMPREPLY+=("$candidate"); done < <(compgen $kind -- "$cur")
}
complete -F _mysql_iam_proxy mysql-iam-proxy
`,
  zsh: `#compdef mysql-iam-proxy
# Completion of mysql-iam-proxy for zsh.
# Now: source <(mysql-iam-proxy completion zsh)
# Always: mysql-iam-proxy completion zsh > FOLDER/_mysql-iam-proxy, with FOLDER in fpath before compinit
_mysql_iam_proxy() {
  local program=\${(Q)words[1]} line candidate
  local -a candidates shown
  for line in "\${(@f)$(\${~program} __complete "=\${(Q)words[CURRENT]}" "\${(@Q)words[2,CURRENT-1]}" 2>/dev/null)}"; do
    candidate=\${line%%$'\\t'*}
    case $candidate in
      :files) compset -P '--*='; _files; return ;;
      :folders) compset -P '--*='; _files -/; return ;;
      ?*) candidates+=("$candidate"); shown+=("\${(r:32:)candidate} \${line#*$'\\t'}") ;;
    esac
  done
  (( $#candidates )) && compadd -l -d shown -a candidates
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
  _mysql_iam_proxy "$@"
else
  compdef _mysql_iam_proxy mysql-iam-proxy
fi
`,
  fish: `# Completion of mysql-iam-proxy for fish.
# Now: mysql-iam-proxy completion fish | source
# Always: mysql-iam-proxy completion fish > ~/.config/fish/completions/mysql-iam-proxy.fish
function __mysql_iam_proxy_complete
    set -l words (commandline -opc)
    set -l word (commandline -ct)
    set -l program (string replace -r '^~' $HOME -- $words[1])
    set -l found ($program __complete "=$word" $words[2..-1] 2>/dev/null)
    switch "$found[1]"
        case :files
            __fish_complete_path $word
        case :folders
            __fish_complete_directories $word
        case '*'
            string join \\n -- $found
    end
end
complete -c mysql-iam-proxy -f -a '(__mysql_iam_proxy_complete)'
`,
  // Without a candidate, PowerShell completes names of files itself.
  powershell: `# Completion of mysql-iam-proxy for PowerShell.
# Now: mysql-iam-proxy completion powershell | Out-String | Invoke-Expression
# Always: add that line to the file $PROFILE
Register-ArgumentCompleter -Native -CommandName mysql-iam-proxy -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)
    $before = @($commandAst.CommandElements | Where-Object { $_.Extent.EndOffset -lt $cursorPosition } |
        ForEach-Object { if ($_ -is [System.Management.Automation.Language.StringConstantExpressionAst]) { $_.Value } else { $_.Extent.Text } })
    $program, $words = $before
    if (-not $program) { $program = 'mysql-iam-proxy' }
    & $program __complete "=$wordToComplete" @words 2>$null | ForEach-Object {
        $candidate, $describe = $_ -split "\`t", 2
        if ($candidate.StartsWith(':')) { return }
        if (-not $describe) { $describe = $candidate }
        [System.Management.Automation.CompletionResult]::new($candidate, $candidate, 'ParameterValue', $describe)
    }
}
`,
}
