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
  {
    file: 'src/upstream/tls.ts',
    mutant: 'const names = entries.flatMap(name => «/^DNS:(.+)$/ → /^DNS:(.+)/» .exec(name)?.[1] ?? [])',
    why: 'a name on a certificate has no line break, so both take the whole entry',
  },
  {
    file: 'src/upstream/circuit-breaker.ts',
    mutant: 'if ( «user !== undefined → true» ) check(user, login)',
    why: 'there is no circuit by the name undefined',
  },
  {
    file: 'src/upstream/circuit-breaker.ts',
    mutant: 'if ( «key === undefined → false» ) return',
    why: 'nobody looks up the circuit by the name undefined; it takes one place of 1,000',
  },
  {
    file: 'src/upstream/circuit-breaker.ts',
    mutant: 'error, failures: 0, lastFailure: now, openMs: 0, openUntil: «0 → 1» , probe: undefined, wallOffset: 0 }',
    why: 'the time is read only while openMs is set, and is set with it',
  },
  {
    file: 'src/upstream/circuit-breaker.ts',
    mutant: 'const startedBefore = circuit.openMs > «0 → 1» && circuit.probe !== login',
    why: 'openMs is 0, or 1,000 and more',
  },
  {
    file: 'src/upstream/circuit-breaker.ts',
    mutant: "EFUSED_LOGIN' && USER_ERRNOS.has(error.serverError?.errno ?? «0 → 1» )",
    why: 'neither is the number of an error of the user',
  },
  {
    file: 'src/upstream/rate-limiter.ts',
    mutant: "disconnected.addEventListener('abort', onDisconnect, { once: «true → false» })",
    why: 'a signal aborts once',
  },
  {
    file: 'src/protocol/command-scanner.ts',
    mutant: 'while (offset «< → <=» end) {',
    why: 'at the end of the chunk, too little is left for a header',
  },
  {
    file: 'src/protocol/compressed-command-scanner.ts',
    mutant: 'sequence: «0 → 1» ,',
    why: 'it is set by the first frame, before anything reads it',
  },
  {
    file: 'src/protocol/compressed-command-scanner.ts',
    mutant: 'let start = seen > «0 → 1» ? 0 : -1',
    why: 'what was seen is 0, or at least a header of 7 bytes',
  },
  {
    file: 'src/protocol/compressed-command-scanner.ts',
    mutant: 'let start = seen > 0 ? 0 : - «1 → 2»',
    why: 'any negative number says the same',
  },
  {
    file: 'src/protocol/compressed-command-scanner.ts',
    mutant: 'if ( «frame.claimed > 0 → true» ) inflater.reset()',
    why: 'a reset before a stream begins does nothing',
  },
  {
    file: 'src/protocol/compressed-command-scanner.ts',
    mutant: 'if (frame.claimed «> → >=» 0) inflater.reset()',
    why: 'a reset before a stream begins does nothing',
  },
  {
    file: 'src/protocol/compressed-command-scanner.ts',
    mutant: 'let sequence = «0 → 1»',
    why: 'it is set by the first frame, before anything reads it',
  },
  {
    file: 'src/protocol/compressed-command-scanner.ts',
    mutant: 'let isAtFrameStart = «true → false»',
    why: 'it is set by the first frame, before anything reads it',
  },
  {
    file: 'src/protocol/compressed-command-scanner.ts',
    mutant: 'let isCommandNext = «false → true»',
    why: 'it is set by the first header, before anything reads it',
  },
  {
    file: 'src/protocol/compressed-command-scanner.ts',
    mutant: 'isCommandNext = length «> → >=» 0 && !continued && !inFile',
    why: 'behind an empty packet comes a header, which sets it again',
  },
  {
    file: 'src/protocol/compressed-command-scanner.ts',
    mutant: 'return - «1 → 2»',
    why: 'any negative number says the same',
  },
  {
    file: 'src/client/local-users.ts',
    mutant: 'const secret = randomBytes( «32 → 33» )',
    why: 'a secret of either length is unknown to clients',
  },
  {
    file: 'src/client/local-users.ts',
    mutant: "teHmac('sha256', secret).update(name).digest().readUInt32LE( «0 → 1» ) % count",
    why: 'any four bytes of the digest are as random',
  },
  {
    file: 'src/client/local-users.ts',
    mutant: 'if ( «sha2 → false» ) return timingSafeEqual(sha2Digest(password), sha2)',
    why: 'a user with sha2 and no stored hash has native too',
  },
  {
    file: 'src/upstream/tls.ts',
    mutant: '...( «session → true» ? { session } : {}),',
    why: 'an undefined session is none',
  },
  {
    file: 'src/upstream/tls.ts',
    mutant: "«error instanceof Error && 'cert' in error → true» ? (error.cert ) : undefined",
    why: 'an error without a certificate has none to name',
  },
  {
    file: 'src/upstream/tls.ts',
    mutant: "error instanceof Error «&& → ||» 'cert' in error ? (error.cert ) : undefined",
    why: 'all that is thrown here is an Error',
  },
  {
    file: 'src/upstream/tls.ts',
    mutant: 'if ( «!(error instanceof Error) → false» ) return String(error)',
    why: 'all that is thrown here is an Error',
  },
  {
    file: 'src/upstream/tls.ts',
    mutant: "return 'reason' in error «&& → ||» typeof error.reason === 'string' ? error.reason : systemCode",
    why: 'the reasons of OpenSSL are strings',
  },
  {
    file: 'src/client/login-throttle.ts',
    mutant: 'const hasRoom = () => used + 1 «<= → <» MAX_WRONG_PASSWORDS + 1e-6 // refill adds fractions',
    why: 'the millionth is only a margin',
  },
  {
    file: 'src/protocol/inflate.ts',
    mutant: 'export const hasZstd = createZstdDecompress !== undefined «&& → ||» zstdDecompressSync !== undefined',
    why: 'a Node.js has both or neither',
  },
  {
    file: 'src/protocol/inflate.ts',
    mutant: "if ( «!stream → false» ) throw new MalformedPacket('zstd, which was not offered')",
    why: 'the mutants run on Node.js 24, which has zstd; on Node.js 20 a test fails',
  },
  {
    file: 'src/protocol/inflate.ts',
    mutant: "if (!stream) «throw new MalformedPacket('zstd, which was not offered') → ;»",
    why: 'the mutants run on Node.js 24, which has zstd; on Node.js 20 a test fails',
  },
  {
    file: 'src/protocol/inflate.ts',
    mutant: 'const options = { maxOutputLength: Math.max( «1 → 2» , length) }',
    why: 'the length is checked afterwards',
  },
  {
    file: 'src/client/access.ts',
    mutant: "return address => isIP(address) !== «0 → 1» && list.check(address, isIPv4(address) ? 'ipv4' : 'ipv6')",
    why: 'check() finds no text that is not an address',
  },
  {
    file: 'src/client/access.ts',
    mutant: "ess) !== 0 && list.check(address, isIPv4(address) ? 'ipv4' : «'ipv6' → ''» )",
    why: 'the mutants run on Node.js 24, which takes every other family for IPv6; on Node.js 20 a test fails',
  },
  {
    file: 'src/aws/redact.ts',
    mutant: ".split('\\n', «1 → 2» )[0]",
    why: 'only the first part is taken',
  },
  {
    file: 'src/upstream/bundle-cache.ts',
    mutant: 'await rm(draft, { force: «true → false» }).catch(() => {})',
    why: 'the error is ignored',
  },
  {
    file: 'src/upstream/bundle-cache.ts',
    mutant: 'const draft = join(folder, `.$' + '{region}-$' + "{randomBytes( «8 → 9» ).toString('hex')}`)",
    why: 'a random name of either length is new',
  },
  {
    file: 'src/upstream/bundle-cache.ts',
    mutant: "const handle = await open(draft, 'wx', «0o644 → 421» )",
    why: 'chmod sets the permissions before the first byte is written',
  },
  {
    file: 'src/upstream/bundle-cache.ts',
    mutant: '«await handle.datasync() → ;»',
    why: 'only a power failure shows it',
  },
  {
    file: 'src/upstream/rds-bundle.ts',
    mutant: 'const name = «/^CN=(Amazon RDS .*)/m → /CN=(Amazon RDS .*)/m» .exec(certificate.subject)?.[1]',
    why: 'the certificates are those of a package; none has such a text inside another field',
  },
  {
    file: 'src/upstream/region-bundle.ts',
    mutant: 'const old = «folder === undefined → false» ? NO_BUNDLE : await readBundle(folder, region).catch(() => N',
    why: 'without a folder, readBundle() fails, which means the same',
  },
  {
    file: 'src/net/tunnel.ts',
    mutant: "const method = await read(tunnel, «'greeting' → ''» , bytes => {",
    why: 'only the other two steps are compared',
  },
  {
    file: 'src/aws/roles-anywhere-certificate.ts',
    mutant: 'return { digitalSignature: ((bits .content[1] ?? «0 → 1» ) & 0x80) !== 0 }',
    why: 'only the first bit counts, which neither has',
  },
  {
    file: 'src/aws/roles-anywhere-certificate.ts',
    mutant: 'for (let at = 0; at «< → <=» der.length; ) {',
    why: 'behind the last element it finds one without a tag, which nobody looks for',
  },
  {
    file: 'src/aws/roles-anywhere-certificate.ts',
    mutant: 'const lengthBytes = first «< → <=» 0x80 ? 0 : first & 0x7f',
    why: 'DER has no length 0x80',
  },
  {
    file: 'src/aws/roles-anywhere-certificate.ts',
    mutant: 'const lengthBytes = first < «0x80 → 129» ? 0 : first & 0x7f',
    why: 'DER has no length 0x80',
  },
  {
    file: 'src/upstream/abandon.ts',
    mutant: "const packet = await readPacket(wire, «'the refusal of the login' → ''» )",
    why: 'the error that it would name is ignored',
  },
  {
    file: 'src/proxy/change-user.ts',
    mutant: "const question = await readPacket(upstream, «'AuthSwitchRequest' → ''» )",
    why: 'the packet is in the socket: no error names it',
  },
  {
    file: 'src/proxy/change-user.ts',
    mutant:
      "const { authPlugin } = parsed(upstream, «'AuthSwitchRequest' → ''» , () => parseAuthSwitchRequest(question))",
    why: 'authSwitchRequestAt() has found that it is well-formed: no error names it',
  },
  {
    file: 'src/proxy/change-user.ts',
    mutant: "client.read( «0 → 1» ) // 'end' is emitted only after a read",
    why: 'there is nothing to read',
  },
  {
    file: 'src/proxy/change-user.ts',
    mutant: 'if (at «< → <=» 0 && !pipelined && isOK_Packet(chunk)) {',
    why: 'an AuthSwitchRequest at 0 is no OK_Packet',
  },
  {
    file: 'src/proxy/change-user.ts',
    mutant: 'if (at < «0 → 1» && !pipelined && isOK_Packet(chunk)) {',
    why: 'an AuthSwitchRequest at 0 is no OK_Packet',
  },
  {
    file: 'src/proxy/change-user.ts',
    mutant: "settle( «'asked' → ''» )",
    why: 'the other three results are compared',
  },
  {
    file: 'src/aws/https-agent.ts',
    mutant: 'const MAX_SOCKETS = «50 → 51»',
    why: 'a bound, whose exact value does not matter',
  },
  {
    file: 'src/aws/https-agent.ts',
    mutant: 'if ( «lastContext?.pem === pem → false» ) return lastContext.context',
    why: 'the cache only saves time',
  },
  {
    file: 'src/aws/https-agent.ts',
    mutant: "if ( «getCACertificates → true» ) return getCACertificates('default')",
    why: 'the mutants run on Node.js 24, which has getCACertificates(); the rest is for Node.js 20',
  },
  {
    file: 'src/aws/https-agent.ts',
    mutant: "return «pem === '' → false» ? tls.rootCertificates : [...tls.rootCertificates, pem]",
    why: 'the mutants run on Node.js 24, which has getCACertificates(); the rest is for Node.js 20',
  },
  {
    file: 'src/aws/https-agent.ts',
    mutant: "onst pem = extra ? await readFile(extra, 'utf8').catch(() => «'' → undefined» ) : ''",
    why: 'the mutants run on Node.js 24, which has getCACertificates(); the rest is for Node.js 20',
  },
  {
    file: 'src/client/tls.ts',
    mutant: "nst version = await versionOf(certFile, keyFile).catch(() => «'' → undefined» )",
    why: 'neither is the version of files that exist',
  },
  {
    file: 'src/aws/https-agent.ts',
    mutant: "return «pem === '' → true» ? tls.rootCertificates : [...tls.rootCertificates, pem]",
    why: 'the mutants run on Node.js 24, which has getCACertificates(); the rest is for Node.js 20',
  },
  {
    file: 'src/aws/https-agent.ts',
    mutant: "return pem === '' ? tls.rootCertificates : «[...tls.rootCertificates, pem] → []»",
    why: 'the mutants run on Node.js 24, which has getCACertificates(); the rest is for Node.js 20',
  },
  {
    file: 'src/upstream/circuit-breaker.ts',
    mutant: 'now, openMs: 0, openUntil: 0, probe: undefined, wallOffset: «0 → 1» }',
    why: 'it is set before anything reads it',
  },
  {
    file: 'src/aws/credentials.ts',
    mutant: 'if (!credentials.expiration «|| → &&» lifetime === undefined) return KEEP_WITHOUT_EXPIRY_MS + RENE',
    why: 'both are undefined, or neither',
  },
]
