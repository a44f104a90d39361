import { fetchConfig } from '@/api'
import type { WechatPay } from '@/api/types'

/** WeChat's in-app browser gives pages this object; it may arrive after the page. */
interface Bridge {
  invoke(name: string, data: WechatPay, answered: (result: { err_msg: string }) => void): void
}

declare global {
  interface Window {
    WeixinJSBridge?: Bridge
  }
}

const ARRIVAL_MS = 3_000
const OUTSIDE = '请在微信里打开本页再支付。'

const inWechat = () => /MicroMessenger/i.test(navigator.userAgent)

function arrival(): Promise<void> {
  return new Promise((resolve) => {
    document.addEventListener('WeixinJSBridgeReady', () => resolve(), { once: true })
    setTimeout(resolve, ARRIVAL_MS)
  })
}

function loadScript(url: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const script = document.createElement('script')
    script.src = url
    script.onload = () => resolve()
    script.onerror = () => reject(new Error('支付页面没有打开，请稍后再试。'))
    document.head.appendChild(script)
  })
}

async function bridge(): Promise<Bridge> {
  if (!window.WeixinJSBridge && inWechat()) await arrival()
  if (!window.WeixinJSBridge) {
    const { bridge_url } = await fetchConfig()
    if (bridge_url) await loadScript(bridge_url)
  }
  if (!window.WeixinJSBridge) throw new Error(OUTSIDE)
  return window.WeixinJSBridge
}

export async function bridgePay(pay: WechatPay): Promise<'done' | 'cancelled'> {
  const { appId, timeStamp, nonceStr, signType, paySign } = pay
  const request = { appId, timeStamp, nonceStr, package: pay.package, signType, paySign }
  const ready = await bridge()
  return new Promise((resolve, reject) => {
    ready.invoke('getBrandWCPayRequest', request, ({ err_msg }) => {
      if (err_msg === 'get_brand_wcpay_request:ok') resolve('done')
      else if (err_msg === 'get_brand_wcpay_request:cancel') resolve('cancelled')
      else reject(new Error('微信没有完成支付，请稍后再试。'))
    })
  })
}
