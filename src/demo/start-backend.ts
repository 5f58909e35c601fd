/** Chooses the backend: a real server if this machine has one, else the built-in one. */
import { type Backend, DEMO_DATABASE } from './backend.ts'
import { createBuiltinBackend } from './builtin-backend.ts'
import { findProgram, startDatabase } from './mysqld.ts'

export interface BackendOptions {
  /** 'builtin' skips the search for a server; 'auto' by default */
  kind?: 'auto' | 'builtin'
  /** stops the start and removes all files */
  signal?: AbortSignal | undefined
}

/** Starts a real server if there is one, else the built-in one. Rejects only when `signal` aborts. */
export async function startBackend({ kind = 'auto', signal }: BackendOptions = {}): Promise<Backend> {
  if (kind === 'builtin') return createBuiltinBackend(DEMO_DATABASE)
  const binary = findProgram('mariadbd') ?? findProgram('mysqld')
  if (binary === undefined)
    return { ...createBuiltinBackend(DEMO_DATABASE), fallback: 'this machine has no mariadbd or mysqld' }
  try {
    return await startDatabase(binary, signal)
  } catch (error) {
    signal?.throwIfAborted()
    const reason = error instanceof Error ? error.message : String(error)
    return { ...createBuiltinBackend(DEMO_DATABASE), fallback: `${binary} did not start: ${reason.split('\n')[0]}` }
  }
}
