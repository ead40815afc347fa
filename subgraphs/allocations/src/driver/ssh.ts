import { readFileSync } from 'node:fs'
import path from 'node:path'
import type { DialGuard } from '@berth/platform/dial-guard'
import { type Id, isId } from '@berth/platform/ids'
import { connectSsh } from '@berth/platform/ssh'
import { newSshKeyPair } from '@berth/platform/ssh-certificate'
import { z } from 'zod'
import type { Driver, DriverCall, Login, OnBehalf } from './port.ts'

/** What this driver asks of other services. */
export type NodeAccess = {
  /** How to reach a node; `username` is whom both the platform and people log in as. */
  endpoint(nodeId: Id<'nod'>, by?: OnBehalf): Promise<Login>
  /** Certifies a key for node administration, for one connection. */
  certify(publicKey: string, principal: string, by?: OnBehalf): Promise<string>
}

// The sum stays below DRIVER_CALL_SECONDS: two commands of 5 s, dialing, logging in, the call itself.
// A call waits up to 30 s for another's lock on the node.
const CONNECT_SECONDS = 10
const CALL_SECONDS = 45
const OUTPUT_BYTES = 256 * 1024

const script = readFileSync(path.join(import.meta.dirname, 'node-account.sh'), 'utf8')

/**
 * Bare metal over SSH: node-account.sh goes to the node's shell with one call at its end, on a
 * connection of its own with a certificate made for it.
 */
export function createSshDriver({
  access,
  dial,
}: {
  access: NodeAccess
  dial: DialGuard['connect']
}): Driver {
  return {
    async create({ allocationId, nodeId, gpuIndexes, publicKeys }, call) {
      const login = await access.endpoint(nodeId, call?.by)
      const { nodeName } = login
      const line = `berth_create ${word(allocationId)} ${word(nodeName)} ${gpuIndexes.map(Number).join(',')} <<'KEYS'\n${publicKeys.map(keyLine).join('')}KEYS`
      const report = one(await run(login, line, call), allocationId)
      if (report.state !== 'present') throw new Error('the node did not make the account')
      return login
    },

    async verify({ allocationId, nodeId, publicKeys }, call) {
      const login = await access.endpoint(nodeId, call?.by)
      const report = one(await run(login, `berth_verify ${word(allocationId)}`, call), allocationId)
      return report.state === 'present' && report.keys === publicKeys.length
    },

    async clean({ allocationId, nodeId }, call) {
      const login = await access.endpoint(nodeId, call?.by)
      const report = one(await run(login, `berth_clean ${word(allocationId)}`, call), allocationId)
      return report.state === 'absent'
    },

    async list(nodeId, call) {
      const login = await access.endpoint(nodeId, call?.by)
      const reports = await run(login, 'berth_list', call)
      return reports.filter((it) => it.state !== 'absent').map((it) => it.allocationId)
    },
  }

  async function run(
    login: Login,
    line: string,
    { by, signal }: DriverCall = {},
  ): Promise<Report[]> {
    const { privateKey, publicKey } = newSshKeyPair()
    const certificate = await access.certify(publicKey, `admin@${login.nodeName}`, by)
    signal?.throwIfAborted()
    const connection = await connectSsh({
      target: { host: login.host, port: login.port, dial },
      username: login.username,
      hostKeySha256: login.hostKeyFingerprint,
      privateKey,
      certificate,
      timeoutSeconds: CONNECT_SECONDS,
    })
    signal?.addEventListener('abort', connection.close)
    try {
      signal?.throwIfAborted()
      const result = await connection.exec('sh -s', {
        stdin: `${script}\n${line}\n`,
        timeoutSeconds: CALL_SECONDS,
        maxBytes: OUTPUT_BYTES,
      })
      if (result.code !== 0) throw new NodeCallFailed(result.code, result.stderr)
      return result.stdout.split('\n').filter(Boolean).map(parseReport)
    } finally {
      signal?.removeEventListener('abort', connection.close)
      connection.close()
    }
  }
}

/** The node's shell answered with a status: 64 malformed, 75 busy, others failed. */
export class NodeCallFailed extends Error {
  override readonly name = 'NodeCallFailed'
  readonly status: number
  constructor(status: number, stderr: string) {
    super(`the node's call ended with status ${status}: ${stderr.trim().slice(0, 300)}`)
    this.status = status
  }
}

const Report = z.object({
  allocationId: z.custom<Id<'alc'>>((it) => isId('alc', it)),
  state: z.enum(['present', 'partial', 'absent']),
  gpus: z.array(z.int()),
  keys: z.int(),
  processes: z.int(),
})
type Report = z.infer<typeof Report>

function parseReport(line: string): Report {
  return Report.parse(JSON.parse(line))
}

function one(reports: Report[], allocationId: Id<'alc'>): Report {
  const [report] = reports
  if (report?.allocationId !== allocationId || reports.length !== 1) {
    throw new Error('the node answered for something else')
  }
  return report
}

/** It stands in a shell's input: no quoting is needed where nothing can need it. */
function word(text: string): string {
  if (!/^[a-z0-9][a-z0-9._-]*$/.test(text)) throw new RangeError('not a plain word')
  return text
}

function keyLine(publicKey: string): string {
  if (!/^[a-z0-9@.-]+ [A-Za-z0-9+/]+=*$/.test(publicKey)) throw new RangeError('not a key line')
  return `${publicKey}\n`
}
