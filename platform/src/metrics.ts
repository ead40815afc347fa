import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'

/**
 * A service's Prometheus metrics. Asking twice for a name gives the same metric. Labels must have
 * few values, known beforehand: a code, a route's pattern; never an id or a client's text.
 */
export type Metrics = {
  readonly registry: Registry
  counter<L extends string>(name: string, help: string, labels?: readonly L[]): Counter<L>
  /** @param read its value, asked for whenever the metrics are read: of one without labels */
  gauge<L extends string>(
    name: string,
    help: string,
    labels?: readonly L[],
    read?: () => number,
  ): Gauge<L>
  /** @param buckets upper bounds; seconds unless the name says otherwise */
  histogram<L extends string>(
    name: string,
    help: string,
    labels?: readonly L[],
    buckets?: number[],
  ): Histogram<L>
}

const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

/** @param processMetrics adds memory, CPU and event-loop figures of the process: one per process */
export function createMetrics({
  service,
  processMetrics = false,
}: {
  service: string
  processMetrics?: boolean
}): Metrics {
  const registry = new Registry()
  registry.setDefaultLabels({ service })
  if (processMetrics) collectDefaultMetrics({ register: registry })

  function once<M>(name: string, create: () => M): M {
    return (registry.getSingleMetric(name) as M | undefined) ?? create()
  }
  return {
    registry,
    counter: (name, help, labels = []) =>
      once(name, () => new Counter({ name, help, labelNames: labels, registers: [registry] })),
    gauge: (name, help, labels = [], read = undefined) =>
      once(
        name,
        () =>
          new Gauge({
            name,
            help,
            labelNames: labels,
            registers: [registry],
            ...(read
              ? {
                  collect() {
                    this.set(read())
                  },
                }
              : {}),
          }),
      ),
    histogram: (name, help, labels = [], buckets = SECONDS) =>
      once(
        name,
        () => new Histogram({ name, help, labelNames: labels, buckets, registers: [registry] }),
      ),
  }
}
