import { serviceActor } from '@berth/platform/actor'
import { appendAudit } from '@berth/platform/audit'
import { type Sql, type SqlDatabase, sqlState } from '@berth/platform/database'
import type { SecretEnvelope } from '@berth/platform/envelope'
import { addPepper } from '../service/secrets.ts'
import * as store from '../store/peppers.ts'

const IN_USE = '23503'

/** @returns whether it was done @throws {Error} for what it does not know */
export function createPepperTool({
  database,
  envelope,
  reason,
  print,
}: {
  database: Pick<SqlDatabase, 'sql' | 'sqlTransaction'>
  envelope: SecretEnvelope
  reason?: string | undefined
  print: (line: string) => void
}): (verb: string, id: string | undefined) => Promise<boolean> {
  return async (verb, id) => {
    if (verb === 'status') await status()
    else if (verb === 'add') {
      const added = await database.sqlTransaction(async (sql) => {
        await store.lockPeppers(sql)
        const pepper = await addPepper(sql, envelope)
        await audit(sql, 'pepper.add', pepper)
        return pepper
      })
      print(`Pepper ${added} is added: secrets are hashed with it from now on`)
      await status()
    } else if (verb === 'retire') return retire(Number(id))
    else throw new Error('Say status, add, or retire and a number')
    return true
  }

  async function retire(id: number): Promise<boolean> {
    if (!Number.isInteger(id)) throw new Error('Say which: retire and a number')
    try {
      const isRetired = await database.sqlTransaction(async (sql) => {
        await store.lockPeppers(sql)
        if (!(await store.retirePepper(sql, id))) return false
        await audit(sql, 'pepper.retire', id)
        return true
      })
      print(isRetired ? `Pepper ${id} is retired` : `Pepper ${id} is the newest, or there is none`)
      return isRetired
    } catch (error) {
      if (sqlState(error) !== IN_USE) throw error
      print(`Pepper ${id} is in use still, and stays:`)
      await status()
      return false
    }
  }

  async function status(): Promise<void> {
    for (const it of await store.pepperUses(database.sql)) {
      const good = `${it.apiKeys} API keys, ${it.overlaps} overlaps, ${it.invitations} invitations`
      print(`pepper ${it.id}: ${good}; ${it.ended} that have ended`)
    }
  }

  function audit(sql: Sql, action: string, id: number) {
    return appendAudit(sql, {
      organizationId: null,
      actor: serviceActor('policy'),
      action,
      target: String(id),
      ...(reason === undefined ? {} : { reason }),
    })
  }
}
