import type { Channel, Order, TopupWish } from '@/api/types'
import type { KeyValue } from './storage'
import { uuid } from './uuid'

/**
 * The Idempotency-Key of a payment being tried. Pressing 缴费 again after a lost answer or a
 * cancelled sheet is the same attempt (same key, so the same order); it ends when its order does.
 */
interface Attempt {
  key: string
  bills: string
  order: string | null
  /** After this the key could only meet a closed order. */
  until: number
}

const STORE = 'pay.attempt'
/** Where no answer came, and so no expiry is known: a channel order lives two hours at most. */
const LIFETIME_MS = 2 * 3_600_000

/** What is paid for: some bills, or a top-up. */
export type Purpose = number[] | TopupWish

const nameOf = (purpose: Purpose) =>
  Array.isArray(purpose)
    ? [...purpose].sort((a, b) => a - b).join(',')
    : `topup/${purpose.household_id}/${purpose.into}/${purpose.amount_fen}`

const signature = (purpose: Purpose, channel: Channel) => `${channel}:${nameOf(purpose)}`

export function attemptKey(
  storage: KeyValue,
  purpose: Purpose,
  now: number,
  channel: Channel = 'wechat'
): string {
  const current = storage.read<Attempt>(STORE)
  const bills = signature(purpose, channel)
  if (current?.bills === bills && now < current.until) return current.key
  const key = uuid()
  storage.write(STORE, { key, bills, order: null, until: now + LIFETIME_MS } satisfies Attempt)
  return key
}

export function attemptOrdered(storage: KeyValue, order: Order): void {
  const current = storage.read<Attempt>(STORE)
  if (!current) return
  const until = Date.parse(order.expires_at) || current.until
  storage.write(STORE, { ...current, order: order.out_trade_no, until } satisfies Attempt)
}

/** The order is paid, closed or parked (or was refused): paying again is a new attempt. */
export function attemptEnded(storage: KeyValue, outTradeNo?: string): void {
  const current = storage.read<Attempt>(STORE)
  if (!outTradeNo || current?.order === outTradeNo) storage.remove(STORE)
}
