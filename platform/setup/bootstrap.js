// Plain JavaScript for any Node from 20 on, with nothing installed: it obtains what the rest needs.
import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '../..')

const NODE_OLDEST = 20
const NPM_OLDEST = 10

/**
 * Installs the locked dependencies if they are missing or are those of another lock file.
 * Ends the process with one line that says what to do when that fails.
 */
export function install() {
  const node = Number(process.versions.node.split('.')[0])
  if (node < NODE_OLDEST)
    fail(`Node ${NODE_OLDEST} or newer is needed to start (this is ${process.version})`)
  if (process.platform === 'win32') fail('Berth runs on Linux and macOS: on Windows use WSL 2')
  const stampFile = path.join(root, 'node_modules/.berth-installed')
  const stamp = lockStamp()
  if (existsSync(nodeProgram()) && read(stampFile) === stamp) return
  if (matchesLock() && existsSync(nodeProgram())) {
    writeFileSync(stampFile, stamp)
    return
  }
  const npm = spawnSync('npm', ['--version'], { encoding: 'utf8' })
  if (npm.error) fail('npm is not on PATH: it comes with Node')
  if (Number(npm.stdout.split('.')[0]) < NPM_OLDEST)
    fail(`npm ${NPM_OLDEST} or newer is needed (this is ${npm.stdout.trim()}): npm install -g npm`)
  console.log('Installing dependencies (once per lock file)')
  rmSync(stampFile, { force: true })
  const installed = spawnSync('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'], {
    cwd: root,
    stdio: ['ignore', 'inherit', 'inherit'],
    env: installEnvironment(),
  })
  if (installed.status !== 0) fail('npm ci failed: its message above says why')
  if (!existsSync(nodeProgram()))
    fail('npm ci did not install Node 24 (node_modules/node): install scripts must not be disabled')
  writeFileSync(stampFile, stamp)
}

/**
 * Runs a program of this repository under the Node it is written for, in the foreground. Ends this
 * process as that one ends.
 *
 * @param {string} script relative to the repository
 * @param {string[]} args
 */
export function runNode(script, args = process.argv.slice(2)) {
  const child = spawn(nodeProgram(), ['--enable-source-maps', path.join(root, script), ...args], {
    stdio: 'inherit',
    env: environment(),
  })
  // A terminal's Ctrl-C reaches the child by itself; what is sent to this process alone does not.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'])
    process.on(signal, () => {
      if (signal !== 'SIGINT' || !process.stdin.isTTY) child.kill(signal)
    })
  child.once('error', (error) => fail(error.message))
  child.once('exit', (code, signal) => process.exit(signal ? 1 : code))
}

/** The environment in which `node` is this repository's. */
export function environment() {
  const bin = path.join(root, 'node_modules/.bin')
  return { ...process.env, PATH: [bin, process.env.PATH].join(path.delimiter) }
}

/** One line for a person, and a failure for whoever asked. */
export function fail(message) {
  console.error(message)
  process.exit(1)
}

/** npm 10 knows no allowScripts and runs every install script: these must not reach for a download. */
function installEnvironment() {
  return {
    ...process.env,
    PRISMA_SKIP_POSTINSTALL_GENERATE: '1',
    PRISMA_SCHEMA_ENGINE_BINARY: process.execPath,
    PRISMA_ENGINES_CHECKSUM_IGNORE_MISSING: '1',
  }
}

function nodeProgram() {
  return path.join(root, 'node_modules/node/bin/node')
}

/** Whether the packages were installed by hand from this very lock file. */
function matchesLock() {
  const installed = read(path.join(root, 'node_modules/.package-lock.json'))
  const wanted = read(path.join(root, 'package-lock.json'))
  if (!installed || !wanted) return false
  const packages = JSON.parse(installed).packages
  const entries = Object.entries(JSON.parse(wanted).packages)
  return entries.every(
    ([at, { version, optional, link }]) =>
      !at.startsWith('node_modules/') || link || optional || packages[at]?.version === version,
  )
}

/** The lock file, and for which machine: a checkout may be seen by two kinds of them. */
function lockStamp() {
  const lock = readFileSync(path.join(root, 'package-lock.json'))
  const machine = `${process.platform}-${process.arch}`
  return createHash('sha256').update(lock).update(machine).digest('hex')
}

function read(file) {
  return existsSync(file) ? readFileSync(file, 'utf8') : undefined
}
