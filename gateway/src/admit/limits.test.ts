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
    conditions: 0,
    conditionDepth: 0,
    rootFields: 3,
    introspects: false,
  })
})

test('variables of conditions are counted once each, wherever they stand', () => {
  const heads = (count: number) => Array.from({ length: count }, (_, i) => `$v${i}: Boolean!`)
  const conditions = (count: number) =>
    Array.from({ length: count }, (_, i) => `x${i}: x @skip(if: $v${i})`)
  const source = (count: number) =>
    `query (${heads(count)}) { z { ...F ...F y @include(if: $v0) } } fragment F on Q { ${conditions(count).join(' ')} }`
  expect(shapeOf(source(3)).conditions).toBe(3)
  expect(() => checkShape(shapeOf(source(LIMITS.conditions)))).not.toThrow()
  expect(() => checkShape(shapeOf(source(LIMITS.conditions + 1)))).toThrow(
    `condition variables ${LIMITS.conditions + 1} (at most ${LIMITS.conditions})`,
  )
})

test('conditions within each other are counted through fragments, of subscriptions only', () => {
  const source = (type: string, count: number) =>
    `${type} ($v: Boolean!) { x { ...F0 } y @skip(if: $v) z @skip(if: true) { z @include(if: false) } }
      ${Array.from({ length: count }, (_, i) => `fragment F${i} on X { x ...F${i + 1} ${['@skip(if: $v)', '@include(if: $v)', '@skip(if: false)'][i % 3]} }`).join(' ')}
      fragment F${count} on X { x }`
  const { conditionDepth: limit } = LIMITS
  expect(shapeOf(source('subscription', 3)).conditionDepth).toBe(3)
  expect(() => checkShape(shapeOf(source('subscription', limit)))).not.toThrow()
  expect(() => checkShape(shapeOf(source('query', limit + 1)))).not.toThrow()
  expect(() => checkShape(shapeOf(source('subscription', limit + 1)))).toThrow(
    `conditions within each other ${limit + 1} (at most ${limit})`,
  )
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

test('their size is counted in bytes, whatever characters they are made of', () => {
  const { variablesBytes: limit } = LIMITS
  for (const [text, bytes] of [
    ['x', 1],
    ['"', 2],
    ['é', 2],
    ['€', 3],
    ['\u{1f680}', 4],
    ['\u0000', 6],
    ['\ud800', 6],
  ] as const) {
    const fitting = text.repeat(Math.floor((limit - '{"":""}'.length) / bytes))
    expect(() => checkVariables({ '': fitting })).not.toThrow()
    expect(() => checkVariables({ '': fitting + text })).toThrow('too large')
    expect(() => checkVariables({ [fitting]: '' })).not.toThrow()
    expect(() => checkVariables({ [fitting + text]: '' })).toThrow('too large')
  }
  for (const item of [null, true, false, -1.2345678901234567e-100, {}, []]) {
    const count = Math.floor((limit - '{"a":[]}'.length + 1) / (JSON.stringify(item).length + 1))
    expect(() => checkVariables({ a: Array(count).fill(item) })).not.toThrow()
    expect(() => checkVariables({ a: Array(count + 1).fill(item) })).toThrow('too large')
  }
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
