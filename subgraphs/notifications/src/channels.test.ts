import { type Id, newId } from '@berth/platform/ids'
import { expect, test } from 'vitest'
import { broadcastChannel, orgChannel, userChannel } from './channels.ts'

test('no two audiences share a channel', () => {
  const ids = [newId('usr'), newId('usr')]
  const orgs = [newId('org'), newId('org')]
  const channels = [...ids.map(userChannel), ...orgs.map(orgChannel), broadcastChannel()]
  expect(new Set(channels).size).toBe(channels.length)
})

test('a pattern is nobody’s channel', () => {
  expect(() => userChannel('usr_*' as Id<'usr'>)).toThrow(TypeError)
  expect(() => orgChannel('org_1 org_2' as Id<'org'>)).toThrow(TypeError)
})
