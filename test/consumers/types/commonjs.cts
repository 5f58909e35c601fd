/** TypeScript 5.8 and newer let a CommonJS file require an ES module. */
import proxies = require('mysql-iam-proxy')

export const proxy: proxies.Proxy = proxies.createProxy({
  rdsEndpoint: 'database-1.abcdefghijkl.eu-west-1.rds.amazonaws.com',
})
