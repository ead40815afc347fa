import { execFile } from 'node:child_process'
import { chmodSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs'
import path from 'node:path'
import { promisify } from 'node:util'
import { SetupError } from './setup-error.ts'

const run = promisify(execFile)

export type DebianPackages = {
  /** The directory to make: the packages' files as under `/`. */
  readonly cache: string
  readonly packages: readonly string[]
  /** Rejects when what was unpacked does not run here. */
  check(tree: string): Promise<void>
  readonly aptGet?: string
  readonly dpkgDeb?: string
}

/**
 * Unpacks packages, and what they need beyond what the system has, without installing them and
 * without root. Made aside and renamed into place: a run that is killed leaves nothing that looks
 * whole. The caller sees to it that only one runs at a time.
 *
 * @throws {SetupError} with apt's own reason
 */
export async function unpackDebianPackages(options: DebianPackages): Promise<void> {
  const { cache, packages, check, aptGet = 'apt-get', dpkgDeb = 'dpkg-deb' } = options
  const work = `${cache}.new`
  const lists = path.join(work, 'apt/lists')
  const archives = path.join(work, 'apt/cache/archives')
  const tree = path.join(work, 'tree')
  rmSync(work, { recursive: true, force: true })
  for (const directory of [path.join(lists, 'partial'), path.join(archives, 'partial'), tree])
    mkdirSync(directory, { recursive: true })
  const apt = (args: readonly string[], cwd = work) =>
    run(aptGet, [...settings(lists, path.join(work, 'apt/cache')), ...args], {
      cwd,
      env: { ...process.env, LC_ALL: 'C', DEBIAN_FRONTEND: 'noninteractive' },
      maxBuffer: 64 * 1024 * 1024,
    })
  try {
    // One unreachable source of several is no reason to stop: what is missing shows below.
    await apt(['-qq', 'update']).catch(() => {})
    const plan = await apt(['--simulate', 'install', ...packages])
    const closure = [...plan.stdout.matchAll(/^Inst (\S+)/gm)].map((match) => match[1]!)
    await apt(['-qq', 'download', ...closure], archives)
    for (const deb of readdirSync(archives).filter((file) => file.endsWith('.deb')))
      await run(dpkgDeb, ['--extract', path.join(archives, deb), tree])
    await check(tree)
  } catch (error) {
    rmSync(work, { recursive: true, force: true })
    const { stderr } = error as { stderr?: string }
    const why = (stderr || String(error)).trim().split('\n').at(-1)
    throw new SetupError(
      `The packages ${packages.join(', ')} could not be obtained from this system's sources: ${why}. Install them, or name running servers in REDIS_URL and NATS_URL`,
    )
  }
  chmodSync(tree, 0o755)
  rmSync(cache, { recursive: true, force: true })
  renameSync(tree, cache)
  rmSync(work, { recursive: true, force: true })
}

/** Makes apt keep everything in directories of ours and take no lock of the system's. */
function settings(lists: string, cache: string): string[] {
  return [
    `Dir::State::lists=${lists}`,
    `Dir::Cache=${cache}`,
    'APT::Sandbox::User=',
    'APT::Install-Recommends=0',
    'Debug::NoLocking=1',
    'Acquire::Languages=none',
    'Acquire::Retries=2',
    'Acquire::http::Timeout=20',
    'Acquire::https::Timeout=20',
  ].flatMap((setting) => ['-o', setting])
}
