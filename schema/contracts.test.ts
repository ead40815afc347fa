import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import {
  type CommandContract,
  closedSchemaProblems,
  type EventContract,
} from '@berth/platform/contract'
import { buildSchema, isEnumType, isInputObjectType, isInterfaceType, isObjectType } from 'graphql'
import { expect, test } from 'vitest'

type Contract = CommandContract | EventContract

const all = [...(await contractsIn('events')), ...(await contractsIn('commands'))]

test('every event and command is found by its file', () => {
  expect(all.filter((it) => it.kind === 'event').length).toBeGreaterThanOrEqual(14)
  expect(all.filter((it) => it.kind === 'command').length).toBeGreaterThanOrEqual(10)
})

test('events carry ids and small facts only, and commands take closed input', () => {
  expect(all.flatMap(closedSchemaProblems)).toEqual([])
})

test('subjects and command names are unique', () => {
  const names = all.map((it) => (it.kind === 'event' ? it.subject : it.name))
  expect(names).toEqual([...new Set(names)])
})

test('an event with a secret or a free-form field would be found', async () => {
  const { event } = await import('@berth/platform/contract')
  const { z } = await import('zod')
  const leaky = event({
    domain: 'x',
    aggregate: 'y',
    verb: 'z',
    version: 1,
    data: z.looseObject({ token: z.string().max(9), note: z.string() }),
  })
  expect(closedSchemaProblems(leaky)).toHaveLength(3)
})

test('every type, field, argument and value that clients see is described', () => {
  const api = buildSchema(readFileSync(path.join(import.meta.dirname, 'api.graphql'), 'utf8'))
  const missing: string[] = []
  const need = (it: { description?: string | null | undefined }, name: string) => {
    if (!it.description) missing.push(name)
  }
  for (const type of Object.values(api.getTypeMap())) {
    const isRoot = [api.getQueryType(), api.getMutationType(), api.getSubscriptionType()].some(
      (it) => it === type,
    )
    if (type.name.startsWith('__')) continue
    if (!isRoot) need(type, type.name)
    if (isEnumType(type)) for (const it of type.getValues()) need(it, `${type.name}.${it.name}`)
    if (!isObjectType(type) && !isInterfaceType(type) && !isInputObjectType(type)) continue
    for (const field of Object.values(type.getFields())) {
      need(field, `${type.name}.${field.name}`)
      if ('args' in field) {
        for (const arg of field.args) need(arg, `${type.name}.${field.name}(${arg.name})`)
      }
    }
  }
  expect(missing).toEqual([])
})

/** Every contract that the modules of a folder export, on its own or as a value of a record. */
async function contractsIn(folder: string): Promise<Contract[]> {
  const files = readdirSync(path.join(import.meta.dirname, folder))
  const modules = await Promise.all(
    files.map((it) => import(/* @vite-ignore */ path.join(import.meta.dirname, folder, it))),
  )
  const values = modules.flatMap((it) => Object.values(it as Record<string, unknown>))
  return values.flatMap((it) =>
    isContract(it) ? [it] : Object.values(it ?? {}).filter(isContract),
  )
}

function isContract(it: unknown): it is Contract {
  return (
    typeof it === 'object' && it !== null && 'kind' in it && 'callers' in it !== 'subject' in it
  )
}
