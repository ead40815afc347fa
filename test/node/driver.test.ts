import { testDriver } from '@berth/allocations/driver/conformance'
import { createSshDriver } from '@berth/allocations/driver/ssh'
import { createDialGuard } from '@berth/platform/dial-guard'
import { newId } from '@berth/platform/ids'
import { connectSsh } from '@berth/platform/ssh'
import { newSshKeyPair, signSshCertificate } from '@berth/platform/ssh-certificate'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openTestNode, type TestNode } from './test-node.ts'

let node: TestNode
const nodeId = newId('nod')
beforeAll(async () => {
  node = await openTestNode()
})
afterAll(() => node.remove())

testDriver('ssh', open)

test('a person logs in with the installed key, into the allocation and no further', async () => {
  const { driver, dial } = await open()
  const { privateKey, publicKey } = newSshKeyPair()
  const allocationId = newId('alc')
  const placement = { allocationId, nodeId, gpuIndexes: [0], publicKeys: [publicKey] }
  const { host, port, username, hostKeyFingerprint } = await driver.create(placement)
  const login = () =>
    connectSsh({
      target: { host, port, dial },
      username,
      hostKeySha256: hostKeyFingerprint,
      privateKey,
      timeoutSeconds: 10,
    })
  const ssh = await login()
  const { stdout } = await ssh.exec('echo $CUDA_VISIBLE_DEVICES; basename $HOME', {
    timeoutSeconds: 10,
    maxBytes: 1_000,
  })
  expect(stdout.trim().split('\n')).toEqual(['0', allocationId])
  ssh.close()
  expect(await driver.clean(placement)).toBe(true)
  await expect(login()).rejects.toMatchObject({ failure: 'REFUSED' })
})

async function open() {
  const { host, port, username, name } = node
  const { connect: dial } = createDialGuard({
    allowedCidrs: [],
    exceptions: [`${host}:${port}`],
    production: false,
  })
  const probe = await node.login('node', `admin@${name}`)
  const { hostKeySha256: hostKeyFingerprint } = probe
  probe.close()
  const driver = createSshDriver({
    dial,
    access: {
      endpoint: async () => ({ nodeName: name, host, port, username, hostKeyFingerprint }),
      certify: async (publicKey, principal) =>
        signSshCertificate({
          caPrivateKey: node.authorities.node,
          publicKey,
          keyId: 'test',
          principals: [principal],
          validAfter: new Date(Date.now() - 60_000),
          validBefore: new Date(Date.now() + 60_000),
          extensions: [],
          serial: 1n,
        }),
    },
  })
  return { driver, dial, nodeId }
}
