/** Words of command lines that people copy into their shell. */

/**
 * `text` as one word: of a POSIX shell, or on Windows of PowerShell and cmd.exe as far as they agree. Only PowerShell takes
 * a text with $, ` or a quotation mark literally, so those are in its quotes.
 * https://learn.microsoft.com/en-us/powershell/module/microsoft.powershell.core/about/about_quoting_rules
 */
export function shellWord(text: string, platform: NodeJS.Platform = process.platform): string {
  if (platform !== 'win32') return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`
  if (/^[\w+:./\\=-][\w@+:./\\=-]*$/.test(text)) return text
  // Programs read \" as a quotation mark, so a backslash before the last one is doubled.
  if (!/["$`“”„]/.test(text)) return `"${text.replace(/\\+$/, '$&$&')}"`
  return powerShellLiteral(text)
}

/** A text that PowerShell takes literally. It has several characters for a single quote. */
export function powerShellLiteral(text: string): string {
  return `'${text.replace(/['‘’‚‛]/g, '$&$&')}'`
}

/** The words of a command as one line. */
export function shellLine(words: readonly string[], platform: NodeJS.Platform = process.platform): string {
  return words.map(word => shellWord(word, platform)).join(' ')
}

/** A command with one option per line for a POSIX shell. On Windows it is one line: PowerShell and cmd.exe continue lines differently. */
export function shellLines(
  command: string,
  options: readonly string[],
  platform: NodeJS.Platform = process.platform,
): string {
  return [command, ...options].join(platform === 'win32' ? ' ' : ' \\\n  ')
}
