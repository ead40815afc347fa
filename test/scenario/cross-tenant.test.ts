import { createActor } from '@berth/platform/actor'
import type { Id } from '@berth/platform/ids'
import { type Given, placesOf, selectionOf } from '@berth/platform/test-kit/operations'
import { getNamedType, isObjectType } from 'graphql'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Answer, type Asker, createAsker } from '../contract/authorization/ask.ts'
import { givenAt, isLevel } from '../contract/authorization/given.ts'
import {
  idArguments,
  prefixes,
  type RootField,
  rootFields,
  unknownId,
} from '../contract/authorization/graph.ts'
import { type Credential, liftRates } from '../contract/authorization/people.ts'
import { entityRows } from '../contract/authorization/rows.ts'
import { signIn } from '../issuer/sign-in.ts'
import { makeOneOfEach, type OneOfEach } from './one-of-each.ts'
import { openTestPlatform, type TestPlatform } from './test-platform.ts'

let berth: TestPlatform
let ask: Asker
/** Of the organization that is pried into. */
let one: OneOfEach
let owner: Credential
/** The owner of another one. */
let stranger: Credential
beforeAll(async () => {
  berth = await openTestPlatform()
  ask = createAsker(berth)
  await liftRates(berth)
  one = await makeOneOfEach(berth)
  const issuer = String(berth.platform.urls.issuer)
  owner = { token: await signIn(issuer, 'admin'), organizationId: String(one.Organization) }
  const other = await (await berth.graph('user')).get<Made>(
    'mutation { organizationCreate(input: { name: "Other" }) { organization { id } } }',
  )
  const { id } = other.organizationCreate.organization
  stranger = { token: await signIn(issuer, 'user'), organizationId: id }
})
afterAll(() => berth?.stop())

test('there is one of each type that has ids', () => {
  const types = new Set([...Object.keys(prefixes), ...entityRows.map(({ type }) => type)])
  expect([...types].filter((it) => !one[it])).toEqual([])
})

test.each(Object.entries(idArguments))(
  '%s: of another organization is as if it had never been',
  async (path, types) => {
    for (const type of types) {
      const its = String(one[type])
      const none = unknownId(type)
      const answers = [await probe(path, its), await probe(path, none)]
      expect(nameless(answers[0], its), type).toEqual(nameless(answers[1], none))
    }
  },
)

const entities = entityRows.filter(({ type }) => prefixes[type])
test.each(entities.map((it) => [`${it.subgraph} ${it.name}`, it] as const))(
  '%s by reference: as if it had never been',
  async (_name, row) => {
    const actor = createActor({
      kind: 'person',
      subject: unknownId('User') as Id<'usr'>,
      organizationId: stranger.organizationId as Id<'org'>,
      roles: ['owner'],
    })
    const load = (id: string, selection: string) => {
      const it = { __typename: row.type, ...Object.fromEntries(row.keys.map((key) => [key, id])) }
      const query = `query ($it: _Any!) { _entities(representations: [$it]) { ${selection} } }`
      return ask.subgraph(row.subgraph, actor, query, { it })
    }
    const its = String(one[row.type])
    const none = unknownId(row.type)
    for (const selection of [row.selection, '__typename']) {
      const answer = nameless(await load(its, selection), its)
      expect(answer, selection).toEqual(nameless(await load(none, selection), none))
    }
  },
)

const lists = rootFields.filter(
  (it) => it.operation === 'query' && idOfNodes(it) && prefixes[String(idOfNodes(it))],
)
test.each(lists.map((it) => [it.field.name, it] as const))(
  '%s: a cursor of another organization leads to nothing of it',
  async (_name, root) => {
    const page = (given: Given) =>
      `{ list: ${selectionOf(root.on, root.field, given, '{ nodes { id } pageInfo { endCursor } }')} }`
    const theirs = listed(await ask.http(owner, page(ofPage('first', '1'))))
    const all = listed(
      await ask.http(
        owner,
        page(() => undefined),
      ),
    )
    if (!theirs?.pageInfo.endCursor) return
    const cursor = JSON.stringify(theirs.pageInfo.endCursor)
    const answer = await ask.http(stranger, page(ofPage('after', cursor)))
    const known = new Set(all?.nodes.map(({ id }) => id))
    expect((listed(answer)?.nodes ?? []).filter(({ id }) => known.has(id))).toEqual([])
  },
)

test('and all of it is still there', async () => {
  const { data } = await ask.http(
    owner,
    `{
      allocation(id: "${one.Allocation}") { state }
      apiKeys { nodes { id state } }
      sshKeys { id }
      organization { members { nodes { id } } invitations { nodes { id state } } }
      sessions { id }
    }`,
  )
  expect(data).toMatchObject({
    allocation: { state: 'RUNNING' },
    apiKeys: { nodes: [{ id: one.ApiKey, state: 'ACTIVE' }] },
    sshKeys: expect.arrayContaining([{ id: one.SshKey }]),
    organization: {
      members: { nodes: expect.arrayContaining([{ id: one.Membership }]) },
      invitations: { nodes: [{ id: one.Invitation, state: 'PENDING' }] },
    },
    sessions: expect.arrayContaining([{ id: one.Session }]),
  })
})

type Made = { organizationCreate: { organization: { id: string } } }
type Page = { nodes: { id: string }[]; pageInfo: { endCursor: string | null } }

/** The operation that has this argument, as the stranger, with this id there. */
function probe(path: string, id: string): Promise<Answer> {
  const root = rootFields.find(({ on, field }) => path.startsWith(`${on.name}.${field.name}.`))
  if (!root) throw new RangeError(`${path} is no argument of a root field`)
  const { operation, on, field } = root
  const hasLevel = placesOf(on, field).some(isLevel)
  const others = givenAt(hasLevel ? (path.endsWith('.userId') ? 'USER' : 'GRANT') : undefined)
  const given: Given = (place) => {
    if (place.path === path) return String(place.type).includes('[') ? `["${id}"]` : `"${id}"`
    return others(place)
  }
  const document = `${operation} Probe { ${selectionOf(on, field, given)} }`
  return (operation === 'subscription' ? ask.socket : ask.http)(stranger, document)
}

/** The type of what a connection lists, where that has an id. */
function idOfNodes({ field }: RootField): string | null {
  const connection = getNamedType(field.type)
  if (!isObjectType(connection)) return null
  const node = connection.getFields().nodes
  const type = node && getNamedType(node.type)
  return isObjectType(type) && type.getFields().id ? type.name : null
}

function ofPage(argument: 'first' | 'after', literal: string): Given {
  return ({ path }) => (path.endsWith(`.${argument}`) ? literal : undefined)
}

function listed({ data }: Answer): Page | null {
  return (data?.list ?? null) as Page | null
}

/** What an answer says but for the id that was asked for, which its asker knew. */
function nameless(answer: Answer | undefined, id: string): unknown {
  const text = JSON.stringify(answer).replaceAll(id, 'the id')
  return JSON.parse(text.replace(/"requestId":"[^"]*"/g, '"requestId":""'))
}
