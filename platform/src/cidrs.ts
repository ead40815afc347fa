import { BlockList, isIP, isIPv4 } from 'node:net'

/** A list per family: one for both would match IPv4 by `::/0`, which covers IPv4 in IPv6. */
export type Cidrs = { readonly 4: BlockList; readonly 6: BlockList }

/** @throws {RangeError} on what is no CIDR, or has no prefix */
export function cidrsOf(cidrs: readonly string[]): Cidrs {
  const ranges = { 4: new BlockList(), 6: new BlockList() }
  for (const cidr of cidrs) {
    const [, address = '', prefix = ''] = /^([0-9a-f.:]+)\/(\d{1,3})$/i.exec(cidr) ?? []
    const family = isIP(address)
    if (family === 4 && Number(prefix) <= 32) {
      ranges[4].addSubnet(address, Number(prefix), 'ipv4')
    } else if (family === 6 && Number(prefix) <= 128) {
      ranges[6].addSubnet(address, Number(prefix), 'ipv6')
    } else {
      throw new RangeError(`${cidr} is not a CIDR such as 10.1.0.0/16`)
    }
  }
  return ranges
}

/** Whether the address, or that at which the CIDR begins, is in one of the ranges. */
export function contains(ranges: Cidrs, addressOrCidr: string): boolean {
  const address = addressOrCidr.split('/')[0] ?? ''
  return isIPv4(address) ? ranges[4].check(address, 'ipv4') : ranges[6].check(address, 'ipv6')
}
