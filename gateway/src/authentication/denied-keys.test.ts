import { DomainError } from '@berth/platform/errors'
import { createLog } from '@berth/platform/log'
import { createMetrics } from '@berth/platform/metrics'
import type { Concern } from '@berth/platform/revocations'
import { beforeEach, expect, test, vi } from 'vitest'
import { createDeniedKeys, type DeniedKeys } from './denied-keys.ts'
import { CredentialRefused } from './issuer.ts'

const log = createLog({ service: 'test', instance: 'test', level: 'silent' })
const UNAVAILABLE = { code: 'UNAVAILABLE' }
const EVERYONE: Concern = { kind: 'everyone', id: '' }

let list: string[]
let read: ReturnType<typeof vi.fn<() => Promise<{ keyIds: string[] }>>>
let denied: DeniedKeys
beforeEach(() => {
  list = []
  read = vi.fn(async () => ({ keyIds: [...list] }))
  denied = createDeniedKeys({
    commands: { call: () => read() as never },
    log,
    metrics: createMetrics({ service: 'test' }),
  })
})

const check = async (...ids: string[]) => denied.check(ids)
const concern = (id: string) => denied.evict({ kind: 'signing-key', id })
const away = async () => {
  throw new DomainError('UPSTREAM_UNAVAILABLE', 'away')
}

test('the list is read once, and then known without a promise', async () => {
  list = ['bad']
  await Promise.all([check('good'), expect(check('x', 'bad')).rejects.toThrow(CredentialRefused)])
  expect(denied.check(['good'])).toBeUndefined()
  expect(() => denied.check(['bad'])).toThrow(CredentialRefused)
  expect(read).toHaveBeenCalledTimes(1)
})

test('a key is denied from the call on that tells of it, though the list is not read yet', async () => {
  await check('k')
  const { promise, resolve } = Promise.withResolvers<{ keyIds: string[] }>()
  read.mockImplementationOnce(() => promise)
  concern('k')
  const checked = check('k')
  // Others are not held up.
  expect(denied.check(['other'])).toBeUndefined()
  resolve({ keyIds: ['k'] })
  await expect(checked).rejects.toThrow(CredentialRefused)
})

test('what was being read when a change was told is of before it, and read again', async () => {
  const { promise, resolve } = Promise.withResolvers<{ keyIds: string[] }>()
  read.mockImplementationOnce(() => promise)
  const checked = check('k')
  list = ['k']
  concern('k')
  resolve({ keyIds: [] })
  await expect(checked).rejects.toThrow(CredentialRefused)
  expect(read).toHaveBeenCalledTimes(2)
})

test('nor is it relied upon until that has been read', async () => {
  const [first, second] = [0, 1].map(() => Promise.withResolvers<{ keyIds: string[] }>())
  read.mockImplementationOnce(() => first?.promise as never)
  read.mockImplementationOnce(() => second?.promise as never)
  const checked = check('k')
  concern('k')
  first?.resolve({ keyIds: [] })
  await vi.waitFor(() => expect(read).toHaveBeenCalledTimes(2))
  const again = denied.check(['k'])
  expect(again).toBeInstanceOf(Promise)
  second?.resolve({ keyIds: ['k'] })
  await Promise.all([checked, again].map((it) => expect(it).rejects.toThrow(CredentialRefused)))
})

test('a key that is allowed again is', async () => {
  list = ['k']
  await expect(check('k')).rejects.toThrow(CredentialRefused)
  list = []
  concern('k')
  await check('k')
})

test('when the list cannot be read at the start, nobody is judged', async () => {
  read.mockImplementation(away)
  await expect(check('k')).rejects.toMatchObject(UNAVAILABLE)
  await expect(check('k')).rejects.toMatchObject(UNAVAILABLE)
  // Nor is policy asked for each of them.
  expect(read).toHaveBeenCalledTimes(1)
})

test('later the last list holds, but for those of which a change was told', async () => {
  list = ['bad']
  await check('good')
  read.mockImplementation(away)
  concern('k')
  expect(denied.check(['good'])).toBeUndefined()
  expect(() => denied.check(['bad'])).toThrow(CredentialRefused)
  await expect(check('k')).rejects.toMatchObject(UNAVAILABLE)
  read.mockImplementation(async () => ({ keyIds: ['bad'] }))
  concern('other')
  await check('k')
})

test('when all may have changed the list is read anew, and relied upon by nobody before', async () => {
  await check('k')
  read.mockImplementation(away)
  denied.evict(EVERYONE)
  await expect(check('k')).rejects.toMatchObject(UNAVAILABLE)
})

test('what concerns no key does not read the list', async () => {
  await check('k')
  denied.evict({ kind: 'person', id: 'usr_1' })
  denied.evict({ kind: 'policy', id: 'authz.roles' })
  expect(denied.check(['k'])).toBeUndefined()
  expect(read).toHaveBeenCalledTimes(1)
})
