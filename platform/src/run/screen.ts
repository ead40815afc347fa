import path from 'node:path'
import type { Platform } from './platform.ts'

/** What `npm start` says at the end: where everything is, how to sign in, a first query, how to stop. */
export function screen({ urls, basePort }: Platform, stateDir: string): string {
  const home = process.env.BERTH_HOME ? `BERTH_HOME=${process.env.BERTH_HOME} ` : ''
  const settings = home + (basePort === 4000 ? '' : `BERTH_PORT=${basePort} `)
  const { gateway = '', terminal = '' } = urls
  const query = `{"query":"{ offers(first: 5) { nodes { gpuModel { name } available } } }"}`
  return `
Berth is running.

  GraphQL       ${gateway}/graphql   (subscriptions: ${gateway.replace('http', 'ws')}/graphql)
  Terminal      ${terminal.replace('http', 'ws')}/terminal
  Readiness     ${gateway}/readyz
  State         ${stateDir}
  Logs          ${path.join(stateDir, 'log')}

Sign in as user, admin or operator, in a browser at ${gateway}/auth/login, or for a terminal:

  TOKEN=$(${settings}npm run -s token -- user)

What can be rented now:

  curl -s ${gateway}/graphql -H "authorization: Bearer $TOKEN" -H 'content-type: application/json' \\
    -d '${query}'

Stop with Ctrl-C, or ${settings}npm stop.
`
}
