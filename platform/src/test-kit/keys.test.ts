import { existsSync } from 'node:fs'
import { expect, test } from 'vitest'
import { loadKeys } from '../trusted-keys.ts'
import { testKeys } from './keys.ts'

test('every service finds its keys, and knows the others’', () => {
  const kit = testKeys(['gateway', 'inventory'])
  const gateway = loadKeys(kit.dir, 'gateway')
  const inventory = loadKeys(kit.dir, 'inventory')
  expect(gateway.privateJwk.kid).toBe('gateway-1')
  expect(inventory.jwks.keys.map(({ kid }) => kid)).toEqual(['gateway-1', 'inventory-1'])
  expect(inventory.keks.keys[inventory.keks.current]).toHaveLength(32)
  expect(gateway.cursorKey).toEqual(inventory.cursorKey)
  kit.remove()
  expect(existsSync(kit.dir)).toBe(false)
})
