import commonjs from '@rollup/plugin-commonjs'
import json from '@rollup/plugin-json'
import { nodeResolve } from '@rollup/plugin-node-resolve'

export default {
  input: 'app.js',
  output: { dir: 'dist', entryFileNames: 'rollup.mjs', chunkFileNames: 'rollup-[name].mjs', format: 'es' },
  plugins: [nodeResolve({ preferBuiltins: true, exportConditions: ['node'] }), commonjs(), json()],
}
