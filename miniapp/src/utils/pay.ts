import { createOrder, fetchOrder } from '@/api'
import { ApiError } from '@/api/http'
import type { ClientPay, OrderCreated } from '@/api/types'
import { attemptEnded, attemptKey, attemptOrdered } from './attempt'
import { storage } from './storage'
// #ifdef H5
import { bridgePay } from './bridge'
// #endif

/** What the phone says happened. Only the order itself tells whether the money moved. */
export type SheetAnswer = 'done' | 'cancelled'

/** Refusals after which this attempt's key can lead nowhere. */
const DEAD_KEY = ['idempotency_key_reused', 'bill_not_payable', 'bills_not_together']

export async function order(billIds: number[], again = true): Promise<OrderCreated> {
  const key = attemptKey(storage, billIds, Date.now())
  let created: OrderCreated
  try {
    created = await createOrder(billIds, key)
  } catch (error) {
    if (error instanceof ApiError && DEAD_KEY.includes(error.code)) attemptEnded(storage)
    throw error
  }
  attemptOrdered(storage, created.order)
  if (created.order.state !== 'closed' || !again) return created
  attemptEnded(storage)
  return order(billIds, false)
}

/** After a sheet that failed: if the order is over, the next try must be a new one. */
export async function settleAttempt(outTradeNo: string): Promise<void> {
  const current = await fetchOrder(outTradeNo).catch(() => null)
  if (current && ['paid', 'closed', 'parked'].includes(current.state)) {
    attemptEnded(storage, outTradeNo)
  }
}

/** Opens WeChat's pay sheet. @throws Error with a sentence where it cannot be opened */
export async function openSheet(pay: ClientPay): Promise<SheetAnswer> {
  // #ifdef MP-WEIXIN
  return miniProgramPay(pay)
  // #endif
  // #ifdef H5
  return bridgePay(pay)
  // #endif
}

// #ifdef MP-WEIXIN
function miniProgramPay(pay: ClientPay): Promise<SheetAnswer> {
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
