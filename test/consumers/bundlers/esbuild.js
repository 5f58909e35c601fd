import { build } from 'esbuild'

await build({
  entryPoints: ['app.js'],
  outfile: 'dist/esbuild.mjs',
  bundle: true,
  platform: 'node',
  format: 'esm',
  minify: true,
  // for packages that call require
  banner: { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url)" },
})
