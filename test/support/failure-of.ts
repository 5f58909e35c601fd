import { ProxyError } from '../../src/errors.ts'

/** The error that `work` fails with. Anything else than a ProxyError is thrown. */
export async function failureOf(work: Promise<unknown>): Promise<ProxyError> {
  const thrown = await work.then(
    () => new Error('it did not fail'),
    (error: unknown) => error,
  )
  if (thrown instanceof ProxyError) return thrown
  throw thrown
}
