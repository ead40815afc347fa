import { randomUUID } from 'node:crypto'
import type { Socket } from 'node:net'
import type { CommandClient } from '@berth/platform/commands'
import type { DialGuard } from '@berth/platform/dial-guard'
import { DomainError } from '@berth/platform/errors'
import { connectSsh, type SshConnection, SshError } from '@berth/platform/ssh'
import { newSshKeyPair } from '@berth/platform/ssh-certificate'
import { signCertificate } from '@berth/schema/commands/policy'
import type { Problem } from './domain/node.ts'
import { NvidiaSmiError, parseNvidiaSmi } from './domain/nvidia-smi.ts'
import { type NodeProbe, ProbeNotMade, type ProbeResult, type ProbeTarget } from './probe.ts'

const CERTIFICATE_SECONDS = 120
const DIAL_MS = 5_000
const LOGIN_SECONDS = 10
const COMMAND_SECONDS = 20
/** 16 GPUs of the most talkative driver are 1 MB. */
const MAX_BYTES = 4 * 1024 * 1024

/** Probes over SSH, with a key of its own for each probe and a certificate of minutes for it. */
export function sshNodeProbe({
  dial,
  commands,
}: {
  dial: Pick<DialGuard, 'connect'>
  commands: CommandClient
}): NodeProbe {
  return {
    async probe(target) {
      const keys = newSshKeyPair()
      const certificate = await certify(commands, target, keys.publicKey)
      const startedAt = performance.now()
      let socket: Socket
      try {
        socket = await dial.connect(target.host, target.port, { timeoutMs: DIAL_MS })
      } catch (error) {
        return { ok: false, latencyMs: null, problem: problemOf(error) }
      }
      const latencyMs = Math.round(performance.now() - startedAt)
      const { privateKey } = keys
      return ask(target, { socket, privateKey, certificate, latencyMs })
    },
  }
}

async function certify(
  commands: CommandClient,
  target: ProbeTarget,
  publicKey: string,
): Promise<string> {
  try {
    const principal = `admin@${target.name}`
    const input = {
      authority: 'node' as const,
      publicKey,
      principal,
      organizationId: null,
      ttlSeconds: CERTIFICATE_SECONDS,
    }
    // A key of its own for each probe, so a command of its own.
    const { certificate } = await commands.call(signCertificate, input, { commandId: randomUUID() })
    return certificate
  } catch (cause) {
    throw new ProbeNotMade('no certificate to log in with', { cause })
  }
}

async function ask(
  { username, hostKeyFingerprint }: ProbeTarget,
  {
    socket,
    privateKey,
    certificate,
    latencyMs,
  }: { socket: Socket; privateKey: string; certificate: string; latencyMs: number },
): Promise<ProbeResult> {
  let ssh: SshConnection | undefined
  try {
    ssh = await connectSsh({
      target: { socket },
      username,
      hostKeySha256: hostKeyFingerprint,
      privateKey,
      certificate,
      timeoutSeconds: LOGIN_SECONDS,
    })
    const { code, stdout } = await ssh.exec('nvidia-smi -q -x', {
      timeoutSeconds: COMMAND_SECONDS,
      maxBytes: MAX_BYTES,
    })
    if (code !== 0) return { ok: false, latencyMs, problem: 'NO_DRIVER' }
    const report = parseNvidiaSmi(stdout)
    if (report.gpus.length === 0) return { ok: false, latencyMs, problem: 'NO_GPU' }
    return { ok: true, latencyMs, hostKeyFingerprint: ssh.hostKeySha256, report }
  } catch (error) {
    return { ok: false, latencyMs, problem: problemOf(error) }
  } finally {
    ssh?.close()
  }
}

/** @throws what is neither the node's failure nor a refusal to dial it: a bug */
function problemOf(error: unknown): Problem {
  if (error instanceof SshError && error.failure === 'HOST_KEY_CHANGED') return 'HOST_KEY_CHANGED'
  if (error instanceof SshError && error.failure === 'REFUSED') return 'LOGIN_REFUSED'
  if (error instanceof NvidiaSmiError) return 'NO_DRIVER'
  if (!(error instanceof DomainError)) throw error
  return error.code === 'BAD_TARGET' ? 'BAD_TARGET' : 'NO_ANSWER'
}
