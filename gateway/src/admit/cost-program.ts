/** A number, or where a program has it once it has run. */
export type Cost = number | Slot

type Slot = { readonly slot: number }
type Variables = Readonly<Record<string, unknown>>
type Step = (values: readonly number[], variables: Variables) => number

/** A number, where no variable changes it. */
export type OperationCost = number | ((variables: Variables) => number)

export const FREE = 0

/**
 * Sums and products of what is known and of what variables say. What is known is computed once; each
 * of the rest is a step, run once for each operation however often it is used.
 */
export class CostProgram {
  readonly #steps: Step[] = []

  read(of: (variables: Variables) => number): Cost {
    return this.#add((_values, variables) => of(variables))
  }

  sum(costs: readonly Cost[]): Cost {
    let known = 0
    const slots: number[] = []
    for (const it of costs) {
      if (typeof it === 'number') known += it
      else slots.push(it.slot)
    }
    const [only] = slots
    if (only === undefined) return known
    if (slots.length === 1 && known === 0) return { slot: only }
    return this.#add((values) => slots.reduce((sum, it) => sum + (values[it] ?? 0), known))
  }

  times(a: Cost, b: Cost): Cost {
    if (a === FREE || b === FREE) return FREE
    if (a === 1) return b
    if (b === 1) return a
    if (typeof a === 'number') {
      return typeof b === 'number' ? a * b : this.#add((values) => a * (values[b.slot] ?? 0))
    }
    if (typeof b === 'number') return this.times(b, a)
    return this.#add((values) => (values[a.slot] ?? 0) * (values[b.slot] ?? 0))
  }

  finish(costs: readonly Cost[]): OperationCost {
    const whole = this.sum(costs)
    if (typeof whole === 'number') return whole
    const steps = this.#steps
    return (variables) => {
      const values: number[] = []
      for (const step of steps) values.push(step(values, variables))
      return values[whole.slot] ?? 0
    }
  }

  #add(step: Step): Slot {
    return { slot: this.#steps.push(step) - 1 }
  }
}
