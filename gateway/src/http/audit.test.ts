import { auditServer } from 'graphql-http'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openTestPlatform, type TestPlatform } from '../../test-subgraphs/platform.ts'

/** Where the specification recommends or permits something that this gateway does not do. */
const SAYS_400 =
  'Apollo Server, and so the other faces, answer 400 in either type when nothing was run: the status is part of the closed list of errors'
const NO_SIMPLE_REQUEST =
  'A GET that a page of any site can send without a preflight is refused: it could carry a session’s cookie'

const ACCEPTED: Record<string, string> = {
  'warn: SHOULD use 200 status code on document parsing failure when accepting application/json':
    SAYS_400,
  'warn: SHOULD use 200 status code on document validation failure when accepting application/json':
    SAYS_400,
  'warn: SHOULD use a status code of 200 on variable coercion failure when accepting application/json':
    SAYS_400,
}
const ACCEPTED_WITHOUT_PREFLIGHT: Record<string, string> = {
  ...ACCEPTED,
  'notice: MAY accept application/x-www-form-urlencoded formatted GET requests': NO_SIMPLE_REQUEST,
  'notice: MAY allow URL-encoded JSON string {variables} parameter in GETs when accepting application/graphql-response+json':
    NO_SIMPLE_REQUEST,
  'notice: MAY allow URL-encoded JSON string {variables} parameter in GETs when accepting application/json':
    NO_SIMPLE_REQUEST,
}

const withPreflight: typeof fetch = (input, init) => {
  const headers = new Headers(init?.headers)
  headers.set('apollo-require-preflight', 'true')
  return fetch(input, { ...init, headers })
}

let platform: TestPlatform
let url = ''
beforeAll(async () => {
  platform = await openTestPlatform()
  url = `${(await platform.gateway()).http.url}/graphql`
})
afterAll(() => platform[Symbol.asyncDispose]())

test.each([
  ['any client', fetch, ACCEPTED_WITHOUT_PREFLIGHT],
  ['a client that no page can pass for', withPreflight, ACCEPTED],
])('what %s is answered is GraphQL over HTTP, but for a list', async (_who, fetchFn, accepted) => {
  const results = await auditServer({ url, fetchFn })
  const deviations = results.flatMap((it) =>
    it.status === 'ok' ? [] : [`${it.status}: ${it.name}`],
  )
  expect(results.length).toBeGreaterThan(60)
  expect(deviations.toSorted()).toEqual(Object.keys(accepted).toSorted())
})
