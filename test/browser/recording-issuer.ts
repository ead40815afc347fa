import { appendFileSync } from 'node:fs'
import path from 'node:path'
import { runService } from '@berth/platform/lifecycle'
import { issuerConfig, requireDevelopment } from '../issuer/config.ts'
import { startIssuer } from '../issuer/issuer.ts'

/** The development issuer, which writes down what it issues: a test knows then what to look for. */
await runService('issuer', issuerConfig, async (scope, { config, log }) => {
  const { BERTH_ENV, BERTH_STATE_DIR, HOST, PORT } = config
  requireDevelopment(BERTH_ENV, HOST)
  const { OIDC_CLIENT_ID: id, OIDC_CLIENT_SECRET: secret, BERTH_PUBLIC_URL: publicUrl } = config
  const browserClient = id && secret && publicUrl ? { id, secret, publicUrl } : undefined
  const options = { host: HOST, port: PORT, stateDirectory: BERTH_STATE_DIR, browserClient, log }
  const onGrant = (grant: object) =>
    appendFileSync(path.join(BERTH_STATE_DIR, 'grants.jsonl'), `${JSON.stringify(grant)}\n`)
  scope.adopt(await startIssuer({ ...options, onGrant }), (issuer) => issuer.close())
})
