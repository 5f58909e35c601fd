import webpack from 'webpack'

const config = {
  mode: 'production',
  target: 'node20',
  entry: './app.js',
  optimization: { minimize: false }, // a server gains nothing from it
  experiments: { outputModule: true },
  output: { path: `${process.cwd()}/dist`, filename: 'webpack.mjs', chunkFilename: 'webpack-[id].mjs', module: true },
}

webpack(config, (error, stats) => {
  if (error) throw error
  if (stats.hasErrors()) throw new Error(stats.toString({ all: false, errors: true }))
})
