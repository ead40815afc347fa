import type { Client, ClientChannel } from 'ssh2'
import { SshError } from './error.ts'

export type SshExecOptions = {
  /** Sent whole, then end of file. */
  stdin?: string | Uint8Array
  timeoutSeconds: number
  /** Of stdout and stderr together; more ends the command with OUTPUT_TOO_LARGE. */
  maxBytes: number
}

export type SshResult = { code: number; stdout: string; stderr: string }

/** Runs one command to its exit. @throws {SshError} TIMEOUT, CLOSED (also by a signal), OUTPUT_TOO_LARGE */
export function runCommand(
  client: Client,
  command: string,
  options: SshExecOptions,
): Promise<SshResult> {
  return new Promise((done, fail) => {
    let opened: ClientChannel | undefined
    let isSettled = false
    const timer = setTimeout(() => end(new SshError('TIMEOUT')), options.timeoutSeconds * 1_000)
    const end = (outcome: SshError | SshResult) => {
      if (isSettled) return
      isSettled = true
      clearTimeout(timer)
      opened?.close()
      if (outcome instanceof SshError) fail(outcome)
      else done(outcome)
    }
    const onChannel = (error: Error | undefined, channel: ClientChannel) => {
      if (error) return end(new SshError('CLOSED', error))
      opened = channel
      if (isSettled) return channel.close()
      collect(channel, options, end)
    }
    try {
      client.exec(command, onChannel)
    } catch (cause) {
      end(new SshError('CLOSED', cause))
    }
  })
}

function collect(
  channel: ClientChannel,
  { stdin, maxBytes }: SshExecOptions,
  end: (outcome: SshError | SshResult) => void,
): void {
  const stdout: Buffer[] = []
  const stderr: Buffer[] = []
  let bytes = 0
  const into = (chunks: Buffer[]) => (chunk: Buffer) => {
    bytes += chunk.length
    if (bytes > maxBytes) return end(new SshError('OUTPUT_TOO_LARGE'))
    chunks.push(chunk)
  }
  channel.on('data', into(stdout))
  channel.stderr.on('data', into(stderr))
  channel.on('error', (cause: Error) => end(new SshError('CLOSED', cause)))
  channel.on('close', (code: number | null | undefined) => {
    if (typeof code !== 'number') return end(new SshError('CLOSED'))
    end({
      code,
      stdout: Buffer.concat(stdout).toString('utf8'),
      stderr: Buffer.concat(stderr).toString('utf8'),
    })
  })
  channel.end(stdin ?? '')
}
