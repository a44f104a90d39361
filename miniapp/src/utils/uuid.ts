/**
 * A version 4 UUID. Mini-programs have no synchronous source of strong randomness, so there it
 * is Math.random: these ids tell two sends of one thing apart, they guard no secret.
 */
export function uuid(): string {
  const bytes = new Uint8Array(16)
  const strong = typeof crypto !== 'undefined' && typeof crypto.getRandomValues === 'function'
  if (strong) crypto.getRandomValues(bytes)
  else for (let i = 0; i < 16; i++) bytes[i] = Math.floor(Math.random() * 256)
  bytes[6] = (bytes[6] & 0x0f) | 0x40
  bytes[8] = (bytes[8] & 0x3f) | 0x80
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
  return [8, 12, 16, 20].reduceRight((id, at) => `${id.slice(0, at)}-${id.slice(at)}`, hex)
}
