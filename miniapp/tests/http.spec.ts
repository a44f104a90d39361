import { beforeEach, describe, expect, it, vi } from 'vitest'
import { createOrder, fetchBills, unbindHousehold } from '@/api'
import { ApiError, get, sentenceOf, useCredentials, withQuery } from '@/api/http'

interface Sent {
  url: string
  method: string
  data: unknown
  header: Record<string, string>
}

let sent: Sent[]
let expired: number

/** The server's next answer; `null` for no answer at all. */
function answer(statusCode: number | null, data: unknown = {}, errMsg = 'request:fail') {
  vi.mocked(uni.request).mockImplementation(((options: any) => {
    sent.push(options)
    if (statusCode === null) options.fail({ errMsg })
    else options.success({ statusCode, data })
  }) as any)
}

beforeEach(() => {
  sent = []
  expired = 0
  useCredentials({ token: () => 'abc', expired: () => (expired += 1) })
})

describe('the API client', () => {
  it('sends the token, the query and the body', async () => {
    answer(200, { bills: [], next_before: null })
    await fetchBills(7, 42)
    expect(sent[0].url).toBe('/api/v1/households/7/bills?before=42&limit=20')
    expect(sent[0].header.Authorization).toBe('Bearer abc')
  })

  it('leaves out empty query values and escapes the others', () => {
    expect(withQuery('/x', { a: null, b: '', c: 0, d: '甲&b' })).toBe('/x?c=0&d=%E7%94%B2%26b')
  })

  it('sends an order with its idempotency key', async () => {
    answer(201, {})
    await createOrder([3, 4], { channel: 'wechat', way: 'mini' }, 'key-1')
    expect(sent[0].header['Idempotency-Key']).toBe('key-1')
    expect(sent[0].data).toEqual({ bill_ids: [3, 4], channel: 'wechat', way: 'mini' })
  })

  it('takes 204 without a body as done', async () => {
    answer(204, '')
    await expect(unbindHousehold(1)).resolves.toBe('')
    expect(sent[0].method).toBe('DELETE')
  })

  it('turns a problem into its code, sentence and field', async () => {
    answer(422, {
      code: 'bind_mismatch',
      detail: '户号与户主信息不符，请核对后再试。',
      field: 'owner_name',
      request_id: 'r-9'
    })
    const error = await get<never>('/me').catch((thrown: ApiError) => thrown)
    expect(error).toBeInstanceOf(ApiError)
    expect(error).toMatchObject({ status: 422, code: 'bind_mismatch', field: 'owner_name' })
    expect(sentenceOf(error)).toBe('户号与户主信息不符，请核对后再试。')
    expect(error.retriable).toBe(false)
  })

  it('has a plain sentence for what is not a problem document', async () => {
    answer(502, '<html>Bad Gateway</html>')
    const error = await get<never>('/me').catch((thrown: ApiError) => thrown)
    expect(error).toMatchObject({ code: 'http_502', detail: '服务暂时有问题，请稍后再试。' })
    expect(error.retriable).toBe(true)
  })

  it('tells no network from no answer in time', async () => {
    answer(null)
    await expect(get('/me')).rejects.toMatchObject({ status: 0, code: 'offline' })
    answer(null, {}, 'request:fail timeout')
    await expect(get('/me')).rejects.toMatchObject({ status: 0, code: 'timeout' })
  })

  it('reports an expired token, but not a wrong password', async () => {
    answer(401, { code: 'session_expired', detail: '登录已过期，请重新登录。' })
    await expect(get('/me')).rejects.toMatchObject({ status: 401 })
    expect(expired).toBe(1)
    useCredentials({ token: () => '', expired: () => (expired += 1) })
    await expect(get('/session/staff')).rejects.toMatchObject({ status: 401 })
    expect(expired).toBe(1)
  })

  it('does not throw out who has signed in since a slow 401 was asked for', async () => {
    let token = 'old'
    useCredentials({ token: () => token, expired: () => (expired += 1) })
    vi.mocked(uni.request).mockImplementation(((options: any) => {
      token = 'new'
      options.success({ statusCode: 401, data: {} })
    }) as any)
    await expect(get('/me')).rejects.toMatchObject({ status: 401 })
    expect(expired).toBe(0)
  })
})
