import { beforeEach, describe, expect, it, vi } from 'vitest'
import type { Order, WechatPay } from '@/api/types'
import { attemptEnded, attemptKey, attemptOrdered } from '@/utils/pay-attempt'
import { bridgePay } from '@/utils/bridge'
import { order } from '@/utils/pay'
import { poll, POLL_WAITS_MS } from '@/utils/poll'
import { storage } from '@/utils/storage'
import { uuid } from '@/utils/uuid'

const NOW = 1_800_000_000_000
const HOUR = 3_600_000
const CLIENT_PAY: WechatPay = {
  appId: 'wx1',
  timeStamp: '1',
  nonceStr: 'n',
  package: 'prepay_id=p',
  signType: 'RSA',
  paySign: 's'
}

const orderOf = (out_trade_no: string, until: number, state: Order['state'] = 'paying'): Order => ({
  out_trade_no,
  state,
  amount_fen: 1,
  topup_into: null,
  bill_ids: [5],
  created_at: new Date(NOW).toISOString(),
  expires_at: new Date(until).toISOString(),
  paid_at: null
})

describe('the key of a payment attempt', () => {
  it('is the same for the same bills until the order ends', () => {
    const key = attemptKey(storage, [2, 1], NOW)
    expect(attemptKey(storage, [1, 2], NOW + 60_000)).toBe(key)
    attemptOrdered(storage, orderOf('N1', NOW + HOUR))
    attemptEnded(storage, 'some other order')
    expect(attemptKey(storage, [1, 2], NOW)).toBe(key)
    attemptEnded(storage, 'N1')
    expect(attemptKey(storage, [1, 2], NOW)).not.toBe(key)
  })

  it('is another one for a top-up of another amount or target', () => {
    const wish = { household_id: 1, into: 'wallet', amount_fen: 5000 }
    const key = attemptKey(storage, wish, NOW)
    expect(attemptKey(storage, { ...wish }, NOW)).toBe(key)
    expect(attemptKey(storage, { ...wish, amount_fen: 6000 }, NOW)).not.toBe(key)
    const other = attemptKey(storage, { ...wish, into: 'water' }, NOW)
    expect(attemptKey(storage, [1], NOW)).not.toBe(other)
  })

  it('is another one for another channel', () => {
    const key = attemptKey(storage, [1], NOW)
    expect(attemptKey(storage, [1], NOW, 'alipay')).not.toBe(key)
  })

  it('is a new one once the order has expired', () => {
    const key = attemptKey(storage, [1], NOW)
    attemptOrdered(storage, orderOf('N1', NOW + HOUR / 2))
    expect(attemptKey(storage, [1], NOW + HOUR / 2 - 1)).toBe(key)
    expect(attemptKey(storage, [1], NOW + HOUR / 2)).not.toBe(key)
  })

  it('is a new one for other bills, and after two hours', () => {
    const key = attemptKey(storage, [1], NOW)
    expect(attemptKey(storage, [1], NOW + 2 * HOUR)).not.toBe(key)
    const later = attemptKey(storage, [1], NOW + 2 * HOUR)
    expect(attemptKey(storage, [1, 3], NOW + 2 * HOUR)).not.toBe(later)
  })
})

describe('ordering', () => {
  const keys: string[] = []
  function answer(statusCode: number | null, data: unknown = {}) {
    vi.mocked(uni.request).mockImplementation(((options: any) => {
      keys.push(options.header['Idempotency-Key'])
      if (statusCode === null) options.fail({ errMsg: 'request:fail' })
      else options.success({ statusCode, data })
    }) as any)
  }
  beforeEach(() => void (keys.length = 0))

  it('repeats the key when the answer was lost', async () => {
    answer(null)
    await expect(order([5])).rejects.toMatchObject({ code: 'offline' })
    answer(201, { order: orderOf('N1', Date.now() + HOUR), client_pay: CLIENT_PAY })
    await order([5])
    expect(keys[0]).toBe(keys[1])
  })

  it('gives the key up when the server says it leads nowhere', async () => {
    answer(409, { code: 'bill_not_payable', detail: '账单已缴清' })
    await expect(order([5])).rejects.toMatchObject({ code: 'bill_not_payable' })
    await expect(order([5])).rejects.toMatchObject({ code: 'bill_not_payable' })
    expect(keys[0]).not.toBe(keys[1])
  })
})

describe('an order that closed meanwhile', () => {
  it('is replaced by a new one under a new key, once', async () => {
    const keys = new Set<string>()
    vi.mocked(uni.request).mockImplementation(((options: any) => {
      keys.add(options.header['Idempotency-Key'])
      const closed = orderOf(`N${keys.size}`, Date.now() + HOUR, 'closed')
      options.success({ statusCode: 201, data: { order: closed, client_pay: CLIENT_PAY } })
    }) as any)
    await expect(order([5])).resolves.toMatchObject({ order: { out_trade_no: 'N2' } })
    expect(keys.size).toBe(2)
  })
})

describe('the pay sheet in WeChat’s browser', () => {
  const invoke = (err_msg: string) => {
    const spy = vi.fn((_name, _data, answered) => answered({ err_msg }))
    window.WeixinJSBridge = { invoke: spy }
    return spy
  }

  it('gets exactly the fields WeChat names', async () => {
    const spy = invoke('get_brand_wcpay_request:ok')
    await expect(bridgePay({ ...CLIENT_PAY, extra: 1 } as any)).resolves.toBe('done')
    expect(spy.mock.calls[0][0]).toBe('getBrandWCPayRequest')
    expect(spy.mock.calls[0][1]).toEqual(CLIENT_PAY)
  })

  it('tells cancelling from failing', async () => {
    invoke('get_brand_wcpay_request:cancel')
    await expect(bridgePay(CLIENT_PAY)).resolves.toBe('cancelled')
    invoke('get_brand_wcpay_request:fail')
    await expect(bridgePay(CLIENT_PAY)).rejects.toThrow('微信没有完成支付')
  })

  it('says to open WeChat where there is no bridge and no sandbox', async () => {
    delete window.WeixinJSBridge
    vi.mocked(uni.request).mockImplementation(((options: any) =>
      options.success({ statusCode: 200, data: { bridge_url: null } })) as any)
    await expect(bridgePay(CLIENT_PAY)).rejects.toThrow('请在微信里打开')
  })
})

describe('waiting for the order', () => {
  it('asks until it is settled, past failed asks', async () => {
    const answers = ['paying', null, 'paying', 'paid', 'never asked']
    const ask = async () => {
      const next = answers.shift()
      if (next === null) throw new Error('no signal')
      return next
    }
    const settled = (state: string | undefined) => state === 'paid'
    await expect(poll(ask, settled, () => false, [1, 1, 1, 1])).resolves.toBe('paid')
    expect(answers).toEqual(['never asked'])
  })

  it('ends with the last answer when the time is up, or at once when the page is left', async () => {
    const ask = vi.fn(async () => 'paying')
    await expect(poll(ask, () => false, () => false, [1, 1])).resolves.toBe('paying')
    expect(ask).toHaveBeenCalledTimes(3)
    await expect(poll(ask, () => false, () => true, [1])).resolves.toBe(null)
    expect(ask).toHaveBeenCalledTimes(3)
  })

  it('gives a notice about two minutes to arrive', () => {
    const total = POLL_WAITS_MS.reduce((sum, wait) => sum + wait, 0)
    expect(total).toBeGreaterThan(110_000)
    expect(total).toBeLessThan(130_000)
  })
})

it('ids are version 4 UUIDs and differ', () => {
  const made = new Set(Array.from({ length: 200 }, uuid))
  expect(made.size).toBe(200)
  for (const id of made) {
    expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
  }
})
