import { createActor } from '@berth/platform/actor'
import { newId } from '@berth/platform/ids'
import { expect, test } from 'vitest'
import type { OnBehalf } from './port.ts'
import { createSshDriver } from './ssh.ts'

// How it works on a node: test/node/driver.test.ts.

const login = {
  nodeName: 'node-1',
  host: '192.0.2.10',
  port: 22,
  username: 'berth',
  hostKeyFingerprint: `SHA256:${'a'.repeat(43)}`,
}

function driver() {
  const asked: (OnBehalf | undefined)[] = []
  let dialed = 0
  const it = createSshDriver({
    access: {
      endpoint: async (_nodeId, by) => {
        asked.push(by)
        return login
      },
      certify: async (_publicKey, _principal, by) => {
        asked.push(by)
        return 'ssh-ed25519-cert-v01@openssh.com AAAA'
      },
    },
    dial: async () => {
      dialed += 1
      throw new Error('nobody answers')
    },
  })
  return { it, asked, dialed: () => dialed }
}

test('the certificate is asked for in the name of whom the call is made for', async () => {
  const actor = createActor({ kind: 'person', subject: newId('usr') })
  const by = { actor, requestId: 'request-1', traceparent: null }
  const of = { allocationId: newId('alc'), nodeId: newId('nod'), gpuIndexes: [0], publicKeys: [] }
  for (const call of ['create', 'verify', 'clean'] as const) {
    const { it, asked } = driver()
    await expect(it[call](of, { by })).rejects.toThrow('nobody answers')
    expect(asked).toEqual([by, by])
  }
})

test('a call whose outcome nobody wants any more does not reach the node', async () => {
  const { it, dialed } = driver()
  const of = { allocationId: newId('alc'), nodeId: newId('nod') }
  const signal = AbortSignal.abort(new Error('the lease was lost'))
  await expect(it.clean(of, { signal })).rejects.toThrow('the lease was lost')
  expect(dialed()).toBe(0)
})
