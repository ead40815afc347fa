import { readFileSync } from 'node:fs'
import path from 'node:path'
import { composeServices } from '@apollo/composition'
import {
  buildSchema,
  type GraphQLSchema,
  isInputObjectType,
  isInterfaceType,
  isIntrospectionType,
  isObjectType,
  parse,
  validateSchema,
} from 'graphql'
import { expect, test } from 'vitest'
import { audienceSchema } from './audience.ts'
import { compose } from './compose.ts'
import { elementsOf } from './elements.ts'
import { reachableTypes } from './reachable.ts'

const HEAD = `
  extend schema @link(
    url: "https://specs.apollo.dev/federation/v2.10"
    import: ["@key", "@shareable", "@inaccessible", "@tag"]
  )
`
const P = '@tag(name: "partner")'
const DOMAINS = ['allocations', 'billing', 'inventory', 'notifications', 'policy']

/** What partners see of these subgraphs. */
function partner(...texts: readonly string[]): string {
  const subgraphs = texts.map((it, i) => ({
    name: `s${i}`,
    url: `http://s${i}`,
    typeDefs: parse(HEAD + it),
  }))
  const { supergraphSdl, errors } = composeServices(subgraphs)
  if (!supergraphSdl) throw new AggregateError(errors ?? [], 'not composed')
  return audienceSchema(supergraphSdl, subgraphs, 'partner')
}

function read(file: string): string {
  return readFileSync(path.join(import.meta.dirname, file), 'utf8')
}

/** Types by name, and everything in them by coordinate. */
function coordinates(schema: GraphQLSchema): string[] {
  const types = Object.values(schema.getTypeMap()).filter((it) => !isIntrospectionType(it))
  return [...types.map((it) => it.name), ...elementsOf(schema).keys()]
}

test('partners are given these operations and no others', () => {
  const schema = buildSchema(read('partner.graphql'))
  const roots = [schema.getQueryType(), schema.getMutationType(), schema.getSubscriptionType()]
  expect(roots.map((it) => Object.keys(it?.getFields() ?? {}).sort())).toEqual([
    [
      'allocation',
      'allocations',
      'apiKeys',
      'balance',
      'gpuModels',
      'inbox',
      'inboxCounts',
      'offers',
      'organization',
      'sshKeys',
      'usageRecords',
      'viewer',
    ],
    [
      'allocationCreate',
      'allocationRelease',
      'inboxMark',
      'sshKeyAdd',
      'sshKeyRemove',
      'terminalSessionCreate',
    ],
    ['allocationUpdated', 'inbox'],
  ])
})

test('all that partners see has the tag, in each subgraph that has it', () => {
  const isTagged = (it: { directives?: readonly { name: { value: string } }[] | undefined }) =>
    (it.directives ?? []).some(({ name }) => name.value === 'tag')
  const untagged = new Set<string>()
  const tagged = new Set<string>()
  for (const domain of DOMAINS) {
    for (const type of parse(read(`${domain}.graphql`)).definitions) {
      if (!('name' in type) || !type.name) continue
      const name = type.name.value
      const members =
        'fields' in type ? (type.fields ?? []) : 'values' in type ? (type.values ?? []) : []
      if (members.length === 0) (isTagged(type) ? tagged : untagged).add(name)
      for (const it of members) {
        const at = `${name}.${it.name.value}`
        ;(isTagged(type) || isTagged(it) ? tagged : untagged).add(at)
      }
    }
  }
  const seen = [...elementsOf(buildSchema(read('partner.graphql')))]
    .filter(([, it]) => it.kind !== 'argument')
    .map(([at]) => at)
  expect(seen.filter((it) => !tagged.has(it) || untagged.has(it))).toEqual([])
  expect([...tagged].filter((it) => it.includes('.') && !seen.includes(it))).toEqual([])
})

test('it is valid, a part of the API, and all of it can be reached', () => {
  const schema = buildSchema(read('partner.graphql'))
  expect(validateSchema(schema)).toEqual([])
  const api = new Set(coordinates(buildSchema(read('api.graphql'))))
  expect(coordinates(schema).filter((it) => !api.has(it))).toEqual([])
  const reached = new Set([...reachableTypes(schema)].map((it) => it.name))
  const types = Object.values(schema.getTypeMap()).filter((it) => !isIntrospectionType(it))
  expect(types.filter((it) => !reached.has(it.name) && it.name !== 'Boolean')).toEqual([])
})

test('nothing of operators, of the audit, of policies or of federation is in it, by name or in words', () => {
  const sdl = read('partner.graphql')
  expect(sdl).not.toMatch(/operators only|run the platform|__|@(key|join|link|tag|inaccessible)\b/i)
  const schema = buildSchema(sdl)
  const forbidden =
    /^(Node|Probe|Audit|Policy|Denied|SigningKey|Membership|Invitation|Session|Ledger|SlotState|PersonS|OrganizationS)/
  expect(coordinates(schema).filter((it) => forbidden.test(it))).toEqual([])
  // A description that speaks of what they do not have tells of it.
  const theirs = new Set(coordinates(schema).flatMap((it) => it.split(/[.(:)]/)))
  const others = coordinates(buildSchema(read('api.graphql')))
    .flatMap((it) => it.split(/[.(:)]/))
    .filter((it) => !theirs.has(it))
  const words = new Set([...sdl.matchAll(/`(\w+)`/g)].map(([, word]) => word))
  expect(others.filter((it) => words.has(it))).toEqual([])
})

test('every description of the API is kept', () => {
  const api = buildSchema(read('api.graphql'))
  for (const type of Object.values(buildSchema(read('partner.graphql')).getTypeMap())) {
    const whole = api.getType(type.name)
    if (isIntrospectionType(type)) continue
    expect(type.description).toBe(whole?.description)
    if (!isObjectType(type) && !isInterfaceType(type) && !isInputObjectType(type)) continue
    for (const it of Object.values(type.getFields())) {
      const same = isObjectType(whole) || isInputObjectType(whole) ? whole.getFields()[it.name] : it
      expect(it.description).toBe(same?.description)
    }
  }
})

test('what is composed is what is committed', () => {
  expect(compose()['partner.graphql']).toBe(read('partner.graphql'))
})

test('what has no tag is left out, and with it the types that nothing leads to any more', () => {
  const sdl = partner(`
    type Query { a: A ${P}  operators: B  other: Int @tag(name: "internal") }
    type Mutation { wipe: Int }
    type A { "Seen." id: ID! ${P}  secret: B }
    type B { id: ID! }
    type Lost ${P} { id: ID! }
    input LostInput ${P} { id: ID! }
    type Subscription { a(kind: Kind = ONE): A ${P} }
    enum Kind ${P} { ONE TWO }
  `)
  expect(coordinates(buildSchema(sdl)).sort()).toEqual(
    ['A', 'A.id', 'Boolean', 'ID', 'Kind', 'Kind.ONE', 'Kind.TWO', 'Query', 'Query.a', 'String']
      .concat(['Subscription', 'Subscription.a', 'Subscription.a(kind:)'])
      .sort(),
  )
  expect(sdl).toContain('"""Seen."""')
  expect(sdl).toContain('kind: Kind = ONE')
})

test('a deprecation is kept, and so is @inaccessible', () => {
  const sdl = partner(`
    type Query { a: A ${P} }
    type A ${P} {
      id: ID!
      hidden: Int @inaccessible
      old(by: Int @deprecated(reason: "by arg")): Int @deprecated(reason: "by field")
    }
  `)
  expect(sdl).toContain('old(by: Int @deprecated(reason: "by arg")): Int @deprecated')
  expect(sdl).not.toContain('hidden')
})

test.each([
  ['a type', `type Query { a: A ${P} } type A { id: ID! }`, /"A" has no tag.*"Query\.a"/],
  ['a scalar', `type Query { a: S ${P} } scalar S`, /"S" has no tag.*"Query\.a"/],
  ['an enum', `type Query { a: E ${P} } enum E { ONE }`, /"E" has no tag.*"Query\.a"/],
  [
    "an argument's input",
    `type Query { a(in: I): Int ${P} } input I { id: ID }`,
    /"I" has no tag.*"Query\.a\(in:\)"/,
  ],
  [
    'a required input field',
    `type Query { a(in: I): Int ${P} } input I { id: ID! by: Int ${P} }`,
    /"I\.id" has no tag.*required/,
  ],
  [
    "a default's value",
    `type Query { a(in: E = ONE): Int ${P} } enum E { ONE TWO ${P} }`,
    /"E\.ONE" has no tag.*"Query\.a\(in:\)"/,
  ],
  [
    'a value that is answered',
    `type Query { a: E ${P} } enum E { ONE TWO ${P} }`,
    /E\.ONE may be answered/,
  ],
  [
    'a member of a union',
    `type Query { a: U ${P} } union U ${P} = A | B
     type A ${P} { id: ID! } type B { id: ID! }`,
    /B may be answered/,
  ],
  [
    'a type of an interface',
    `type Query { a: N ${P} } interface N ${P} { id: ID! }
     type A implements N ${P} { id: ID! } type B implements N { id: ID! }`,
    /B may be answered/,
  ],
  ['a root type', `type Query ${P} { a: Int }`, /Query has the tag: give it to its fields/],
])(
  '%s without the tag, or with one that says too much, is refused by name',
  (_what, sdl, message) => {
    expect(() => partner(sdl)).toThrow(message)
  },
)

test('a value that is only ever sent may be kept from partners', () => {
  const sdl = partner(`type Query { a(in: E): Int ${P} } enum E { ONE TWO ${P} }`)
  expect(sdl).toMatch(/enum E \{\s+TWO\s+\}/)
})

test("a type's tag is no other subgraph's", () => {
  const first = `type Query { a: A ${P} } type A @key(fields: "id") ${P} { id: ID! }`
  const second = 'type A @key(fields: "id") { id: ID! margin: Int }'
  expect(() => partner(first, second)).toThrow('A has the tag in s0 and not in s1')
  const open = second.replace('{', `${P} {`)
  expect(partner(first, open)).toContain('margin')
})
