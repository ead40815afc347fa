import { expect, test } from 'vitest'
import {
  actorFromClaims,
  actorToClaims,
  anonymous,
  createActor,
  narrow,
  requireOrganization,
  requirePerson,
  serviceActor,
  subjectOf,
} from './actor.ts'
import { newId } from './ids.ts'

const subject = newId('usr')
const organizationId = newId('org')
const person = createActor({
  kind: 'person',
  subject,
  organizationId,
  roles: ['member', 'admin', 'member'],
  credential: newId('ses'),
})
const key = createActor({ kind: 'api-key', organizationId, scopes: ['allocation:read'] })

test('a person narrowed to the organization has no subject, and reading it is a bug that throws', () => {
  const shared = narrow(person, 'ORGANIZATION')
  expect(() => shared.subject).toThrow(TypeError)
  expect(() => requirePerson(shared)).toThrow(TypeError)
  expect(subjectOf(shared)).toBeNull()
  expect(shared).toMatchObject({ organizationId, roles: ['admin', 'member'] })
  expect(JSON.stringify(actorToClaims(shared))).not.toContain(subject)
  expect(JSON.stringify(actorToClaims(shared))).not.toContain('ses_')
})

test('two members with equal roles narrow to equal claims, so that their streams can be shared', () => {
  const other = createActor({
    kind: 'person',
    subject: newId('usr'),
    organizationId,
    roles: ['admin', 'member'],
  })
  expect(actorToClaims(narrow(other, 'ORGANIZATION'))).toEqual(
    actorToClaims(narrow(person, 'ORGANIZATION')),
  )
})

test('public is anonymous, and nothing is widened by narrowing', () => {
  expect(narrow(person, 'PUBLIC')).toBe(anonymous)
  expect(narrow(narrow(person, 'ORGANIZATION'), 'PERSON').authority).toBe('ORGANIZATION')
  expect(narrow(anonymous, 'PERSON')).toBe(anonymous)
})

test('what is missing is said by its code', () => {
  expect(() => requireOrganization(anonymous)).toThrow(
    expect.objectContaining({ code: 'UNAUTHENTICATED' }),
  )
  expect(() => requirePerson(anonymous)).toThrow(
    expect.objectContaining({ code: 'UNAUTHENTICATED' }),
  )
  expect(() => requirePerson(key)).toThrow(expect.objectContaining({ code: 'FORBIDDEN' }))
  expect(() => key.subject).toThrow(expect.objectContaining({ code: 'FORBIDDEN' }))
  expect(() => requireOrganization(createActor({ kind: 'person', subject }))).toThrow(
    expect.objectContaining({ code: 'FORBIDDEN' }),
  )
  expect(requireOrganization(key)).toBe(organizationId)
  expect(requirePerson(person)).toBe(subject)
})

test.each([
  ['person', person],
  ['key', key],
  ['service', serviceActor('billing')],
  ['anonymous', anonymous],
  ['shared', narrow(person, 'ORGANIZATION')],
])('the claims of a %s say it whole', (_kind, actor) => {
  const claims = JSON.parse(JSON.stringify(actorToClaims(actor)))
  expect(actorToClaims(actorFromClaims(claims))).toEqual(actorToClaims(actor))
})

test.each([
  ['a shared actor with a subject', { ...actorToClaims(person), authority: 'ORGANIZATION' }],
  ['an unknown kind', { ...actorToClaims(person), kind: 'root' }],
  ['a subject that is no user', { ...actorToClaims(person), sub: newId('org') }],
  ['an organization that is none', { ...actorToClaims(person), org: 'acme' }],
  ['roles that are no list', { ...actorToClaims(person), roles: 'platform:operator' }],
  ['nothing', undefined],
])('%s is refused', (_case, claims) => {
  expect(() => actorFromClaims(claims)).toThrow(
    expect.objectContaining({ code: 'UNAUTHENTICATED' }),
  )
})

test('claims of an anonymous caller cannot smuggle roles in', () => {
  expect(actorFromClaims({ ...actorToClaims(person), kind: 'anonymous' })).toBe(anonymous)
})

test('an actor cannot be changed', () => {
  expect(() => Object.assign(person, { organizationId: newId('org') })).toThrow(TypeError)
  expect(() => (person.roles as string[]).push('platform:operator')).toThrow(TypeError)
})
