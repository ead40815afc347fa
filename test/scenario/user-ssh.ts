import { createHash } from 'node:crypto'
import { Client } from 'ssh2'

type Endpoint = { host: string; port: number; username: string; hostKeyFingerprint: string } | null

/**
 * Logs in with the user's own key, as `ssh -i key user@host command` does, and accepts only the host
 * key that the graph named.
 *
 * @returns what the command printed
 */
export function runOverSsh(
  endpoint: Endpoint,
  privateKey: string,
  command: string,
): Promise<string> {
  if (!endpoint) throw new Error('no SSH endpoint')
  const { host, port, username, hostKeyFingerprint } = endpoint
  const client = new Client()
  return new Promise<string>((resolve, reject) => {
    client
      .on('error', reject)
      .on('ready', () =>
        client.exec(command, (error, channel) => {
          if (error) return reject(error)
          let output = ''
          channel.on('data', (it: Buffer) => {
            output += it
          })
          channel.on('close', () => resolve(output))
        }),
      )
      .connect({
        host,
        port,
        username,
        privateKey,
        readyTimeout: 10_000,
        hostVerifier: (key: Buffer) => fingerprintOf(key) === hostKeyFingerprint,
      })
  }).finally(() => client.end())
}

/** OpenSSH's form: `SHA256:` and base64 without padding. */
function fingerprintOf(key: Buffer): string {
  return `SHA256:${createHash('sha256').update(key).digest('base64').replace(/=+$/, '')}`
}
