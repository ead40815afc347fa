// `npm run node:enroll -- --name gpu-1 --username berth`: doc/operations.md.
import { parseArgs } from 'node:util'
import { z } from 'zod'
import { nodeTrust } from './node-trust.ts'

const Authorities = z.object({ user: z.string(), node: z.string() })

/** Prints the files that a node needs, as a script for its root. */
async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      name: { type: 'string' },
      username: { type: 'string', default: 'berth' },
      /** Of policy; that of the platform on this machine unless said. */
      url: { type: 'string' },
    },
  })
  if (!values.name) throw new Error('Name the node: npm run node:enroll -- --name gpu-1')
  const url = values.url ?? `http://127.0.0.1:${Number(process.env.BERTH_PORT ?? 4000) + 23}`
  const response = await fetch(`${url}/ssh/authorities`, {
    signal: AbortSignal.timeout(5_000),
  }).catch(() => null)
  if (!response?.ok) {
    throw new Error(`policy does not answer at ${url}: start it with npm start, or name its --url`)
  }
  const keys = Authorities.parse(await response.json())
  const files = nodeTrust({ name: values.name, username: values.username }, keys)
  console.log('mkdir -p /etc/ssh/berth/principals /etc/ssh/sshd_config.d')
  for (const [file, text] of Object.entries(files)) {
    console.log(`cat > ${file} <<'BERTH'\n${text}BERTH`)
  }
  console.log('sshd -t && systemctl reload ssh')
}

main().catch((error: Error) => {
  console.error(error.message)
  process.exitCode = 1
})
