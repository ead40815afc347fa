import fc from 'fast-check'
import {
  buildSchema,
  getVariableValues,
  Kind,
  type OperationDefinitionNode,
  parse,
  print,
} from 'graphql'
import { expect, test } from 'vitest'
import { createCoerce } from './variables.ts'

const schema = buildSchema(`
  type Query { anything(of: ID): String }
  # No Float: then a variable cannot be one.
  input Range { from: Int! to: Int = 3 }
  enum Kind { A B }
  scalar Any
`)
const coerce = createCoerce(schema)

const NAMED = ['Int', 'Float', 'String', 'ID', 'Boolean', 'Range', 'Kind', 'Any']
const type = fc
  .tuple(fc.constantFrom(...NAMED), fc.constantFrom('', '!', '[]', '[!]!'))
  .map(([name, of]) => (of.startsWith('[') ? `[${name}${of.slice(1)}` : `${name}${of}`))
const name = fc.constantFrom('a', 'b', 'c', 'toString', '__proto__', 'constructor')
const definitions = fc.uniqueArray(fc.record({ name, type, hasDefault: fc.boolean() }), {
  selector: (it) => it.name,
  maxLength: 4,
})
const value = fc.oneof(
  fc.constantFrom<unknown>(
    undefined,
    null,
    true,
    0,
    -0,
    1.5,
    2 ** 31,
    -(2 ** 31),
    1e300,
    Number.NaN,
  ),
  fc.integer(),
  fc.double(),
  fc.string(),
  fc.constantFrom('A', 'B', 'C'),
  fc.jsonValue(),
)
const variables = fc.dictionary(name, value)

const DEFAULTS: Readonly<Record<string, string>> = {
  Int: '7',
  Float: '1.5',
  String: '"text"',
  ID: '"id"',
  Boolean: 'false',
}

test('the values, and what is wrong with them, are those of graphql-js', () => {
  fc.assert(
    fc.property(definitions, variables, (all, given) => {
      const definition = operationOf(all)
      const expected = getVariableValues(schema, definition.variableDefinitions ?? [], given)
      expect(shown(coerce(definition, given))).toEqual(shown(expected))
      // Asked again, for what is known by then.
      expect(shown(coerce(definition, given))).toEqual(shown(expected))
    }),
    { numRuns: 3_000 },
  )
})

function operationOf(
  all: readonly { name: string; type: string; hasDefault: boolean }[],
): OperationDefinitionNode {
  const heads = all.map(({ name, type, hasDefault }) => {
    const value = hasDefault ? DEFAULTS[type] : undefined
    return `$${name}: ${type}${value ? ` = ${value}` : ''}`
  })
  const head = heads.length > 0 ? `(${heads.join(', ')})` : ''
  const [definition] = parse(`query ${head} { anything }`).definitions
  if (definition?.kind !== Kind.OPERATION_DEFINITION) throw new TypeError('no operation')
  return definition
}

function shown({ coerced, errors }: ReturnType<typeof coerce>) {
  return {
    coerced: coerced && Object.entries(coerced),
    errors: errors?.map((it) => [it.message, it.nodes?.map(print)]),
  }
}

test('names of the schema are suggested to none who may not see it, and values are told all the same', () => {
  const definition = definitionOf('query ($k: Kind, $r: Range) { anything }')
  const variables = { k: 'a', r: { form: 1, from: 1 } }
  const told = (hideSchema: boolean) =>
    createCoerce(schema, { hideSchema })(definition, variables).errors?.map(
      ({ message }) => message,
    )
  expect(told(false)).toEqual([
    expect.stringMatching(/Did you mean the enum value "A"/),
    expect.stringMatching(/Did you mean "from"/),
  ])
  expect(told(true)).toEqual([
    'Variable "$k" got invalid value "a"; Value "a" does not exist in "Kind" enum.',
    expect.stringMatching(/Field "form" is not defined by type "Range"\.$/),
  ])
})

function definitionOf(source: string): OperationDefinitionNode {
  return parse(source).definitions[0] as OperationDefinitionNode
}
