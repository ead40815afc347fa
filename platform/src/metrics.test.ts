import { expect, test } from 'vitest'
import { createMetrics } from './metrics.ts'

test('asking twice for a metric gives the same one, and registries do not mix', async () => {
  const metrics = createMetrics({ service: 'a' })
  metrics.counter('berth_x_total', 'X', ['code']).inc({ code: 'OK' })
  metrics.counter('berth_x_total', 'X', ['code']).inc({ code: 'OK' })
  metrics.gauge('berth_y', 'Y').set(3)
  metrics.histogram('berth_z_seconds', 'Z').observe(0.2)
  const text = await metrics.registry.metrics()
  expect(text).toContain('berth_x_total{code="OK",service="a"} 2')
  expect(text).toContain('berth_y{service="a"} 3')
  expect(await createMetrics({ service: 'b' }).registry.metrics()).not.toContain('berth_x_total')
})
