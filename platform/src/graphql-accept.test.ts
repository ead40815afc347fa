import { createRequire } from 'node:module'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { answerType } from './graphql-accept.ts'

// What Apollo Server negotiates by, found where Apollo Server finds it.
const apollo = createRequire(createRequire(import.meta.url).resolve('@apollo/server'))
const Negotiator = apollo('negotiator') as new (request: {
  headers: { accept: string | undefined }
}) => { mediaType(available: string[]): string | undefined }

test.each([
  [undefined, 'application/json; charset=utf-8'],
  ['*/*', 'application/json; charset=utf-8'],
  ['application/*', 'application/json; charset=utf-8'],
  ['application/graphql-response+json', 'application/graphql-response+json; charset=utf-8'],
  [
    'application/graphql-response+json, application/json;q=0.9',
    'application/graphql-response+json; charset=utf-8',
  ],
  ['application/json;q=0, */*', 'application/graphql-response+json; charset=utf-8'],
  ['text/html', null],
  ['application/json;q=0', null],
])('to who accepts %s it is %s', (accept, type) => {
  expect(answerType(accept)).toBe(type)
})

test('it chooses as Apollo Server does, whatever is accepted', () => {
  const range = fc
    .tuple(
      fc.constantFrom(
        'application/json',
        'Application/JSON',
        'application/graphql-response+json',
        'application/*',
        '*/*',
        'text/html',
        'nonsense',
        '',
      ),
      fc.constantFrom('', '; charset=utf-8', ';charset="UTF-8"', '; callbackSpec=1.0', ';a=b;c'),
      fc.constantFrom('', ';q=0', ';q=0.5', '; q=1', ';q=0.9'),
    )
    .map((parts) => parts.join(''))
  fc.assert(
    fc.property(fc.array(range, { maxLength: 4 }), (ranges) => {
      const accept = ranges.join(', ')
      const expected = accept
        ? (new Negotiator({ headers: { accept } }).mediaType([
            'application/json; charset=utf-8',
            'application/graphql-response+json; charset=utf-8',
            'application/json; callbackSpec=1.0; charset=utf-8',
          ]) ?? null)
        : 'application/json; charset=utf-8'
      expect(answerType(accept)).toBe(expected)
    }),
    { numRuns: 2_000 },
  )
})
