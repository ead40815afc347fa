import type { Sql } from '@berth/platform/database'
import { DomainError } from '@berth/platform/errors'
import { isId } from '@berth/platform/ids'
import type { readStanding } from '@berth/schema/commands/policy'
import type { z } from 'zod'
import { actorOf } from '../domain/principal.ts'
import type { DirectoryStore } from '../store/directory.ts'
import { isUnrevoked } from '../store/sessions.ts'

/** Answers `actors.standing`, from what is committed. */
export type PersonStanding = (
  input: z.output<typeof readStanding.input>,
) => Promise<z.output<typeof readStanding.output>>

export function createPersonStanding({
  store,
  sql,
}: {
  store: Pick<DirectoryStore, 'principalOf'>
  sql: Sql
}): PersonStanding {
  return async ({ userId, organizationId, credential }) => {
    // Of a token of the issuer's nothing is kept here.
    if (credential !== null && isId('ses', credential)) {
      const isGood = await isUnrevoked(sql, credential, userId)
      if (!isGood) return { standing: 'SIGNED_OUT', roles: [] }
    }
    const principal = await store.principalOf(userId)
    if (!principal) return SHUT_OUT
    try {
      return { standing: 'GOOD', roles: actorOf(principal, organizationId).roles }
    } catch (error) {
      if (error instanceof DomainError) return SHUT_OUT
      throw error
    }
  }
}

const SHUT_OUT: { standing: 'SHUT_OUT'; roles: string[] } = { standing: 'SHUT_OUT', roles: [] }
