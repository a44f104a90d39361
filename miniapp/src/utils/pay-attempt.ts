import type { Channel, Order, TopupWish } from '@/api/types'
import { Attempts } from './attempt'
import type { KeyValue } from './storage'

/** Where no answer came, and so no expiry is known: a channel order lives two hours at most. */
const LIFETIME_MS = 2 * 3_600_000

const attempts = (storage: KeyValue) => new Attempts(storage, 'pay.attempt', LIFETIME_MS)

/** What is paid for: some bills, or a top-up. */
export type Purpose = number[] | TopupWish

const nameOf = (purpose: Purpose) =>
  Array.isArray(purpose)
    ? [...purpose].sort((a, b) => a - b).join(',')
    : `topup/${purpose.household_id}/${purpose.into}/${purpose.amount_fen}`

/** Pressing 缴费 again after a lost answer or a cancelled sheet is the same attempt. */
export const attemptKey = (
  storage: KeyValue,
  purpose: Purpose,
  now: number,
  channel: Channel = 'wechat'
) => attempts(storage).keyFor(`${channel}:${nameOf(purpose)}`, now)

export const attemptOrdered = (storage: KeyValue, order: Order) =>
  attempts(storage).ordered(order.out_trade_no, Date.parse(order.expires_at) || null)

/** The order is paid, closed or parked (or was refused): paying again is a new attempt. */
export const attemptEnded = (storage: KeyValue, outTradeNo?: string) =>
  attempts(storage).ended(outTradeNo)
