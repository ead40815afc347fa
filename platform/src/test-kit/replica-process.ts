/** A process that relays, consumes or sends its audit, to be killed. Arguments: database URL, NATS URL, then what it does. */
import { startAuditRelay } from '../audit-relay.ts'
import { onEvent, startConsumer } from '../consumer.ts'
import { fault } from '../fault-points.ts'
import { Probed } from './probe-events.ts'
import { openRig } from './relay-rig.ts'

const [databaseUrl = '', natsUrl = '', ...does] = process.argv.slice(2)
const rig = openRig({ databaseUrl, natsUrl })
if (does.includes('relay')) rig.relay()
if (does.includes('consume')) {
  startConsumer({
    ...rig,
    name: 'tester',
    domain: 'inventory',
    ackWaitSeconds: 1,
    on: [
      onEvent(Probed, async ({ data }, sql) => {
        await sql.query('INSERT INTO effects (n) VALUES ($1::int)', [data.n])
        await fault('effect.written')
      }),
    ],
  })
}
if (does.includes('audit')) {
  startAuditRelay({
    ...rig,
    domain: 'inventory',
    send: (batch) =>
      rig.database.sql.query('INSERT INTO effects (id) SELECT unnest($1::uuid[])', [
        batch.map(({ id }) => id),
      ]),
  })
}
