import type { Sql } from '@berth/platform/database'
import { deriveUuid, type Id, uuidToId } from '@berth/platform/ids'

export type GpuModelRow = {
  readonly code: string
  readonly name: string
  readonly memoryMib: number
  readonly productNames: readonly string[]
}
export type RegionRow = { readonly code: string; readonly name: string }

/** GPUs of one model in one region, and how many can be rented now. */
export type OfferRow = {
  readonly id: Id<'ofr'>
  readonly gpuModelCode: string
  readonly regionCode: string
  readonly available: number
  /** The most that one node has free. */
  readonly largestAllocation: number
}

/** Stable for a model and a region. */
export function offerId(regionCode: string, gpuModelCode: string): Id<'ofr'> {
  return uuidToId('ofr', deriveUuid(new Date(0), `offer:${regionCode}/${gpuModelCode}`))
}

/**
 * By region and model: what is in service, also where nothing is free. Codes hold no slash, so that
 * `<region>/<model>` is the place in the list.
 */
export async function listOffers(
  sql: Sql,
  filter: { gpuModel?: string | null; region?: string | null },
  page: { take: number | null; after: string | null },
): Promise<OfferRow[]> {
  const rows = await sql.query<Omit<OfferRow, 'id'>>(
    `SELECT "regionCode", "gpuModelCode", sum(free)::int AS available,
       max(free)::int AS "largestAllocation"
     FROM (
       SELECT node.region_code AS "regionCode", slot.gpu_model_code AS "gpuModelCode",
         count(*) FILTER (
           WHERE slot.state = 'FREE' AND node.state = 'READY' AND node.health <> 'FAILURE'
         ) AS free
       FROM slots AS slot JOIN nodes AS node ON node.id = slot.node_id
       WHERE node.state <> 'RETIRED' AND ($1::text IS NULL OR slot.gpu_model_code = $1)
         AND ($2::text IS NULL OR node.region_code = $2)
       GROUP BY node.id, slot.gpu_model_code
     ) AS of_node
     WHERE $3::text IS NULL OR "regionCode" || '/' || "gpuModelCode" > $3::text COLLATE "C"
     GROUP BY "regionCode", "gpuModelCode"
     ORDER BY "regionCode" || '/' || "gpuModelCode" COLLATE "C" LIMIT $4::int`,
    [filter.gpuModel ?? null, filter.region ?? null, page.after, page.take],
  )
  return rows.map((row) => ({ id: offerId(row.regionCode, row.gpuModelCode), ...row }))
}

export async function listGpuModels(sql: Sql): Promise<GpuModelRow[]> {
  return sql.query<GpuModelRow>(
    `SELECT code, name, memory_mib AS "memoryMib", product_names AS "productNames"
     FROM gpu_models ORDER BY name, code`,
  )
}

export async function regionsByCode(sql: Sql, codes: readonly string[]): Promise<RegionRow[]> {
  return sql.query<RegionRow>('SELECT code, name FROM regions WHERE code = ANY ($1::text[])', [
    codes,
  ])
}
