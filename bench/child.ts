/** Runs work in a separate Node.js process, so that the client does not disturb the measurement. */
import { fork } from 'node:child_process'

type Reply = { result: unknown } | { error: string }

/** Runs a task in `file`, which must call `answer`. */
export function inChild<Task, Result>(file: URL, task: Task): Promise<Result> {
  return new Promise((resolve, reject) => {
    const child = fork(file, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
    child.send(task as object)
    child.on('message', (reply: Reply) => {
      if ('error' in reply) reject(new Error(reply.error))
      else resolve(reply.result as Result)
    })
    child.on('error', reject)
    child.on('exit', code => reject(new Error(`the client exited with ${code}`)))
  })
}

/** The child's side. */
export function answer<Task>(work: (task: Task) => Promise<unknown>): void {
  process.once('message', task => {
    const reply = (reply: Reply) => process.send!(reply, () => process.exit())
    work(task as Task).then(
      result => reply({ result }),
      (error: Error) => reply({ error: error.message }),
    )
  })
}
