import { test } from 'tap'
import { selectClients } from './select.ts'

const clients = ['mysql of npm', 'mysql, the program', "mysql's programs", 'Bun.SQL', 'Bun.SQL 1.3.5'].map(name => ({
  name,
}))
const select = (...texts: string[]) => selectClients(clients, texts).map(({ name }) => name)

test('a text selects the clients whose names contain it, in their order', t => {
  t.same(select('program'), ['mysql, the program', "mysql's programs"])
  t.same(select('Bun', 'of npm'), ['mysql of npm', 'Bun.SQL', 'Bun.SQL 1.3.5'])
  t.end()
})

test('a whole name selects only its client, also with a comma in it', t => {
  t.same(select('mysql, the program'), ['mysql, the program'])
  t.same(select('Bun.SQL'), ['Bun.SQL'])
  t.end()
})

test('a text that selects nothing is an error', t => {
  t.throws(() => select('mysql of npm,Bun'), { message: /no client has the name mysql of npm,Bun/ })
  t.end()
})
