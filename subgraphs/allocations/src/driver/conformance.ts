import type { Id } from '@berth/platform/ids'
import { newId } from '@berth/platform/ids'
import { newSshKeyPair } from '@berth/platform/ssh-certificate'
import { describe, expect, test } from 'vitest'
import type { Driver, Placement } from './port.ts'

/** What every driver must hold, on a node that it may fill and that nobody else uses. */
export function testDriver(
  name: string,
  open: () =>
    | Promise<{ driver: Driver; nodeId: Id<'nod'> }>
    | { driver: Driver; nodeId: Id<'nod'> },
): void {
  describe(`driver ${name}`, () => {
    async function placed(fields: Partial<Placement> = {}) {
      const { driver, nodeId } = await open()
      const placement: Placement = {
        allocationId: newId('alc'),
        nodeId,
        gpuIndexes: [0],
        publicKeys: [newSshKeyPair().publicKey],
        ...fields,
      }
      return { driver, placement }
    }

    test('what was created can be verified, is listed, and says how to log in', async () => {
      const { driver, placement } = await placed()
      const login = await driver.create(placement)
      expect(login.username).not.toBe('')
      expect(login.hostKeyFingerprint).toMatch(/^SHA256:/)
      expect(await driver.verify(placement)).toBe(true)
      expect(await driver.list(placement.nodeId)).toContain(placement.allocationId)
      await driver.clean(placement)
    })

    test('creating again, with other keys, leaves the last ones alone', async () => {
      const { driver, placement } = await placed()
      await driver.create(placement)
      const again = { ...placement, publicKeys: [1, 2].map(() => newSshKeyPair().publicKey) }
      await driver.create(again)
      await driver.create(again)
      expect(await driver.verify(again)).toBe(true)
      const listed = await driver.list(placement.nodeId)
      expect(listed.filter((it) => it === placement.allocationId)).toHaveLength(1)
      await driver.clean(placement)
    })

    test('an allocation without keys is complete, for terminals', async () => {
      const { driver, placement } = await placed({ publicKeys: [] })
      await driver.create(placement)
      expect(await driver.verify(placement)).toBe(true)
      await driver.clean(placement)
    })

    test('cleaning confirms that nothing is left, however often, and of what never was', async () => {
      const { driver, placement } = await placed()
      expect(await driver.clean(placement)).toBe(true)
      await driver.create(placement)
      expect(await driver.clean(placement)).toBe(true)
      expect(await driver.clean(placement)).toBe(true)
      expect(await driver.verify(placement)).toBe(false)
      expect(await driver.list(placement.nodeId)).not.toContain(placement.allocationId)
    })

    test('cleaning one allocation leaves its neighbour', async () => {
      const { driver, placement } = await placed()
      const neighbour = { ...placement, allocationId: newId('alc'), gpuIndexes: [1] }
      await driver.create(placement)
      await driver.create(neighbour)
      expect(await driver.clean(placement)).toBe(true)
      expect(await driver.verify(neighbour)).toBe(true)
      expect(await driver.clean(neighbour)).toBe(true)
    })
  })
}
