import { spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'

export const contestantsFolder = path.join(import.meta.dirname, '..', 'contestants')

/**
 * Installs the other gateways from their own lock file, where that has not been done.
 *
 * @throws {Error} when stock there is not the version that our gateway stands on
 */
export async function installContestants(): Promise<void> {
  assertSameVersions()
  for (const folder of [contestantsFolder, path.join(contestantsFolder, 'mercurius')]) {
    if (!isInstalled(folder)) await install(folder)
  }
}

async function install(folder: string): Promise<void> {
  console.log(`installing ${path.basename(folder)} (once; not counted) …`)
  const npm = spawn('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], {
    cwd: folder,
    stdio: 'inherit',
  })
  const code = await new Promise((ended) => npm.once('exit', ended).once('error', ended))
  if (code !== 0) throw new Error(`npm ci in ${folder}: ${code}`)
}

/** As npm itself notes what it has installed. */
function isInstalled(folder: string): boolean {
  const note = path.join(folder, 'node_modules', '.package-lock.json')
  if (!existsSync(note)) return false
  const wanted = versionsOf(path.join(folder, 'package-lock.json'))
  const installed = versionsOf(note)
  return Object.entries(dependenciesOf(folder)).every(([name, version]) => {
    const at = `node_modules/${name}`
    return wanted[at]?.version === version && installed[at]?.version === version
  })
}

function assertSameVersions(): void {
  const ours = dependenciesOf(path.join(import.meta.dirname, '../../../gateway'))
  const theirs = dependenciesOf(contestantsFolder)
  for (const name of ['@apollo/gateway', '@apollo/server', 'graphql', 'undici']) {
    if (ours[name] === theirs[name]) continue
    throw new Error(`${name} is ${theirs[name]} in test/load/contestants, ${ours[name]} in gateway`)
  }
}

function dependenciesOf(folder: string): Record<string, string> {
  const text = readFileSync(path.join(folder, 'package.json'), 'utf8')
  return (JSON.parse(text) as { dependencies: Record<string, string> }).dependencies
}

function versionsOf(lock: string): Record<string, { version?: string }> {
  const { packages } = JSON.parse(readFileSync(lock, 'utf8')) as {
    packages: Record<string, { version?: string }>
  }
  return packages
}
