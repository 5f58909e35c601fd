/** Mutants that no test can notice, as describeMutant() names them, with the reason. They do not count. */
export const EQUIVALENT: readonly { file: string; mutant: string; why: string }[] = [
  {
    file: 'src/protocol/auth.ts',
    mutant: 'if ( «left.length !== right.length → false» ) return undefined',
    why: 'an answer of another length has another hash, and is wrong anyway',
  },
  {
    file: 'src/protocol/last-packet.ts',
    mutant: 'k[offset] | (chunk[offset + 1] << 8) | (chunk[offset + 2] << «16 → 17» )',
    why: 'at most 600 bytes are looked at: a third byte that is not 0 never fits, wherever it goes',
  },
  {
    file: 'src/protocol/capabilities.ts',
    mutant: 'const COMPRESSION = CLIENT_COMPRESS | ( «hasZstd → true» ? CLIENT_ZSTD_COMPRESSION_ALGORITHM : 0)',
    why: 'the mutants run on Node.js 24, which has zstd; on Node.js 20 a test fails',
  },
]
