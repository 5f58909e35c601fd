import { build } from 'esbuild'

await build({
  entryPoints: ['app.js'],
  outfile: 'dist/esbuild.mjs',
  bundle: true,
  platform: 'node',
  format: 'esm',
  minify: true,
})
