import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { DomainError } from '@berth/platform/errors'
import type { SshConnection } from '@berth/platform/ssh'
import { z } from 'zod'

/** The node's half, as the driver sends it. */
export const script = readFileSync(
  join(import.meta.dirname, '../../subgraphs/allocations/src/driver/node-account.sh'),
  'utf8',
)

const report = z.object({
  allocationId: z.string(),
  /** `partial` when a call was cut off: repeat create or clean. */
  state: z.enum(['present', 'partial', 'absent']),
  gpus: z.array(z.int()),
  keys: z.int(),
  /** Processes of the allocation that run now. */
  processes: z.int(),
})

/** What the node says about one allocation's account. */
export type NodeAccountReport = z.infer<typeof report>

export type NodeAccounts = {
  /** Makes the account or changes it: GPUs and keys become exactly these. */
  create(account: {
    allocationId: string
    nodeName: string
    gpuIndexes: readonly number[]
    /** `type base64`, as `parseSshPublicKey` returns them. */
    publicKeys: readonly string[]
  }): Promise<NodeAccountReport>
  verify(allocationId: string): Promise<NodeAccountReport>
  /** Ends its processes, removes its keys and home; `absent` when all is gone. */
  clean(allocationId: string): Promise<NodeAccountReport>
  list(): Promise<NodeAccountReport[]>
}

/**
 * The node-side contract (create account, bind GPUs, clean, verify) over one administration
 * connection, as far as tests need it. Throws a DomainError: BAD_INPUT for what the node found
 * malformed, UPSTREAM_UNAVAILABLE for the rest.
 */
export function nodeAccounts(ssh: Pick<SshConnection, 'exec'>, timeoutSeconds = 60): NodeAccounts {
  async function call(
    verb: string,
    args: readonly string[],
    stdin = '',
  ): Promise<NodeAccountReport[]> {
    const words = args.map((arg) => `'${plain(arg)}'`).join(' ')
    const input = `${script}\nberth_${verb} ${words} <<'END'\n${stdin}END\n`
    const { code, stdout, stderr } = await ssh.exec('sh -s', {
      stdin: input,
      timeoutSeconds,
      maxBytes: 1_000_000,
    })
    if (code !== 0) {
      const cause = new Error(`${verb} ended with ${code}: ${stderr.slice(-500)}`)
      if (code === MALFORMED)
        throw new DomainError('BAD_INPUT', 'The node refuses this.', { cause })
      throw new DomainError('UPSTREAM_UNAVAILABLE', 'The node could not do it: repeat.', { cause })
    }
    return stdout.split('\n').filter(Boolean).map(parseReport)
  }
  const one = async (verb: string, args: readonly string[], stdin?: string) => {
    const [found] = await call(verb, args, stdin)
    if (!found) throw new DomainError('UPSTREAM_UNAVAILABLE', 'The node did not answer: repeat.')
    return found
  }
  return {
    create: ({ allocationId, nodeName, gpuIndexes, publicKeys }) =>
      one(
        'create',
        [allocationId, nodeName, gpuIndexes.join(',')],
        publicKeys.map((key) => `${plain(key)}\n`).join(''),
      ),
    verify: (allocationId) => one('verify', [allocationId]),
    clean: (allocationId) => one('clean', [allocationId]),
    list: () => call('list', []),
  }
}

const MALFORMED = 64 // EX_USAGE of sysexits.h.

/** Only what a shell takes literally between single quotes, on one line, and no end of a here-document. */
function plain(text: string): string {
  if (!/^[\w@.,:=+/ -]*$/.test(text) || text === 'END') {
    throw new DomainError('BAD_INPUT', 'An id, a name or a key holds characters it may not.')
  }
  return text
}

function parseReport(line: string): NodeAccountReport {
  try {
    return report.parse(JSON.parse(line))
  } catch (cause) {
    throw new DomainError('UPSTREAM_UNAVAILABLE', 'The node answered nonsense: repeat.', { cause })
  }
}
