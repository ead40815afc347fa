import { newUuid } from '@berth/platform/ids'
import { expect } from 'vitest'
import type { Installation, memberOf } from './service.ts'

export const CREATE = `mutation ($input: AllocationCreateInput!) { allocationCreate(input: $input) { allocation {
  id name state reason allowedActions gpuModel { code } gpuCount slots { id } ssh { host } createdBy { id } } } }`
export const RELEASE = `mutation ($id: ID!) { allocationRelease(input: { id: $id }) {
  allocation { id state reason endedAt } } }`
export const READ = `query ($id: ID!) { allocation(id: $id) { id state reason startedAt endedAt slots { id }
  allowedActions ssh { host port username hostKeyFingerprint } events { id sequence state reason at } } }`

export const UPDATES = `subscription ($after: String, $id: ID) { allocationUpdated(after: $after, allocationId: $id) {
  cursor event { id sequence state } allocation { id state name } } }`

export const input = { name: 'training', gpuModel: 'a100-sxm4-80gb', gpuCount: 1 }

export function withKey(key: string = newUuid()): Record<string, string> {
  return { 'idempotency-key': key }
}

type Service = Awaited<ReturnType<Installation['open']>>
type Member = ReturnType<typeof memberOf>

/** @returns the id of an allocation that is RESERVED or further */
export async function create(
  service: Service,
  actor: Member,
  headers: Record<string, string> = withKey(),
): Promise<string> {
  const answer = await service.ask(actor, CREATE, { input }, headers)
  expect(answer.errors).toBeUndefined()
  return answer.data.allocationCreate.allocation.id
}

export async function stateOf(service: Service, actor: Member, id: string): Promise<string> {
  return (await service.ask(actor, READ, { id })).data.allocation?.state
}
