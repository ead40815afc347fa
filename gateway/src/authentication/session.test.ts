import { createActor } from '@berth/platform/actor'
import { DomainError } from '@berth/platform/errors'
import { newId } from '@berth/platform/ids'
import { expect, test } from 'vitest'
import { csrfOf, newSessionToken, tokenHashOf } from '../sessions/token.ts'
import { createIdentify, type Presented } from './authenticate.ts'
import { CredentialRefused } from './issuer.ts'
import { presentedBy } from './presented.ts'
import { createPresenter } from './presenter.ts'
import { browserSession } from './session.ts'

const COOKIE = '__Host-berth'
const PAGE = 'https://berth.example'
const TOKEN = newSessionToken()
const id = newId('ses')
const person = createActor({ kind: 'person', subject: newId('usr'), roles: ['member'] })

function rig() {
  const used: string[] = []
  const known = {
    id,
    issuer: 'https://issuer.example',
    subject: 'user',
    expiresAt: new Date(Date.now() + 60_000),
    presentedBy: createPresenter(id),
  }
  let isDown = false
  const resolve = browserSession({
    sessions: {
      find(hash) {
        if (isDown) throw new DomainError('UNAVAILABLE', 'down')
        if (hash !== tokenHashOf(TOKEN)) throw new CredentialRefused('no live session')
        return known
      },
      used: (hash) => void used.push(hash),
      evict: () => undefined,
    },
    actors: { of: () => person },
    cookieName: COOKIE,
    allowedOrigins: [PAGE],
  })
  return { used, identify: createIdentify([resolve]), break: () => (isDown = true) }
}

const good: Presented = {
  authorization: undefined,
  organizationId: undefined,
  clientIp: '127.0.0.1',
  face: 'http',
  cookie: `${COOKIE}=${TOKEN}`,
  csrf: csrfOf(TOKEN),
  origin: PAGE,
}
const { csrf: _csrf, origin: _origin, ...bare } = good

test('a session is its person, who presents it as a credential that can be revoked', async () => {
  const { actor } = await rig().identify(good)
  expect(actor).toMatchObject({ kind: 'person', subject: person.subject, credential: id })
  expect((await rig().identify({ ...good, origin: undefined })).actor.kind).toBe('person')
})

test('without a cookie nothing of this kind was presented', async () => {
  expect((await rig().identify({ ...good, cookie: undefined })).actor.kind).toBe('anonymous')
})

test.each<[string, Partial<Presented>]>([
  ['no header', { csrf: undefined }],
  ['an empty header', { csrf: '' }],
  ['the header of another session', { csrf: csrfOf(newSessionToken()) }],
  ['the cookie itself as the header', { csrf: TOKEN }],
  ['the header cut short', { csrf: csrfOf(TOKEN).slice(0, -1) }],
  ['the Origin of another site', { origin: 'https://evil.example' }],
  ['an Origin that begins like ours', { origin: `${PAGE}.evil.example` }],
  ['no Origin of its own', { origin: 'null' }],
  ['our Origin over plain HTTP', { origin: 'http://berth.example' }],
])('over HTTP, %s is another site’s request', async (_what, given) => {
  const { identify, used } = rig()
  await expect(identify({ ...good, ...given })).rejects.toMatchObject({ code: 'FORBIDDEN' })
  expect(used).toEqual([])
})

test.each<[string, Partial<Presented>]>([
  ['no Origin', {}],
  ['another site’s Origin', { origin: 'https://evil.example' }],
  ['a header in place of an Origin', { csrf: csrfOf(TOKEN) }],
])('over WebSocket, %s is another site’s connection', async (_what, given) => {
  const upgrade = { ...bare, ...given, face: 'websocket' as const }
  await expect(rig().identify(upgrade)).rejects.toMatchObject({ code: 'FORBIDDEN' })
  const ours = { ...bare, origin: PAGE, face: 'websocket' as const }
  expect((await rig().identify(ours)).actor.kind).toBe('person')
})

test.each([
  ['of a session that is none', newSessionToken()],
  ['cut short', TOKEN.slice(1)],
  ['with more to it', `${TOKEN}A`],
  ['empty', ''],
  ['quoted', `"${TOKEN}"`],
  ['given twice', `${TOKEN}; ${COOKIE}=${TOKEN}`],
])('a cookie %s is refused, and never anonymous', async (_what, value) => {
  const token = value || TOKEN
  const presented = { ...good, cookie: `${COOKIE}=${value}`, csrf: csrfOf(token) }
  await expect(rig().identify(presented)).rejects.toBeInstanceOf(CredentialRefused)
})

test('a store that cannot be read is no verdict', async () => {
  const it = rig()
  it.break()
  await expect(it.identify(good)).rejects.toMatchObject({ code: 'UNAVAILABLE' })
})

test('what somebody does is use; that a connection stays open is not', async () => {
  const { identify, used } = rig()
  await identify({ ...good, isFollowUp: true })
  expect(used).toEqual([])
  await identify(good)
  expect(used).toEqual([tokenHashOf(TOKEN)])
})

test('of the cookies of a request those are kept that say who it is', () => {
  const of = (cookie: string) => presentedBy({ cookie }, '127.0.0.1', 'http').cookie
  expect(of(`a=1; ${COOKIE}=x; berth-other=2; ${COOKIE}-login=y`)).toBe(`${COOKIE}=x`)
  expect(of(`${COOKIE}=x;${COOKIE}=y`)).toBe(`${COOKIE}=x; ${COOKIE}=y`)
  expect(of('a=1; x__Host-berth=2')).toBeUndefined()
})
