import { buildSchema, GraphQLError, graphql, parse, validate } from 'graphql'
import pg from 'pg'
import { expect, test, vi } from 'vitest'
import { DomainError, ERROR_CODES, isExpected, toGraphQLError, toHttp } from './errors.ts'
import { renderErrorsDoc } from './errors-doc.ts'

const requestId = 'request-1'

function translate(error: unknown) {
  const log = { error: vi.fn() }
  return { shown: toGraphQLError(error, { requestId, log }).toJSON(), logged: log.error }
}

const schema = buildSchema(`
  type Query { n(of: Int!): Int! fail: Int! none: Int! big: Int! list: [Int!] }
`)

async function errorOf(source: string, root: object = {}, variables?: Record<string, unknown>) {
  const result = await graphql({ schema, source, rootValue: root, variableValues: variables ?? {} })
  return result.errors?.[0]
}

test('a domain error keeps its code, message, fields, path and locations', async () => {
  const fail = () => {
    throw new DomainError('RATE_LIMITED', 'Wait a little', { retryAfterSeconds: 3, class: 'query' })
  }
  const { shown, logged } = translate(await errorOf('{ again: fail }', { fail }))
  expect(shown).toEqual({
    message: 'Wait a little',
    path: ['again'],
    locations: [{ line: 1, column: 3 }],
    extensions: {
      code: 'RATE_LIMITED',
      requestId,
      retryable: true,
      retryAfterSeconds: 3,
      class: 'query',
    },
  })
  expect(logged).not.toHaveBeenCalled()
})

test('a field named like a fixed one cannot replace it', () => {
  const error = new DomainError('CONFLICT', 'x', {
    code: 'OK',
    requestId: 'forged',
    retryable: true,
  })
  expect(translate(error).shown.extensions).toEqual({
    code: 'CONFLICT',
    requestId,
    retryable: false,
  })
})

test.each<[string, unknown]>([
  ['an exception', new Error('password=hunter2')],
  ['a thrown text', 'hunter2'],
  ['nothing', undefined],
  ['a domain error that says INTERNAL', new DomainError('INTERNAL', 'hunter2', { at: 'hunter2' })],
  ['a GraphQL error with a foreign code and a path', new GraphQLError('hunter2', { path: ['a'] })],
])('%s is masked and logged with its cause', (_case, error) => {
  const { shown, logged } = translate(error)
  expect(shown.message).toBe(
    'Something went wrong on our side. Retry, and quote request request-1 if it persists.',
  )
  expect(shown.extensions).toEqual({ code: 'INTERNAL', requestId, retryable: true })
  expect(JSON.stringify(shown)).not.toContain('hunter2')
  expect(logged).toHaveBeenCalledOnce()
})

test('what a server wraps around an exception hides nothing of what it is, nor where', () => {
  const thrown = new GraphQLError('x', {
    path: ['a'],
    originalError: new DomainError('CONFLICT', 'It is not a draft'),
  })
  const wrapped = new GraphQLError('x', { originalError: thrown })
  expect(translate(wrapped).shown).toMatchObject({ path: ['a'], extensions: { code: 'CONFLICT' } })
  const bug = new GraphQLError('hunter2', { originalError: new Error('hunter2') })
  expect(translate(bug).shown.extensions?.code).toBe('INTERNAL')
  expect(JSON.stringify(translate(bug).shown)).not.toContain('hunter2')
})

test('a resolver’s exception, a null where none may be, and a value of the wrong type are ours', async () => {
  const fail = () => {
    throw new Error('hunter2')
  }
  for (const error of [
    await errorOf('{ fail }', { fail }),
    await errorOf('{ none }'),
    await errorOf('{ big }', { big: 1e12 }),
    await errorOf('{ list }', { list: 'no list' }),
  ]) {
    const { shown, logged } = translate(error)
    expect(shown.extensions?.code).toBe('INTERNAL')
    expect(shown.path).toHaveLength(1)
    expect(logged).toHaveBeenCalledOnce()
  }
})

test('what a client gets wrong is BAD_INPUT and says what', async () => {
  const syntax = await errorOf('{ n(')
  const unknown = validate(schema, parse('{ nope }'))[0]
  const literal = await errorOf('{ n(of: "x") }')
  const variable = await errorOf('query ($of: Int!) { n(of: $of) }', {}, { of: 'x' })
  const missing = await errorOf('query ($of: Int!) { n(of: $of) }', {}, {})
  for (const error of [syntax, unknown, literal, variable, missing]) {
    const { shown, logged } = translate(error)
    expect(shown.extensions).toEqual({ code: 'BAD_INPUT', requestId, retryable: false })
    expect(shown.message).toBe(error?.message)
    expect(logged).not.toHaveBeenCalled()
  }
})

test('a code of the list that another service gave passes, with its text', () => {
  const error = new GraphQLError('No GPU is free', {
    path: ['a'],
    extensions: { code: 'NO_CAPACITY', serviceName: 'inventory', stacktrace: ['x'] },
  })
  expect(translate(error).shown).toMatchObject({
    message: 'No GPU is free',
    extensions: { code: 'NO_CAPACITY', requestId, retryable: true },
  })
  expect(JSON.stringify(translate(error).shown)).not.toContain('stacktrace')
  const inherited = new GraphQLError('x', { path: ['a'], extensions: { code: 'toString' } })
  expect(translate(inherited).shown.extensions?.code).toBe('INTERNAL')
})

test('over HTTP the status and Retry-After are those of the code', () => {
  const limited = new DomainError('RATE_LIMITED', 'Wait', { retryAfterSeconds: 1.2 })
  expect(toHttp(limited, requestId)).toEqual({
    status: 429,
    headers: { 'retry-after': '2' },
    body: {
      error: {
        code: 'RATE_LIMITED',
        message: 'Wait',
        requestId,
        retryable: true,
        retryAfterSeconds: 1.2,
      },
    },
  })
  expect(toHttp(new Error('hunter2'), requestId)).toMatchObject({ status: 500 })
  expect(JSON.stringify(toHttp(new Error('hunter2'), requestId))).not.toContain('hunter2')
  expect(isExpected(limited)).toBe(true)
  expect(isExpected(new Error())).toBe(false)
})

test('a database that is away is no fault, whoever wraps its error', async () => {
  const pool = new pg.Pool({ host: '127.0.0.1', port: 1, user: 'nobody', database: 'none' })
  const refused: unknown = await pool.query('SELECT 1').catch((error: unknown) => error)
  const startingUp = Object.assign(new Error('the database system is starting up'), {
    code: '57P03',
  })
  const prisma = Object.assign(new Error('it failed'), { meta: { driverAdapterError: startingUp } })
  const wrapped = new Error('actors.resolve failed', { cause: prisma })
  for (const error of [refused, startingUp, prisma, wrapped]) {
    const { shown, logged } = translate(error)
    expect(shown.extensions).toMatchObject({ code: 'UNAVAILABLE', retryAfterSeconds: 2 })
    // One line without a stack: there may be one for each request until it is back.
    expect(logged.mock.calls.map(([fields]) => Object.keys(fields))).toEqual([
      ['reason', 'requestId'],
    ])
    expect(toHttp(error, requestId).status).toBe(503)
    expect(isExpected(error)).toBe(true)
  }
  const broken = Object.assign(new Error('duplicate key'), { code: '23505' })
  expect(translate(broken).shown.extensions?.code).toBe('INTERNAL')
})

test('close codes are unambiguous, legal, and clear of those graphql-ws uses otherwise', () => {
  const codes = Object.values(ERROR_CODES).map(({ close }) => close)
  expect(new Set(codes).size).toBe(codes.length)
  for (const code of codes) {
    expect(code === 1009 || (code >= 4000 && code <= 4999)).toBe(true)
    expect([4406, 4408, 4409, 4429, 4499, 4004, 4005]).not.toContain(code)
  }
})

test('doc/errors.md is current', async () => {
  await expect(renderErrorsDoc()).toMatchFileSnapshot('../../doc/errors.md')
})
