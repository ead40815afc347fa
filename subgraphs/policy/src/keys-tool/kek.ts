import { serviceActor } from '@berth/platform/actor'
import { appendAudit } from '@berth/platform/audit'
import type { SqlDatabase } from '@berth/platform/database'
import type { KekProvider, SecretEnvelope } from '@berth/platform/envelope'
import { countSealed, rewrapAll } from '@berth/platform/rewrap'
import type { KekFile } from '@berth/platform/run/kek-file'
import { sealedColumns } from '../store/sealed-columns.ts'

/** @returns whether it was done @throws {Error} for what it does not know */
export function createKekTool({
  database: { sql },
  envelope,
  kek,
  file,
  reason,
  print,
}: {
  database: Pick<SqlDatabase, 'sql'>
  envelope: SecretEnvelope
  kek: KekProvider
  file: KekFile
  reason?: string | undefined
  print: (line: string) => void
}): (verb: string, id: string | undefined) => Promise<boolean> {
  return async (verb, id) => {
    switch (verb) {
      case 'status':
        await status()
        return true
      case 'add': {
        const added = file.add()
        await audit('kek.add', added)
        print(`Key ${added} is added: it opens, and seals nothing yet`)
        return true
      }
      case 'use':
        file.use(named(id))
        await audit('kek.use', named(id))
        print(`Key ${id} seals from now on`)
        return true
      case 'rewrap':
        return rewrap()
      case 'retire':
        return retire(named(id))
      default:
        throw new Error('Say status, add, use and a key, rewrap, or retire and a key')
    }
  }

  async function rewrap(): Promise<boolean> {
    const current = await kek.currentId()
    const done = await rewrapAll({ sql, envelope, kek, columns: sealedColumns })
    for (const { column, rewrapped, missed, refused } of done) {
      const rest = missed > 0 ? `, ${missed} changed meanwhile: run it again` : ''
      print(`${column}: ${rewrapped} rewrapped${rest}`)
      for (const key of refused) print(`  ${key} DOES NOT OPEN, and was left as it is`)
    }
    const total = done.reduce((sum, { rewrapped }) => sum + rewrapped, 0)
    if (total > 0) await audit('kek.rewrap', current, { rewrapped: total })
    await status()
    return (await countSealed(sql, sealedColumns)).every(({ kekId }) => kekId === current)
  }

  /** Looked for before and after: what was sealed with it in the meantime puts it back. */
  async function retire(id: string): Promise<boolean> {
    if ((await under(id)) > 0) return refuse(id)
    const putBack = file.remove(id)
    if ((await under(id)) > 0) {
      putBack()
      return refuse(id)
    }
    await audit('kek.retire', id)
    print(`Key ${id} is retired: nothing is sealed with it, and nothing opens with it any more`)
    return true
  }

  async function refuse(id: string): Promise<boolean> {
    print(`Key ${id} stays: rewrap first what is sealed with it`)
    await status()
    return false
  }

  async function under(id: string): Promise<number> {
    const counts = await countSealed(sql, sealedColumns)
    return counts.filter(({ kekId }) => kekId === id).reduce((sum, { count }) => sum + count, 0)
  }

  async function status(): Promise<void> {
    const { current, all } = file.ids()
    const counts = await countSealed(sql, sealedColumns)
    for (const id of new Set([...all, ...counts.map(({ kekId }) => kekId)])) {
      const here = counts.filter(({ kekId }) => kekId === id)
      const what = here.map(({ column, count }) => `${column} ${count}`).join(', ')
      const is = id === current ? ' (seals)' : all.includes(id) ? '' : ' (NOT IN kek.json)'
      print(`key ${id}${is}: ${what || 'nothing'}`)
    }
  }

  function audit(action: string, target: string, facts: { rewrapped?: number } = {}) {
    return appendAudit(sql, {
      organizationId: null,
      actor: serviceActor('policy'),
      action,
      target,
      facts,
      ...(reason === undefined ? {} : { reason }),
    })
  }
}

function named(id: string | undefined): string {
  if (id) return id
  throw new Error('Say which key')
}
