import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname } from 'node:path'
import { compileFunction } from 'node:vm'

const require = createRequire(import.meta.url)
const CIPHERS = require.resolve('ssh2/lib/protocol/crypto.js')

/**
 * While a terminal does not echo, as at a password, OpenSSH's sshd answers input with an ignored
 * message of the same size, to hide that it is one: as much as it passes on to the terminal in one
 * write, 474,640 bytes were seen. ssh2 1.17 gives the connection up at a packet of more than 35,000
 * bytes, a constant of one of its files, and a shell is lost to a large paste. So that file is
 * loaded here with another limit: sshd holds at most a channel's window of input, 2 MiB.
 */
const THEIRS = 'const MAX_PACKET_SIZE = 35000;'
const OURS = `const MAX_PACKET_SIZE = ${2 * 1_024 * 1_024 + 65_536};`

if (!require.cache[CIPHERS]) require.cache[CIPHERS] = loadCiphers()
const ssh2 = require('ssh2') as typeof import('ssh2')

export const Client = ssh2.Client
export const parseKey = ssh2.utils.parseKey

function loadCiphers(): NodeJS.Module {
  const source = readFileSync(CIPHERS, 'utf8')
  if (!source.includes(THEIRS)) throw new Error('this is not the ssh2 that this module is for')
  const module = { exports: {}, id: CIPHERS, filename: CIPHERS, loaded: true, children: [] }
  const names = ['exports', 'require', 'module', '__filename', '__dirname']
  const run = compileFunction(source.replace(THEIRS, OURS), names, { filename: CIPHERS })
  run(module.exports, createRequire(CIPHERS), module, CIPHERS, dirname(CIPHERS))
  return module as unknown as NodeJS.Module
}
