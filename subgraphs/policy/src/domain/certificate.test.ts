import { newId } from '@berth/platform/ids'
import { expect, test } from 'vitest'
import { type CertificateRequest, checkCertificateRequest } from './certificate.ts'

const allocation = newId('alc')
const session: CertificateRequest = {
  authority: 'user',
  principal: `${allocation}@node-1`,
  organizationId: newId('org'),
  ttlSeconds: 60,
}
const administration: CertificateRequest = {
  authority: 'node',
  principal: 'admin@node-1',
  organizationId: null,
  ttlSeconds: 600,
}

test.each([
  ['terminal', session],
  ['allocations', administration],
  ['inventory', administration],
] as const)('%s gets the certificate that it needs', (caller, request) => {
  expect(() => checkCertificateRequest(request, caller)).not.toThrow()
})

test.each([
  ['terminal', administration],
  ['allocations', session],
  ['inventory', session],
  ['gateway', session],
] as const)('%s does not get another service’s', (caller, request) => {
  expect(() => checkCertificateRequest(request, caller)).toThrow(
    expect.objectContaining({ code: 'FORBIDDEN' }),
  )
})

test.each([
  ['the other authority’s principal', { principal: 'admin@node-1' }],
  ['no node', { principal: allocation }],
  ['an empty node', { principal: `${allocation}@` }],
  ['two principals', { principal: `${allocation}@node-1,admin@node-1` }],
  ['a blank', { principal: `${allocation}@node-1 root` }],
  ['a second line', { principal: `${allocation}@node-1\nroot` }],
  ['an upper-case node', { principal: `${allocation}@NODE` }],
  ['an id of something else', { principal: `${newId('vol')}@node-1` }],
  ['a node that ends in a hyphen', { principal: `${allocation}@node-` }],
  ['too short a validity', { ttlSeconds: 9 }],
  ['too long a validity', { ttlSeconds: 601 }],
  ['a broken validity', { ttlSeconds: Number.NaN }],
  ['no organization', { organizationId: null }],
])('a session’s certificate with %s is refused', (_what, change) => {
  expect(() => checkCertificateRequest({ ...session, ...change }, 'terminal')).toThrow(
    expect.objectContaining({ code: 'BAD_INPUT' }),
  )
})
