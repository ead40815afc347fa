import { DomainError, isErrorCode } from '@berth/platform/errors'
import type { SubgraphAnswer } from '../answers.ts'
import { ProtocolError } from './exchange.ts'

/**
 * A subgraph's answer as GraphQL has it. Nothing of it is believed: who reads the result meets
 * `data` that is an object or null, and errors that are objects with a message.
 *
 * @throws {DomainError} UNAVAILABLE or UPSTREAM_UNAVAILABLE when what answered is not the graph, such
 * as a replica that is draining
 * @throws {ProtocolError} for anything else
 */
export function parseAnswer(service: string, status: number, text: string): SubgraphAnswer {
  const json = parseObject(text)
  if (json !== null) {
    const { data, errors } = json
    if (errors === null) delete json.errors
    if (data === undefined ? Array.isArray(errors) && errors.length > 0 : isData(data)) {
      if (errors === undefined || errors === null || isErrors(errors)) return json as SubgraphAnswer
    }
  }
  throw refusal(service, status, json)
}

function refusal(service: string, status: number, json: Record<string, unknown> | null): Error {
  const error = json?.error
  if (isObject(error) && isErrorCode(error.code) && error.code === 'UNAVAILABLE') {
    return new DomainError('UNAVAILABLE', String(error.message))
  }
  if (isGatewayStatus(status)) {
    return new DomainError('UPSTREAM_UNAVAILABLE', `The service ${service} does not answer`)
  }
  return new ProtocolError(`${service} answered ${status} and no GraphQL result`)
}

/** Of who stands before a service that cannot be asked now. */
export function isGatewayStatus(status: number): boolean {
  return status >= 502 && status <= 504
}

function parseObject(text: string): Record<string, unknown> | null {
  try {
    const json: unknown = JSON.parse(text)
    return isObject(json) ? json : null
  } catch {
    return null
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isData(value: unknown): boolean {
  return value === null || isObject(value)
}

function isErrors(value: unknown): boolean {
  return Array.isArray(value) && value.every(isFormattedError)
}

function isFormattedError(value: unknown): boolean {
  if (!isObject(value) || typeof value.message !== 'string') return false
  const { path, extensions } = value
  // As good as not there, and many servers write it so.
  if (path === null) delete value.path
  else if (path !== undefined && !isPath(path)) return false
  if (extensions === null) delete value.extensions
  else if (extensions !== undefined && !isObject(extensions)) return false
  return true
}

function isPath(value: unknown): boolean {
  return (
    Array.isArray(value) &&
    value.every((it) => typeof it === 'string' || (Number.isInteger(it) && it >= 0))
  )
}
