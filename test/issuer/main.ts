import { runService } from '@berth/platform/lifecycle'
import { issuerConfig, requireDevelopment } from './config.ts'
import { startIssuer } from './issuer.ts'

await runService('issuer', issuerConfig, async (scope, { config, log }) => {
  const { BERTH_ENV, BERTH_STATE_DIR, HOST, PORT } = config
  requireDevelopment(BERTH_ENV, HOST)
  const { OIDC_CLIENT_ID: id, OIDC_CLIENT_SECRET: secret, BERTH_PUBLIC_URL: publicUrl } = config
  const browserClient = id && secret && publicUrl ? { id, secret, publicUrl } : undefined
  const options = { host: HOST, port: PORT, stateDirectory: BERTH_STATE_DIR, browserClient, log }
  const { url } = scope.adopt(await startIssuer(options), (issuer) => issuer.close())
  log.info({ url }, 'listening')
})
