import type { Sql } from '@berth/platform/database'
import type { Micros } from '@berth/platform/money'

export type Price = { readonly currency: string; readonly perHourMicros: Micros }

/** What these GPU models cost at an instant, by code; one without a price is left out. */
export async function pricesAt(
  sql: Sql,
  gpuModels: readonly string[],
  currency: string,
  at: Date,
): Promise<Map<string, Price>> {
  const rows = await sql.query<Price & { code: string }>(
    `SELECT DISTINCT ON (gpu_model_code) gpu_model_code AS code, currency,
       per_hour_micros AS "perHourMicros"
     FROM price_versions
     WHERE gpu_model_code = ANY ($1::text[]) AND currency = $2 AND valid_from <= $3::timestamptz
     ORDER BY gpu_model_code, valid_from DESC`,
    [gpuModels, currency, at],
  )
  return new Map(rows.map(({ code, ...price }) => [code, price]))
}
