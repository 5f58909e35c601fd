/**
 * The commands, one row each. A new command is its name in src/config/option-spec.ts, a row here, and its options in the
 * option table. Each row loads its module only when it runs, because the start of the proxy is measured.
 */
import { namesOfSettings, resolveSettings } from '../config/settings.ts'
import { ERRORS } from '../error-codes.ts'
import type { CommandTable } from './command.ts'

/** In the order of --help. */
export const COMMANDS: CommandTable = {
  run: {
    describe: 'Serve databases to MySQL clients on this machine',
    usage: '[ENDPOINT...]',
    completes: 'endpoints',
    maxWords: Number.POSITIVE_INFINITY,
    examples: [
      ['mysql-iam-proxy database-1.….eu-west-1.rds.amazonaws.com', 'Serve one database on 127.0.0.1:3306'],
      ['mysql-iam-proxy -p 3307 database-1.….eu-west-1.rds.amazonaws.com', 'On another port'],
      ["mysql-iam-proxy 'database-1.….rds.amazonaws.com?profile=dev&port=3307'", 'Options of one endpoint, after a ?'],
      ['mysql-iam-proxy --rds-endpoint database-1.… --connect my-nlb.…', 'Through a Network Load Balancer'],
      ['mysql-iam-proxy --config proxy.yaml', 'Several databases, from a file'],
    ],
    docs: 'docs/configuration.md',
    async run({ flags, words, stop, signal }) {
      const { isConfigured } = await import('../config/load.ts')
      if (words.length === 0 && Object.keys(flags).length === 0 && !(await isConfigured(process.env))) {
        const { shortHelp } = await import('./help.ts')
        process.stderr.write(shortHelp(COMMANDS))
        return ERRORS.CONFIG_INVALID.exitCode
      }
      const { run } = await import('./run.ts')
      const { settings } = await run(flags, words, stop)
      return signal() === 'SIGTERM' && settings['exit-zero-on-sigterm'] ? 0 : undefined
    },
  },
  list: {
    describe: 'List the databases that the credentials may see, and what of them this machine reaches',
    examples: [
      ['mysql-iam-proxy list', 'With the default credentials, in their region'],
      ['mysql-iam-proxy list --profile dev --profile prod --region all', 'Several accounts, everywhere'],
      ['mysql-iam-proxy list --json --aws-only', 'For scripts, without a connection to a database'],
      ['mysql-iam-proxy list --print-policy', 'The least IAM policy for it'],
    ],
    docs: 'docs/list.md',
    async run({ flags, stop }) {
      const { list } = await import('./list.ts')
      return await list(flags, stop)
    },
  },
  add: {
    describe: 'Find databases, and write them into the configuration file',
    usage: '[NAME...]',
    maxWords: Number.POSITIVE_INFINITY,
    examples: [
      ['mysql-iam-proxy add', 'Choose from the databases that your credentials may see'],
      ['mysql-iam-proxy add orders reports --user iam_user --profile dev', 'Two databases by name; asks nothing'],
      ['mysql-iam-proxy add orders --rds-endpoint orders.….rds.amazonaws.com --user app', 'Without a list from AWS'],
    ],
    docs: 'docs/configuration.md#add-a-database',
    async run(invocation) {
      const { add } = await import('./add.ts')
      return await add(invocation)
    },
  },
  remove: {
    describe: 'Remove databases from the configuration file',
    usage: '[NAME...]',
    completes: 'endpoints',
    maxWords: Number.POSITIVE_INFINITY,
    examples: [
      ['mysql-iam-proxy remove orders', 'One database'],
      ['mysql-iam-proxy remove', 'Choose from the databases in the file'],
    ],
    docs: 'docs/configuration.md#add-a-database',
    async run(invocation) {
      const { remove } = await import('./remove.ts')
      return await remove(invocation)
    },
  },
  check: {
    describe: 'Check each step of a login, and say what is wrong and what to do about it',
    usage: '[ENDPOINT] [DB-USER]',
    completes: 'endpoints',
    maxWords: 2,
    examples: [
      ['mysql-iam-proxy check orders iam_user', 'An endpoint of the configuration file'],
      ['mysql-iam-proxy check iam_user --rds-endpoint database-1.…', 'With the options of the proxy'],
      ['mysql-iam-proxy check orders iam_user --config proxy.yaml --aws', 'Also look at RDS and the NLB'],
    ],
    docs: 'docs/check.md',
    async run({ flags, words, stop }) {
      const { runCheck } = await import('./check.ts')
      return await runCheck(flags, words, stop)
    },
  },
  login: {
    describe: 'Sign in to AWS SSO (IAM Identity Center), also for the AWS CLI and the SDKs',
    examples: [
      ['mysql-iam-proxy login --profile dev', 'The session of a profile'],
      ['mysql-iam-proxy login --sso-session corp', 'A session of ~/.aws/config'],
      ['mysql-iam-proxy login --device-code', 'With a browser on another machine'],
    ],
    docs: 'docs/sign-in.md',
    async run({ flags, environment, stop, print }) {
      const settings = resolveSettings(flags, process.env)
      const { login } = await import('./login.ts')
      await login(
        {
          profile: settings.profile,
          ssoSession: settings['sso-session'],
          deviceCode: settings['device-code'],
          noBrowser: settings['no-browser'],
        },
        { print, say: text => process.stderr.write(`${text}\n`) },
        stop,
        environment,
      )
      return undefined
    },
  },
  exec: {
    describe: 'Run COMMAND with MYSQL_HOST and MYSQL_PORT set, and the proxy for as long as it runs',
    completes: 'endpoints',
    usage: '[ENDPOINT] [options] -- COMMAND [ARGUMENT...]',
    maxWords: Number.POSITIVE_INFINITY,
    examples: [
      ['mysql-iam-proxy exec database-1.… -- mysql -u iam_user shop', 'A client for one session'],
      ['mysql-iam-proxy exec --config proxy.yaml -- ./migrate.sh', 'A script that reads MYSQL_HOST and MYSQL_PORT'],
    ],
    docs: 'docs/configuration.md#one-command',
    ownsSignals: true, // the command decides when to end
    async run({ flags, words, rest, environment, stop }) {
      const { exec } = await import('./exec.ts')
      return await exec(flags, words, rest, environment, stop)
    },
  },
  wait: {
    describe: 'Wait until a proxy is ready',
    examples: [
      ['mysql-iam-proxy wait', 'Until something listens on 127.0.0.1:3306'],
      ['mysql-iam-proxy wait --admin-listen 127.0.0.1:9090 --max 1m', 'Until the proxy says that it is ready'],
    ],
    docs: 'docs/configuration.md',
    async run({ flags, stop }) {
      const { waitUntilReady } = await import('./wait.ts')
      await waitUntilReady(resolveSettings(flags, process.env), stop)
      return undefined
    },
  },
  url: {
    describe: 'Print what a client needs to connect to an endpoint: a URL, a command line, variables',
    usage: '[ENDPOINT]',
    completes: 'endpoints',
    maxWords: 1,
    examples: [
      ['mysql-iam-proxy url orders --format jdbc', 'An endpoint of the configuration file'],
      ['$(mysql-iam-proxy url orders --format cli)', 'Start a client'],
      ['eval "$(mysql-iam-proxy url orders --format env)"', 'MYSQL_HOST and others in your shell'],
    ],
    docs: 'docs/clients/README.md',
    async run({ flags, words, print }) {
      const { url } = await import('./url.ts')
      print(await url(flags, words, process.env))
      return undefined
    },
  },
  explain: {
    describe: 'Explain an error and what to do about it',
    usage: '[CODE]',
    completes: 'codes',
    maxWords: 1,
    examples: [
      ['mysql-iam-proxy explain 1045', 'An error number that a client shows'],
      ['mysql-iam-proxy explain TLS_WRONG_NAME', 'A code in the log'],
      ['mysql-iam-proxy explain', 'The list'],
    ],
    docs: 'docs/errors.md',
    async run({ words }) {
      const { explain } = await import('./explain.ts')
      process.stdout.write(explain(words[0]))
      return undefined
    },
  },
  docs: {
    describe: 'Print a page of the documentation, or the list of its pages',
    usage: '[PAGE]',
    maxWords: 1,
    examples: [
      ['mysql-iam-proxy docs', 'The list'],
      ['mysql-iam-proxy docs configuration | less', 'One page, as Markdown'],
      ['mysql-iam-proxy docs clients/dbeaver', 'How to set up a client'],
    ],
    async run({ words }) {
      const { docs } = await import('./docs.ts')
      process.stdout.write(docs(words[0]))
      return undefined
    },
  },
  config: {
    describe: 'Check the configuration, show the resulting values, or print the JSON schema of the file',
    usage: 'check|show|schema',
    maxWords: 1,
    choices: ['check', 'show', 'schema'],
    examples: [
      ['mysql-iam-proxy config check --config proxy.yaml', 'Every mistake, with its line'],
      ['mysql-iam-proxy config show --config proxy.yaml', 'The result of file, environment and flags'],
      ['mysql-iam-proxy config schema > schema.json', 'For your editor'],
    ],
    docs: 'docs/configuration.md',
    async run({ flags, words, print }) {
      const { configCommand } = await import('./config.ts')
      print(await configCommand(words[0]!, flags, process.env))
      return undefined
    },
  },
  'hash-password': {
    describe: 'Hash a password from standard input, for password-hash or a password file',
    examples: [
      ['mysql-iam-proxy hash-password', 'Type the password'],
      ['mysql-iam-proxy hash-password < password.txt > password.hash', 'From a file to a file'],
    ],
    docs: 'docs/security.md',
    async run({ flags, print, stop }) {
      const { hashPassword } = await import('./hash-password.ts')
      const { method, 'no-input': noInput } = resolveSettings(flags, process.env)
      print(await hashPassword(process.stdin, method, { stop, noInput }))
      return undefined
    },
  },
  trust: {
    describe: "Download the CA certificates of the database's region, or of all commercial regions, from AWS",
    usage: 'update',
    maxWords: 1,
    choices: ['update'],
    examples: [
      ['mysql-iam-proxy trust update --region il-central-1', 'For one region'],
      ['mysql-iam-proxy trust update', 'For all commercial regions'],
    ],
    docs: 'docs/security.md#ca-certificates-of-rds',
    async run({ flags, print, stop }) {
      const { trustUpdate } = await import('./trust.ts')
      const say = flags['quiet'] === true ? () => {} : print
      await trustUpdate(resolveSettings(flags, process.env), namesOfSettings(flags, process.env), say, stop)
      return undefined
    },
  },
  'sync-targets': {
    describe: "Keep NLB targets in sync with the database's addresses",
    examples: [
      [
        'mysql-iam-proxy sync-targets --rds-endpoint database-1.… --target-group-arn ARN --dry-run',
        'What would change',
      ],
      [
        'mysql-iam-proxy sync-targets --rds-endpoint database-1.… --target-group-arn ARN --watch',
        'Until it is stopped',
      ],
    ],
    docs: 'docs/sync-targets.md',
    async run({ flags, print, stop }) {
      const settings = resolveSettings(flags, process.env)
      const { syncTargets } = await import('./sync-targets.ts')
      return await syncTargets(settings, namesOfSettings(flags, process.env), print, stop)
    },
  },
  reload: {
    describe: 'Let a running proxy read its configuration again, as SIGHUP does',
    examples: [
      ['mysql-iam-proxy reload', 'The only proxy of this user'],
      ['mysql-iam-proxy reload --pid 4711', 'One of several'],
    ],
    docs: 'docs/configuration.md#reload',
    async run({ flags, stop, print }) {
      const { runningProxy } = await import('./running-proxy.ts')
      const { reload } = await import('./reload.ts')
      print(await reload(await runningProxy(resolveSettings(flags, process.env)), stop))
      return undefined
    },
  },
  upgrade: {
    describe:
      'Replace a running proxy by a new process, without an outage: its sessions live on, and no client is refused',
    examples: [
      ['mysql-iam-proxy upgrade', 'The only proxy of this user'],
      ['mysql-iam-proxy upgrade --pid 4711', 'One of several'],
    ],
    docs: 'docs/upgrade.md',
    async run({ flags, stop, print }) {
      const { runningProxy } = await import('./running-proxy.ts')
      const { upgradeProxy } = await import('./upgrade.ts')
      print(await upgradeProxy(await runningProxy(resolveSettings(flags, process.env)), stop))
      return undefined
    },
  },
  stop: {
    describe: 'Stop a running proxy, as SIGTERM does, and wait until it has stopped',
    examples: [
      ['mysql-iam-proxy stop', 'The only proxy of this user'],
      ['mysql-iam-proxy stop --pid 4711', 'One of several'],
    ],
    docs: 'docs/configuration.md#reload',
    async run({ flags, stop }) {
      const { runningProxy } = await import('./running-proxy.ts')
      const { stopProxy } = await import('./stop.ts')
      const say = (text: string) => process.stderr.write(`${text}\n`)
      await stopProxy(await runningProxy(resolveSettings(flags, process.env)), say, stop)
      return undefined
    },
  },
  service: {
    describe: 'Run the proxy in the background, from each login on: systemd, launchd or Task Scheduler',
    usage: 'install|uninstall|status|logs',
    maxWords: 1,
    choices: ['install', 'uninstall', 'status', 'logs'],
    examples: [
      ['mysql-iam-proxy service install --dry-run', 'What it would write'],
      ['mysql-iam-proxy service install --keep-env AWS_PROFILE', 'Serve the default configuration file'],
      ['mysql-iam-proxy service logs --follow', 'Its log'],
      ['mysql-iam-proxy service uninstall', 'Undo all of it'],
    ],
    docs: 'docs/service.md',
    async run(invocation) {
      const { service } = await import('./service.ts')
      return await service(invocation)
    },
  },
  demo: {
    describe: 'Try it without an AWS account, on a stand-in for RDS',
    examples: [['mysql-iam-proxy demo', 'A complete login, step by step; then log in yourself']],
    docs: 'README.md',
    async run({ flags, print, stop }) {
      const settings = resolveSettings(flags, process.env)
      const { runDemo } = await import('./demo.ts')
      await runDemo({ listen: settings.listen, keepUp: true, print, signal: stop })
      return 0 // Ctrl-C is the usual end of a demo
    },
  },
  completion: {
    describe: 'Print the completion script of your shell',
    usage: '[bash|zsh|fish|powershell]',
    maxWords: 1,
    choices: ['bash', 'zsh', 'fish', 'powershell'],
    examples: [
      ['source <(mysql-iam-proxy completion bash)', 'For this session of bash'],
      ['mysql-iam-proxy completion fish > ~/.config/fish/completions/mysql-iam-proxy.fish', 'For fish, for good'],
    ],
    docs: 'docs/command-line.md#completions',
    async run({ words, environment }) {
      const { completionScript } = await import('./completion.ts')
      process.stdout.write(completionScript(words[0], environment))
      return undefined
    },
  },
  help: {
    describe: 'Show how to use a command',
    usage: '[COMMAND]',
    completes: 'commands',
    maxWords: 1,
    examples: [['mysql-iam-proxy help check', 'The same as mysql-iam-proxy check --help']],
    async run({ words, print }) {
      const { commandNamed, helpFor } = await import('./help.ts')
      print(helpFor(commandNamed(words[0], COMMANDS), COMMANDS))
      return undefined
    },
  },
}
