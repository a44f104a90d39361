import { ref } from 'vue'
import { ApiError } from '@/api/http'
import type { Channel } from '@/api/types'
import type { Purpose } from './pay-attempt'
import { openSheet, order, settleAttempt } from './pay'

/** A page's 缴费 button: busy while it works, a sentence when it did not. */
export function usePay() {
  const busy = ref(false)
  const message = ref('')
  const channel = ref<Channel>('wechat')

  async function pay(purpose: Purpose) {
    if (busy.value || (Array.isArray(purpose) && !purpose.length)) return
    busy.value = true
    message.value = ''
    try {
      const created = await order(purpose, channel.value)
      const result = `/pages/pay-result/index?no=${created.order.out_trade_no}`
      if (created.order.state === 'paid') return void uni.redirectTo({ url: result })
      const answer = await openSheet(created.client_pay).catch(async (thrown) => {
        await settleAttempt(created.order.out_trade_no)
        throw thrown
      })
      if (answer === 'left') return
      if (answer === 'done') return void uni.redirectTo({ url: result })
      message.value = '您取消了支付，没有扣款。需要时可再次支付。'
    } catch (thrown) {
      const known = thrown instanceof ApiError || thrown instanceof Error
      message.value = known ? thrown.message : '没有完成支付，请稍后再试。'
    } finally {
      busy.value = false
    }
  }

  return { busy, channel, message, pay }
}
