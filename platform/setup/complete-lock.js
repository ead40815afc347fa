// Run after `npm install` changed package-lock.json: `node platform/setup/complete-lock.js`.
//
// npm leaves a package's builds for other systems out of the lock file when the registry it asked
// does not list them, and `npm ci` then refuses the lock file everywhere. This writes them in from
// what their owner requires, so that the lock file is whole for every system.
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { root } from './bootstrap.js'

const SYSTEMS = ['darwin', 'linux', 'win32', 'android', 'freebsd', 'openharmony']
const PROCESSORS = ['x64', 'arm64', 'arm', 'ia32', 'ppc64', 'riscv64', 's390x']

const file = path.join(root, 'package-lock.json')
const lock = JSON.parse(readFileSync(file, 'utf8'))
const added = []
for (const [owner, { optionalDependencies = {} }] of Object.entries(lock.packages)) {
  for (const [name, version] of Object.entries(optionalDependencies)) {
    if (!/^\d/.test(version) || isLocked(owner, name)) continue
    const system = systemOf(name)
    if (!system.os || !system.cpu) continue
    const dev = lock.packages[owner].dev ? { dev: true } : {}
    lock.packages[`node_modules/${name}`] = { version, ...dev, optional: true, ...system }
    added.push(`${name}@${version}`)
  }
}
const { '': workspace, ...rest } = lock.packages
lock.packages = { '': workspace, ...Object.fromEntries(Object.entries(rest).sort(byName)) }
writeFileSync(file, `${JSON.stringify(lock, null, 2)}\n`)
console.log(added.length ? `Added ${added.join(', ')}` : 'The lock file is whole')

/** Whether Node's resolution from the owner finds the package in the lock file. */
function isLocked(owner, name) {
  for (let at = owner; ; at = at.slice(0, Math.max(0, at.lastIndexOf('/node_modules/')))) {
    if (lock.packages[at ? `${at}/node_modules/${name}` : `node_modules/${name}`]) return true
    if (!at) return false
  }
}

/** The system a build is for, as its name tells: `…-linux-arm64-musl`, `…/windows-64`. */
function systemOf(name) {
  const words = name.replace('windows', 'win32').split(/[/-]/)
  const os = SYSTEMS.filter((system) => words.includes(system))
  const cpu = words.at(-1) === '64' ? ['x64'] : PROCESSORS.filter((cpu) => words.includes(cpu))
  const libc = words.includes('musl') ? { libc: ['musl'] } : {}
  return os.length ? { cpu, os, ...libc } : {}
}

function byName([a], [b]) {
  return a < b ? -1 : 1
}
