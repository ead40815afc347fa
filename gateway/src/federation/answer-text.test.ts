import { DomainError } from '@berth/platform/errors'
import { GraphQLError } from 'graphql'
import { expect, test, vi } from 'vitest'
import { JsonText, stringifyAnswer, textOf } from './answer-text.ts'
import { LeftOut } from './answers.ts'

const of = { requestId: 'r-1', log: { error: () => undefined } }

test('an answer’s text is its data as it is, after its errors as clients may see them', () => {
  const known = new GraphQLError('No', {
    path: ['a', 0],
    originalError: new DomainError('CONFLICT', 'No'),
  })
  expect(textOf({ dataText: '{"a":[null]}', errors: [known] }, of)).toBe(
    '{"errors":[{"message":"No","path":["a",0],"extensions":{"code":"CONFLICT","requestId":"r-1","retryable":false}}],"data":{"a":[null]}}',
  )
  expect(textOf({ dataText: '{"a":1}', errors: [] }, of)).toBe('{"data":{"a":1}}')
  const refused = textOf({ dataText: undefined, errors: [new Error('secret')] }, of)
  expect(Object.keys(JSON.parse(refused))).toEqual(['errors'])
  expect(refused).not.toContain('secret')
})

test('a result is stringified as JSON.stringify would, whether or not its data is text', () => {
  const data = { a: [1, 'x'], b: null }
  const text = new JsonText(JSON.stringify(data)) as never
  const errors = [{ message: 'No' }] as never
  const extensions = { c: 1 }
  for (const it of [{}, { errors }, { extensions }, { errors, extensions }]) {
    const [plain, spliced] = [
      stringifyAnswer({ ...it, data }),
      stringifyAnswer({ ...it, data: text }),
    ]
    expect(JSON.parse(spliced)).toEqual(JSON.parse(plain))
    expect(JSON.parse(JSON.stringify({ ...it, data: text }))).toEqual(JSON.parse(plain))
  }
})

test('an answer shows a hundred errors and how many more there are, and its faults are one line of the log', () => {
  const error = vi.fn()
  const errors = [
    ...Array.from({ length: 300 }, (_, i) => new Error(`secret ${i}`)),
    new GraphQLError('x', { originalError: new LeftOut(700) }),
  ]
  const text = textOf({ dataText: '{}', errors }, { requestId: 'r-1', log: { error } })
  const shown = JSON.parse(text).errors
  expect(shown).toHaveLength(101)
  expect(shown[100]).toMatchObject({
    message: '900 more errors are left out: ask for less at once',
    extensions: { code: 'TOO_COMPLEX', leftOut: 900 },
  })
  expect(text).not.toContain('secret')
  expect(error).toHaveBeenCalledTimes(1)
  expect(error.mock.calls[0]?.[0]).toMatchObject({ faults: 100, leftOut: 900, err: errors[0] })
})
