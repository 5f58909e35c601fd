/** A real server where this machine has one; else the small built-in one. */
import { type Backend, DEMO_DATABASE } from './backend.ts'
import { createBuiltinBackend } from './builtin-backend.ts'
import { findProgram, startServer } from './mysqld.ts'

export interface BackendOptions {
  /** 'builtin': don't look for a server; 'auto' by default */
  kind?: 'auto' | 'builtin'
  /** gives up starting, and removes everything */
  signal?: AbortSignal | undefined
}

/** A real server if there is one and it starts; else the built-in one. Rejects only where `signal` says so. */
export async function startBackend({ kind = 'auto', signal }: BackendOptions = {}): Promise<Backend> {
  if (kind === 'builtin') return createBuiltinBackend(DEMO_DATABASE)
  const binary = findProgram('mariadbd') ?? findProgram('mysqld')
  if (binary === undefined)
    return { ...createBuiltinBackend(DEMO_DATABASE), fallback: 'no mariadbd or mysqld on this machine' }
  try {
    return await startServer(binary, signal)
  } catch (error) {
    signal?.throwIfAborted()
    const reason = error instanceof Error ? error.message : String(error)
    return { ...createBuiltinBackend(DEMO_DATABASE), fallback: `${binary} did not start: ${reason.split('\n')[0]}` }
  }
}
