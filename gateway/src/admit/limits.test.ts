import { getOperationAST, parse } from 'graphql'
import { expect, test } from 'vitest'
import { checkShape, checkVariables, LIMITS, measure } from './limits.ts'

test('counts what an operation is once its fragments are spread', () => {
  expect(
    shapeOf(`query Q($a: Int @x) @y {
      a: one { two }
      ...F
      ... on Query @z { ...F }
    }
    fragment F on Query { three { b: four @skip(if: true) { five } } }`),
  ).toEqual({
    depth: 3,
    fields: 8,
    aliases: 3,
    directives: 5,
    rootFields: 3,
    introspects: false,
  })
})

test('asking for the schema is seen wherever it hides, and its depth is its own affair', () => {
  const deep = `__schema { types { ${nested('ofType', 20)} } }`
  for (const source of [`{ ${deep} }`, `{ ...F } fragment F on Query { ... { ${deep} } }`]) {
    expect(shapeOf(source)).toMatchObject({ introspects: true, depth: 0 })
  }
  expect(shapeOf('{ __type(name: "A") { name } }').introspects).toBe(true)
  expect(shapeOf('{ __typename }').introspects).toBe(false)
})

test('fragments that double at each level are counted in full, and in no time', () => {
  const levels = 60
  const fragments = Array.from(
    { length: levels },
    (_, i) => `fragment F${i} on Query { a: x { ...F${i + 1} } b: x { ...F${i + 1} } }`,
  )
  const source = `{ ...F0 } ${fragments.join(' ')} fragment F${levels} on Query { x }`
  const startedAt = performance.now()
  const shape = shapeOf(source)
  expect(performance.now() - startedAt).toBeLessThan(2_000)
  expect(shape.fields).toBeGreaterThan(2 ** levels)
  expect(() => checkShape(shape)).toThrow('too complex')
})

test('fragments in a circle, which validation refuses before, do not hang it', () => {
  expect(shapeOf('{ ...A } fragment A on Q { x ...B } fragment B on Q { ...A }').fields).toBe(1)
})

test.each([
  ['depth', nested('x', LIMITS.depth), nested('x', LIMITS.depth + 1)],
  ['aliases', many('a', LIMITS.aliases), many('a', LIMITS.aliases + 1)],
  ['root fields', 'x '.repeat(LIMITS.rootFields), 'x '.repeat(LIMITS.rootFields + 1)],
  [
    'directives',
    `x { x ${'@d '.repeat(LIMITS.directives)} }`,
    `x { x ${'@d '.repeat(LIMITS.directives + 1)} }`,
  ],
  ['fields', `x { ${'x '.repeat(LIMITS.fields - 1)} }`, `x { ${'x '.repeat(LIMITS.fields)} }`],
])('%s at the limit passes, one more is refused with both numbers', (what, within, beyond) => {
  expect(() => checkShape(shapeOf(`{ ${within} }`))).not.toThrow()
  const limit = Object.entries(LIMITS).find(
    ([name]) => name.toLowerCase() === what.replace(' ', '').toLowerCase(),
  )?.[1]
  expect(() => checkShape(shapeOf(`{ ${beyond} }`))).toThrow(
    expect.objectContaining({
      code: 'TOO_COMPLEX',
      message: expect.stringContaining(`${what} ${Number(limit) + 1} (at most ${limit})`),
    }),
  )
})

test('variables are limited by their size as JSON', () => {
  expect(() => checkVariables({ a: 'x'.repeat(LIMITS.variablesBytes - 8) })).not.toThrow()
  expect(() => checkVariables({ a: 'x'.repeat(LIMITS.variablesBytes) })).toThrow(
    expect.objectContaining({ code: 'TOO_COMPLEX' }),
  )
})

test('variables are nested so deep and no deeper, however deep the JSON was', () => {
  const nestedJson = (levels: number) => JSON.parse(`${'['.repeat(levels)}${']'.repeat(levels)}`)
  expect(() => checkVariables({ a: nestedJson(LIMITS.variablesDepth - 1) })).not.toThrow()
  for (const levels of [LIMITS.variablesDepth, 30_000, 400_000]) {
    expect(() => checkVariables({ a: nestedJson(levels) })).toThrow(
      expect.objectContaining({ code: 'TOO_COMPLEX', message: expect.stringContaining('deep') }),
    )
  }
})

function shapeOf(source: string) {
  const document = parse(source)
  const operation = getOperationAST(document)
  if (!operation) throw new TypeError('no operation')
  return measure(document, operation)
}

function nested(name: string, depth: number): string {
  return depth === 1 ? name : `${name} { ${nested(name, depth - 1)} }`
}

function many(name: string, count: number): string {
  return `x { ${Array.from({ length: count }, (_, i) => `${name}${i}: x`).join(' ')} }`
}
