import { test } from 'tap'
import { type Descriptions, databasesIn } from '../../src/list/databases.ts'

const SCOPE = { profile: 'dev', region: 'eu-west-1' }
const NOTHING: Descriptions = { instances: [], clusters: [], proxies: [], proxyEndpoints: [] }

test('answers with nothing but what RDS always sends', t => {
  const found = databasesIn(
    {
      instances: [{}, { Endpoint: { Address: 'DB.Example' } }],
      clusters: [{ Endpoint: 'c.example' }, {}],
      proxies: [{ EngineFamily: 'MYSQL' }, { EngineFamily: 'MYSQL', Endpoint: 'p.example', DBProxyName: 'p' }, {}],
      proxyEndpoints: [{ DBProxyName: 'p' }, { DBProxyName: 'p', DBProxyEndpointName: 'ro', Endpoint: 'ro.example' }],
    },
    SCOPE,
  )
  t.same(
    found.map(({ kind, engine, status, iam, public: isPublic, account }) => [
      ...[kind, engine, status, iam, isPublic, account],
    ]),
    [
      ['instance', 'unknown', 'unknown', 'unknown', undefined, undefined],
      ['instance', 'unknown', 'unknown', 'unknown', undefined, undefined],
      ['cluster', 'unknown', 'unknown', 'unknown', undefined, undefined],
      ['cluster', 'unknown', 'unknown', 'unknown', undefined, undefined],
      ['proxy', 'mysql', 'unknown', 'unknown', false, undefined],
      ['proxy', 'mysql', 'unknown', 'unknown', false, undefined],
    ],
  )
  const endpoints = found.flatMap(database => database.endpoints)
  t.same(
    endpoints.map(({ host, port }) => `${host}:${port}`),
    ['db.example:3306', 'c.example:3306', 'p.example:3306', 'ro.example:3306'],
  )
  t.end()
})

test('whether a cluster is public: of Aurora, its instances say it', t => {
  const member = (PubliclyAccessible: boolean) => ({
    DBClusterIdentifier: 'c',
    Engine: 'aurora-mysql',
    PubliclyAccessible,
  })
  const publicOf = (Engine: string, PubliclyAccessible: boolean | undefined, ...members: boolean[]) => {
    const clusters = [
      { DBClusterIdentifier: 'c', Engine, ...(PubliclyAccessible === undefined ? {} : { PubliclyAccessible }) },
    ]
    const found = databasesIn({ ...NOTHING, clusters, instances: members.map(member) }, SCOPE)
    return found.find(({ kind }) => kind === 'cluster')?.public
  }
  t.equal(publicOf('aurora-mysql', false, false, true), true)
  t.equal(publicOf('aurora-mysql', undefined, false), false)
  t.equal(publicOf('aurora-mysql', false), undefined)
  t.equal(publicOf('mysql', true, false), true)
  t.equal(publicOf('mysql', false, true), false)
  t.end()
})
