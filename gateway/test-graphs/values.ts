import {
  type GraphQLArgument,
  type GraphQLInputType,
  getNamedType,
  isEnumType,
  isInputObjectType,
  isListType,
  isNonNullType,
  isRequiredInputField,
} from 'graphql'
import type { Choices } from './choices.ts'
import type { OpenGraph } from './graph.ts'

const SCALARS: Record<string, readonly unknown[]> = {
  Int: [0, 1, 2, 3, -1],
  Float: [0, 1.5, 2, -0.25],
  String: ['', 'a', 'ä "quoted"\\', 'EUR'],
  Boolean: [true, false],
  ID: ['1', '2', '3', 'none'],
}

/** Values of arguments: literals, and variables with and without a default, a null or a value. */
export function createValues({ definition }: OpenGraph, choices: Choices) {
  const definitions: string[] = []
  const given: Record<string, unknown> = {}

  return {
    argument(type: string, field: string, arg: GraphQLArgument): string {
      const own = definition.values?.[`${type}.${field}(${arg.name}:)`]
      const pool = own ?? null
      if (choices.chance(0.4)) return variable(arg.type, arg.defaultValue !== undefined, pool)
      return literal(arg.type, pool)
    },
    /** For `@skip` and `@include`, mostly such that something is left. */
    condition(isMostlyTrue: boolean): string {
      const value = choices.chance(0.75) === isMostlyTrue
      return choices.chance(0.7) ? declare('Boolean!', value) : String(value)
    },
    definitions: () => (definitions.length > 0 ? `(${definitions.join(', ')})` : ''),
    given: () => given,
  }

  function variable(type: GraphQLInputType, hasDefault: boolean, pool: readonly unknown[] | null) {
    const inner = isNonNullType(type) ? type.ofType : type
    const value = () => randomOf(inner, pool)
    if (isNonNullType(type) && !hasDefault) {
      if (choices.chance(0.2)) return declare(`${inner} = ${textOf(value(), inner)}`)
      if (choices.chance(0.2)) return declare(`${inner} = ${textOf(value(), inner)}`, value())
      return declare(String(type), value())
    }
    return choices.of([
      () => declare(String(inner)),
      () => declare(String(inner), value()),
      () => declare(`${inner} = ${textOf(value(), inner)}`),
      () => declare(`${inner} = ${textOf(value(), inner)}`, value()),
      () => declare(`${inner}!`, value()),
      () => declare(String(inner), null),
    ])()
  }

  function declare(type: string, ...value: [unknown?]): string {
    const name = `v${definitions.length}`
    definitions.push(`$${name}: ${type}`)
    if (value.length > 0) given[name] = value[0]
    return `$${name}`
  }

  /** A literal, in which variables may stand. */
  function literal(type: GraphQLInputType, pool: readonly unknown[] | null): string {
    if (isNonNullType(type)) return literal(type.ofType, pool)
    if (isInputObjectType(type) && choices.chance(0.4)) {
      const fields = Object.values(type.getFields()).flatMap((field) => {
        if (!isRequiredInputField(field) && choices.chance(0.4)) return []
        const nested = choices.chance(0.4)
          ? variable(field.type, field.defaultValue !== undefined, null)
          : literal(field.type, null)
        return [`${field.name}: ${nested}`]
      })
      return `{ ${fields.join(', ')} }`
    }
    if (isListType(type) && choices.chance(0.3)) {
      return `[${literal(type.ofType, pool)}, ${literal(type.ofType, pool)}]`
    }
    return textOf(randomOf(type, pool), type)
  }

  function randomOf(type: GraphQLInputType, pool: readonly unknown[] | null): unknown {
    if (isNonNullType(type)) return randomOf(type.ofType, pool)
    if (isListType(type)) {
      const length = choices.below(3)
      return Array.from({ length }, () => randomOf(type.ofType, pool))
    }
    if (isInputObjectType(type)) {
      const entries = Object.values(type.getFields()).flatMap((field) =>
        !isRequiredInputField(field) && choices.chance(0.4)
          ? []
          : [[field.name, randomOf(field.type, null)] as const],
      )
      return Object.fromEntries(entries)
    }
    if (isEnumType(type)) return choices.of(type.getValues()).name
    return choices.of(pool ?? definition.values?.[type.name] ?? SCALARS[type.name] ?? ['custom', 7])
  }
}

/** A value as GraphQL literal. */
function textOf(value: unknown, type: GraphQLInputType): string {
  if (isNonNullType(type)) return textOf(value, type.ofType)
  if (isListType(type) && Array.isArray(value)) {
    return `[${value.map((it) => textOf(it, type.ofType)).join(', ')}]`
  }
  if (isInputObjectType(type) && typeof value === 'object' && value !== null) {
    const fields = type.getFields()
    const entries = Object.entries(value).map(
      ([name, it]) => `${name}: ${textOf(it, fields[name]!.type)}`,
    )
    return `{ ${entries.join(', ')} }`
  }
  if (isEnumType(getNamedType(type))) return String(value)
  return objectText(value)
}

/** Any JSON as GraphQL literal: keys are names, as custom scalars may have them. */
function objectText(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(objectText).join(', ')}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  return `{ ${Object.entries(value)
    .map(([key, it]) => `${key}: ${objectText(it)}`)
    .join(', ')} }`
}
