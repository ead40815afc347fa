import { test } from 'vitest'
import { killStorm, storm } from './storm.test-kit.ts'

test.each([1, 2, 3, 4, 5])(
  'random losses, doubts, moves and reconnections, seed %i: each client has 10,000 events, each once',
  async (seed) => {
    await storm({ events: 10_000, clients: 100, seed })
  },
)

test('clients, gateway and owner are killed at random: each client has 10,000 events, each once', async () => {
  await killStorm({ events: 10_000, clients: 16, kills: 12 })
})
