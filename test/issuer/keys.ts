import { randomUUID } from 'node:crypto'
import { link, mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { exportJWK, generateKeyPair, type JWK } from 'jose'

export const SIGNING_ALGORITHM = 'ES256'

/**
 * The issuer's private signing keys, made at the first start and kept, readable by their owner
 * alone: tokens stay valid, and key caches warm, over a restart.
 */
export async function loadSigningKeys(stateDirectory: string): Promise<{ keys: JWK[] }> {
  const file = path.join(stateDirectory, 'signing.jwks.json')
  return (await read(file)) ?? (await create(stateDirectory, file))
}

async function read(file: string): Promise<{ keys: JWK[] } | undefined> {
  try {
    return JSON.parse(await readFile(file, 'utf8'))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw new Error(`${file} cannot be read: remove it, and new signing keys are made`, {
      cause: error,
    })
  }
}

async function create(directory: string, file: string): Promise<{ keys: JWK[] }> {
  const { privateKey } = await generateKeyPair(SIGNING_ALGORITHM, { extractable: true })
  const key = {
    ...(await exportJWK(privateKey)),
    alg: SIGNING_ALGORITHM,
    use: 'sig',
    kid: `issuer-${randomUUID()}`,
  }
  await mkdir(directory, { recursive: true, mode: 0o700 })
  const draft = `${file}.${randomUUID()}`
  await writeFile(draft, JSON.stringify({ keys: [key] }), { mode: 0o600, flag: 'wx' })
  try {
    // Whole or not at all; of two first starts one wins, and both use its keys.
    await link(draft, file)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  } finally {
    await rm(draft)
  }
  return (await read(file)) ?? { keys: [key] }
}
