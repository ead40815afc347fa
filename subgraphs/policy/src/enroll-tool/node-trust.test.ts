import { newSshKeyPair } from '@berth/platform/ssh-certificate'
import { expect, test } from 'vitest'
import { nodeTrust } from './node-trust.ts'

const keys = { user: newSshKeyPair().publicKey, node: newSshKeyPair().publicKey }

test('the node authority is trusted for administration, of this node and by its account, alone', () => {
  const files = nodeTrust({ name: 'gpu-1', username: 'berth' }, keys)
  const lines = files['/etc/ssh/sshd_config.d/10-berth.conf']
  expect(files['/etc/ssh/berth/administration_keys']).toBe(
    `cert-authority,restrict,principals="admin@gpu-1" ${keys.node}\n`,
  )
  expect(lines?.split('Match User berth')[0]).not.toContain('administration_keys')
  expect(files['/etc/ssh/berth/user_authority.pub']).toBe(`${keys.user}\n`)
})

test.each([
  ['a name with a blank', 'gpu 1', 'berth'],
  ['a name that ends the list of principals', 'gpu-1",command="x', 'berth'],
  ['an account that ends its line', 'gpu-1', 'berth\nPermitRootLogin yes'],
])('%s is refused', (_what, name, username) => {
  expect(() => nodeTrust({ name, username }, keys)).toThrow(/Name the/)
})
