/** Mutants that no test can notice, as describeMutant() names them, with the reason. They do not count. */
export const EQUIVALENT: readonly { file: string; mutant: string; why: string }[] = []
