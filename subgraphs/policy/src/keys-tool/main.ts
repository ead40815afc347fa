// `npm run keys:pepper` and `npm run keys:kek`: doc/key-rotation.md.
import { parseArgs } from 'node:util'
import { createEnvelope } from '@berth/platform/envelope'
import { localFileKek } from '@berth/platform/kek'
import { installationOf } from '@berth/platform/run/installation'
import { openKekFile } from '@berth/platform/run/kek-file'
import { loadKeys } from '@berth/platform/trusted-keys'
import { openPolicyDatabase } from '../database.ts'
import { createKekTool } from './kek.ts'
import { createPepperTool } from './pepper.ts'

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    /** Why, for the audit. */
    reason: { type: 'string' },
  },
})

async function main(): Promise<boolean> {
  const [what, verb = 'status', id] = positionals
  const { databaseUrl, keysDir } = installationOf('policy', process.env)
  const database = openPolicyDatabase(databaseUrl)
  try {
    const keys = loadKeys(keysDir, 'policy')
    const kek = localFileKek(() => keys.keks)
    const given = {
      database,
      envelope: createEnvelope(kek),
      kek,
      file: openKekFile(keysDir),
      reason: values.reason,
      print: (line: string) => console.log(line),
    }
    if (what === 'pepper') return await createPepperTool(given)(verb, id)
    if (what === 'kek') return await createKekTool(given)(verb, id)
    throw new Error('Say pepper or kek')
  } finally {
    await database.close()
  }
}

main().then(
  (isDone) => {
    process.exitCode = isDone ? 0 : 1
  },
  (error: Error) => {
    console.error(error.message)
    process.exitCode = 2
  },
)
