import { createOrder, createTopup, fetchOrder } from '@/api'
import { ApiError } from '@/api/http'
import type { BrowserPay, Channel, ClientPay, Door, OrderCreated, WechatPay } from '@/api/types'
import { attemptEnded, attemptKey, attemptOrdered, type Purpose } from './pay-attempt'
import { storage } from './storage'
// #ifdef H5
import { bridgePay } from './bridge'
import { leaveFor } from './leave'
// #endif

/** What the phone says happened (`left`: the browser went to the channel's own page). Only the
 *  order itself tells whether the money moved. */
export type SheetAnswer = 'done' | 'cancelled' | 'left'

/** Refusals after which this attempt's key can lead nowhere. */
const DEAD_KEY = [
  'idempotency_key_reused',
  'bill_not_payable',
  'bills_not_together',
  'order_ended',
  'topup_amount',
  'topup_day_limit',
  'topup_closed'
]

/** The door a channel is entered by from here: WeChat's own client, or the phone's browser. */
export function doorOf(channel: Channel): Door {
  if (channel !== 'wechat') return { channel, way: 'wap' }
  // #ifdef H5
  return { channel, way: 'official' }
  // #endif
  // #ifndef H5
  return { channel, way: 'mini' }
  // #endif
}

export async function order(
  purpose: Purpose,
  channel: Channel = 'wechat',
  again = true
): Promise<OrderCreated> {
  const key = attemptKey(storage, purpose, Date.now(), channel)
  let created: OrderCreated
  try {
    const door = doorOf(channel)
    created = await (Array.isArray(purpose)
      ? createOrder(purpose, door, key)
      : createTopup(purpose, door, key))
  } catch (error) {
    if (error instanceof ApiError && DEAD_KEY.includes(error.code)) attemptEnded(storage)
    throw error
  }
  attemptOrdered(storage, created.order)
  if (created.order.state !== 'closed' || !again) return created
  attemptEnded(storage)
  return order(purpose, channel, false)
}

/** After a sheet that failed: if the order is over, the next try must be a new one. */
export async function settleAttempt(outTradeNo: string): Promise<void> {
  const current = await fetchOrder(outTradeNo).catch(() => null)
  if (current && ['paid', 'closed', 'parked', 'refunded'].includes(current.state)) {
    attemptEnded(storage, outTradeNo)
  }
}

/** Opens WeChat's pay sheet, or goes to the channel's page. @throws Error with a sentence */
export async function openSheet(pay: ClientPay): Promise<SheetAnswer> {
  // #ifdef MP-WEIXIN
  return miniProgramPay(pay as WechatPay)
  // #endif
  // #ifdef H5
  return 'url' in pay ? leaveFor(pay as BrowserPay) : bridgePay(pay as WechatPay)
  // #endif
}

// #ifdef MP-WEIXIN
function miniProgramPay(pay: WechatPay): Promise<SheetAnswer> {
  return new Promise((resolve, reject) => {
    uni.requestPayment({
      provider: 'wxpay',
      orderInfo: '',
      timeStamp: pay.timeStamp,
      nonceStr: pay.nonceStr,
      package: pay.package,
      signType: pay.signType,
      paySign: pay.paySign,
      success: () => resolve('done'),
      fail: ({ errMsg }: { errMsg?: string }) =>
        /cancel/.test(errMsg ?? '')
          ? resolve('cancelled')
          : reject(new Error('微信没有完成支付，请稍后再试。'))
    } as unknown as UniApp.RequestPaymentOptions)
  })
}
// #endif
