import { execFileSync } from 'node:child_process'
import { chmodSync, chownSync, mkdirSync } from 'node:fs'
import os from 'node:os'
import { SetupError } from './setup-error.ts'

/** The account servers run as when Berth is run as root. */
export type Account = { readonly uid: number; readonly gid: number }

const NAME = 'berth'

/**
 * The account for servers: `undefined` (the invoking user) unless that user is root, which
 * Postgres refuses to run as.
 */
export function serverAccount(): Account | undefined {
  if (process.getuid?.() !== 0) return undefined
  return lookUp() ?? create()
}

/** The name that {@link serverAccount} logs in by: that of the invoking user unless it is root. */
export function serverAccountName(): string {
  return process.getuid?.() === 0 ? NAME : os.userInfo().username
}

/** Makes a directory that only the account (or the invoking user) may read. */
export function privateDirectory(directory: string, account: Account | undefined): void {
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  if (account) chownSync(directory, account.uid, account.gid)
}

/** Makes a directory that everyone may enter, whatever the umask. */
export function sharedDirectory(directory: string): void {
  const made = mkdirSync(directory, { recursive: true })
  if (made) chmodSync(made, 0o755)
  if (made) chmodSync(directory, 0o755)
}

/** @throws {SetupError} when the account cannot enter the directory, as under a 0700 home. */
export function assertReachable(directory: string, account: Account | undefined): void {
  if (account && !mayEnter(directory, account))
    throw new SetupError(
      `${directory} cannot be entered by the account ${NAME}, which servers run as: set BERTH_HOME to a directory that everyone may enter`,
    )
}

/** Whether the account can run the program. */
export function mayRun(file: string, account: Account | undefined): boolean {
  return !account || mayEnter(file, account)
}

function mayEnter(target: string, account: Account): boolean {
  try {
    execFileSync('test', ['-x', target], { ...account, cwd: '/', stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

function lookUp(): Account | undefined {
  const id = (flag: string) =>
    Number(execFileSync('id', [flag, NAME], { stdio: ['ignore', 'pipe', 'ignore'] }).toString())
  try {
    return { uid: id('-u'), gid: id('-g') }
  } catch {
    return undefined
  }
}

function create(): Account {
  const how = 'create it (useradd --system berth), or run Berth as an ordinary user'
  if (process.platform !== 'linux')
    throw new SetupError(`Servers do not run as root and there is no account ${NAME}: ${how}`)
  const path = `${process.env.PATH ?? ''}:/usr/sbin:/sbin`
  const options = { stdio: 'ignore', env: { ...process.env, PATH: path } } as const
  // A home that exists, and a shell: the development node's sessions begin in them.
  const home = ['--home-dir', '/', '--no-create-home', '--shell', '/bin/sh']
  const make = ['--system', '--user-group', ...home, NAME]
  try {
    execFileSync('useradd', make, options)
  } catch {
    // Either another start made it just now, or there is no useradd.
  }
  const account = lookUp()
  if (!account)
    throw new SetupError(`Servers do not run as root and ${NAME} could not be made: ${how}`)
  return account
}
