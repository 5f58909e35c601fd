/** Mutants that no test can notice, as describeMutant() names them, with the reason. They do not count. */
export const EQUIVALENT: readonly { file: string; mutant: string; why: string }[] = [
  {
    file: 'src/protocol/auth.ts',
    mutant: 'if ( «left.length !== right.length → false» ) return undefined',
    why: 'an answer of another length has another hash, and is wrong anyway',
  },
]
