import { expect, test } from 'vitest'
import { createCookies } from './cookies.ts'
import { sessionSettings } from './settings.ts'

const GOOD = {
  BERTH_ENV: 'production',
  OIDC_ISSUER: 'https://issuer.example',
  OIDC_AUDIENCE: 'berth',
  OIDC_CLIENT_ID: 'berth-web',
  OIDC_CLIENT_SECRET: 'secret',
  BERTH_PUBLIC_URL: 'https://berth.example',
}
const LOOPBACK = { BERTH_PUBLIC_URL: 'http://127.0.0.1:4000', OIDC_ISSUER: 'http://127.0.0.1:4030' }

test('without a client there are no browser sessions', () => {
  const { OIDC_CLIENT_ID, OIDC_CLIENT_SECRET, ...others } = GOOD
  expect(sessionSettings(others)).toBeNull()
})

test('in production the cookie is __Host-, Secure, HttpOnly and SameSite', () => {
  const settings = sessionSettings(GOOD)
  expect(settings).toMatchObject({ isSecure: true, idleSeconds: 1_800, lifetimeSeconds: 43_200 })
  const { session, login } = createCookies({ isSecure: true })
  expect(session.set('x', 60)).toBe(
    '__Host-berth=x; Max-Age=60; Path=/; HttpOnly; SameSite=Lax; Secure',
  )
  expect(login.set('x', 60)).toMatch(/^__Host-berth-login=x;.*; Secure$/)
})

test.each([
  ['http on loopback, in production', { ...LOOPBACK }, 'BERTH_PUBLIC_URL: must be https'],
  ['a plain issuer, in production', { OIDC_ISSUER: LOOPBACK.OIDC_ISSUER }, 'OIDC_ISSUER: must be'],
  [
    'http beyond loopback, in development',
    { BERTH_ENV: 'development', BERTH_PUBLIC_URL: 'http://berth.example' },
    'BERTH_PUBLIC_URL: must be https',
  ],
  ['an address with a path', { BERTH_PUBLIC_URL: 'https://berth.example/x' }, 'a port alone'],
  ['an address with a user', { BERTH_PUBLIC_URL: 'https://a@berth.example' }, 'a port alone'],
  ['no public address', { BERTH_PUBLIC_URL: undefined }, 'BERTH_PUBLIC_URL is not set'],
  ['no secret', { OIDC_CLIENT_SECRET: undefined }, 'OIDC_CLIENT_SECRET is not set'],
  ['a client that is the audience', { OIDC_AUDIENCE: 'berth-web' }, 'must not be what'],
  ['idle for longer than it lasts', { BERTH_SESSION_SECONDS: 60 }, 'must not be longer'],
])('%s is refused at the start', (_what, given, message) => {
  expect(() => sessionSettings({ ...GOOD, ...given })).toThrow(message)
})

test('on loopback, outside production, plain HTTP is let be and marked', () => {
  const settings = sessionSettings({ ...GOOD, ...LOOPBACK, BERTH_ENV: 'development' })
  expect(settings).toMatchObject({ isSecure: false })
  expect(createCookies({ isSecure: false }).session.set('x', 60)).toBe(
    'berth-loopback=x; Max-Age=60; Path=/; HttpOnly; SameSite=Lax',
  )
})
