/** Old spellings from before 1.0, with their new names. */

const OPTIONS: Readonly<Record<string, string>> = {
  gather: 'collect-answers',
  confirm: 'confirmations',
  keep: 'keep-target',
  name: 'endpoint',
}

const CODES: Readonly<Record<string, string>> = {
  OUT_OF_FILES: 'FILE_LIMIT_REACHED',
  CLIENT_WANTS_TLS: 'CLIENT_TLS_NOT_OFFERED',
  CLIENT_SLOWED_DOWN: 'CLIENT_THROTTLED',
  CHANGE_USER_COMPRESSED: 'CHANGE_USER_UNSUPPORTED',
  LOCAL_LEG_FAILED: 'PROXY_LOGIN_FAILED',
  WRITER_IS_READ_ONLY: 'SERVER_READ_ONLY',
  NOT_WRITER: 'SERVER_NOT_WRITER',
  SYNC_TARGET_GROUP: 'SYNC_TARGET_GROUP_INVALID',
}

/** The present name of an option; undefined where the option was never renamed. */
export function newOptionName(old: string): string | undefined {
  return Object.hasOwn(OPTIONS, old) ? OPTIONS[old] : undefined
}

/** The present name of an error code; undefined where the code was never renamed. */
export function newErrorCode(old: string): string | undefined {
  return Object.hasOwn(CODES, old) ? CODES[old] : undefined
}

export const renamedOptions = Object.keys(OPTIONS)
export const renamedCodes = Object.keys(CODES)
