/** `npm run build` */
import { buildInto } from './package/npm.ts'
import { ROOT } from './package/project.ts'

await buildInto(ROOT)
