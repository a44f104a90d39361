import { beforeEach, describe, expect, it, vi } from 'vitest'
import { ApiError, download } from '@/api/http'
import type { InvoiceWish, Paper, PaperLine, Title } from '@/api/types'
import { forget, issue, unanswered } from '@/pages-paper/invoicing'
import {
  choicesOf,
  chosenOf,
  fieldsOf,
  lacksForSpecial,
  lineNote,
  paperNote,
  paperTone,
  reasonOf
} from '@/pages-paper/papers'
import { openPdf } from '@/pages-paper/pdf'
import { storage } from '@/utils/storage'

const NOW = 1_800_000_000_000
const DAY = 86_400_000
const WISH: InvoiceWish = { bill_ids: [7, 5], months: [], kind: 'invoice', title_id: null }

const keys: string[] = []
/** The server's next answer; `null` for none at all. */
function answer(statusCode: number | null, data: unknown = {}) {
  vi.mocked(uni.request).mockImplementation(((options: any) => {
    keys.push(options.header['Idempotency-Key'])
    if (statusCode === null) options.fail({ errMsg: 'request:fail' })
    else options.success({ statusCode, data })
  }) as any)
}
const bytes = (text: string) => new TextEncoder().encode(text).buffer
beforeEach(() => void (keys.length = 0))

describe('asking for an invoice', () => {
  const ask = (wish = WISH, household = 1, now = NOW) => issue(storage, household, wish, now)

  it('repeats its key until an answer has come, whichever way the bills were tapped', async () => {
    answer(null)
    await expect(ask()).rejects.toMatchObject({ code: 'offline' })
    answer(503, { detail: '系统正在维护，请稍后再试。' })
    await expect(ask({ ...WISH, bill_ids: [5, 7] })).rejects.toMatchObject({ status: 503 })
    answer(201, { paper_no: 'FP1' })
    await expect(ask()).resolves.toMatchObject({ paper_no: 'FP1' })
    expect(new Set(keys).size).toBe(1)
    await ask()
    expect(new Set(keys).size).toBe(2)
  })

  it.each([
    ['other bills', { ...WISH, bill_ids: [7] }, 1],
    ['a month beside', { ...WISH, months: [{ utility: 'water' as const, month: '2026-10' }] }, 1],
    ['another kind', { ...WISH, kind: 'special' as const }, 1],
    ['another title', { ...WISH, title_id: 3 }, 1],
    ['another household', WISH, 2]
  ])('is another attempt for %s', async (_name, wish, household) => {
    answer(null)
    await ask().catch(() => undefined)
    await ask(wish, household).catch(() => undefined)
    expect(new Set(keys).size).toBe(2)
  })

  it('remembers what is unanswered, for a day and for its household', async () => {
    answer(null)
    await ask().catch(() => undefined)
    expect(unanswered(storage, 1, NOW)).toEqual({ ...WISH, bill_ids: [5, 7] })
    expect(unanswered(storage, 2, NOW)).toBeNull()
    expect(unanswered(storage, 1, NOW + DAY)).toBeNull()
    forget(storage)
    expect(unanswered(storage, 1, NOW)).toBeNull()
  })

  it('is over once it was refused, but not where the refusal says nothing of it', async () => {
    for (const status of [401, 429, 500]) {
      answer(status, {})
      await ask().catch(() => undefined)
      expect(unanswered(storage, 1, NOW)).not.toBeNull()
    }
    answer(409, { code: 'nothing_to_invoice', detail: '没有可以开票的金额' })
    await expect(ask()).rejects.toBeInstanceOf(ApiError)
    expect(unanswered(storage, 1, NOW)).toBeNull()
  })

  it('does not disturb a payment being tried', async () => {
    storage.write('pay.attempt', { key: 'k', of: 'wechat:5', order: null, until: NOW + DAY })
    answer(201, { paper_no: 'FP1' })
    await ask()
    expect(storage.read('pay.attempt')).toMatchObject({ key: 'k' })
  })
})

describe('a file', () => {
  it('comes as bytes', async () => {
    answer(200, bytes('%PDF-1.7'))
    const file = await download('/papers/SJ1/pdf')
    expect(new TextDecoder().decode(file.bytes)).toBe('%PDF-1.7')
    const sent = vi.mocked(uni.request).mock.calls[0][0] as any
    expect([sent.url, sent.responseType]).toEqual(['/api/v1/papers/SJ1/pdf', 'arraybuffer'])
  })

  it('tells the sentence of a refusal, which comes as bytes too', async () => {
    answer(429, bytes('{"code":"too_many_attempts","detail":"尝试次数过多，请稍后再试。"}'))
    await expect(download('/x')).rejects.toMatchObject({
      status: 429,
      code: 'too_many_attempts',
      detail: '尝试次数过多，请稍后再试。'
    })
    answer(503, bytes('<html>'))
    await expect(download('/x')).rejects.toMatchObject({ detail: '服务暂时有问题，请稍后再试。' })
    answer(null)
    await expect(download('/x')).rejects.toMatchObject({ code: 'offline' })
  })

  it('is not kept as a paper where it is a proxy’s page', async () => {
    answer(200, bytes('<html>请先登录 Wi-Fi</html>'))
    await expect(openPdf('SJ1')).rejects.toMatchObject({ detail: '文件没有取完整，请再试一次。' })
  })
})

describe('a paper', () => {
  const paper = (more: Partial<Paper>) => ({ state: 'valid', void_reason: null, ...more }) as Paper

  it('says what its state means', () => {
    expect(paperTone(paper({}))).toEqual({ tone: 'good', text: '有效' })
    expect(paperNote(paper({}))).toBe('')
    expect(paperNote(paper({ state: 'voided', void_reason: '开错' }))).toContain('原因：开错')
    expect(paperNote(paper({ state: 'reversed' }))).toContain('不能再用来报销')
  })

  it('says how a line comes about, where it does', () => {
    const line = (more: Partial<PaperLine>) =>
      ({ quantity: '', unit: '', price: '', rate: '', ...more }) as PaperLine
    const whole = { quantity: '12.5', unit: '吉焦', price: '44.41', rate: '免税' }
    expect(lineNote(line(whole))).toBe('12.5 吉焦 × 44.41 元 · 免税')
    expect(lineNote(line({ rate: '3%' }))).toBe('3%')
    expect(lineNote(line({}))).toBe('')
  })
})

describe('what can be ticked', () => {
  it('is bills and months, and is asked for as what it is', () => {
    const bill = { bill_id: 5, bill_no: 'B5', title: '热费', utility: 'heat' as const }
    const month = { utility: 'water' as const, month: '2026-10', title: '水费' }
    const offer = {
      bills: [{ ...bill, paid_fen: 10000, left_fen: 4000 }],
      months: [{ ...month, deducted_fen: 500, left_fen: 500 }]
    }
    expect(choicesOf(offer)).toEqual([
      { id: 'bill-5', title: '热费', note: '已缴 100.00，还可以开', leftFen: 4000 },
      { id: 'month-water-2026-10', title: '水费', note: '预付费已扣的', leftFen: 500 }
    ])
    const picked = chosenOf(offer, ['month-water-2026-10', 'bill-99'])
    expect(picked).toEqual({ bill_ids: [], months: [{ utility: 'water', month: '2026-10' }] })
  })
})

describe('a title', () => {
  const title = (more: Partial<Title>) =>
    ({ kind: 'company', address: '路', phone: '1', bank: '行', bank_account: '2', ...more }) as Title

  it('lacks something for a special invoice, by name', () => {
    expect(lacksForSpecial(title({}))).toBe('')
    expect(lacksForSpecial(title({ bank: '', phone: '' }))).toContain('缺电话、开户行。')
    expect(lacksForSpecial(title({ kind: 'person' }))).toContain('企业抬头')
    expect(lacksForSpecial(null)).toContain('企业抬头')
  })

  it('wants a name of everybody and a tax id of a company', () => {
    const wanted = (kind: Title['kind']) => fieldsOf(kind).map((one) => reasonOf(one, ' ')).filter(Boolean)
    expect(wanted('person')).toEqual(['请填写姓名。'])
    expect(wanted('company')).toEqual(['请填写企业名称。', '请填写税号。'])
  })
})
