import { chownSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { type Account, assertReachable, privateDirectory } from './account.ts'
import type { Server } from './postgres.ts'
import { expectAnswer } from './probe.ts'
import type { Binary } from './provision.ts'

export type NatsOptions = {
  readonly home: string
  readonly binary: Binary
  readonly port: number
  readonly password: string
  readonly account: Account | undefined
}

const USER = 'berth'

/** NATS with JetStream on file storage. */
export function natsServer(options: NatsOptions): Server {
  const { home, binary, port, password, account } = options
  privateDirectory(home, account)
  assertReachable(home, account)
  const config = path.join(home, 'nats.conf')
  const text = `listen: "127.0.0.1:${port}"
server_name: "berth-${port}"
jetstream { store_dir: "${home}" }
authorization { user: "${USER}", password: "${password}" }
`
  writeFileSync(config, text, { mode: 0o600 })
  if (account) chownSync(config, account.uid, account.gid)
  const login = JSON.stringify({ user: USER, pass: password, verbose: false })
  return {
    url: `nats://${USER}:${password}@127.0.0.1:${port}`,
    program: {
      name: 'nats',
      file: binary.file,
      args: ['--config', config],
      env: binary.env,
      account,
      stopSignal: 'SIGTERM',
      stopSeconds: 10,
      readySeconds: 30,
      ready: () => expectAnswer(port, `CONNECT ${login}\r\nPING\r\n`, /"jetstream":true.*PONG/s),
    },
  }
}
