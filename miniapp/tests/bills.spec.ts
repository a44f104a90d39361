import { describe, expect, it } from 'vitest'
import type { Bill, BillLine } from '@/api/types'
import { billWhen, lineSum } from '@/utils/bills'

const line = (explanation: string) =>
  ({ title: '基本热费', quantity: '62.4', unit: '平方米', price: '7.98', explanation }) as BillLine

describe('how a line comes about', () => {
  it('is the explanation, its title said once', () => {
    expect(lineSum(line('基本热费：62.4 × 7.98 × 2/183 = 5.44'))).toBe('62.4 × 7.98 × 2/183 = 5.44')
    expect(lineSum(line('报停，只计三成'))).toBe('报停，只计三成')
  })
  it('is the product where nothing is explained', () => {
    expect(lineSum(line(''))).toBe('62.4 平方米 × 7.98 元')
  })
})

describe('when a bill was or is to be paid', () => {
  const bill = (more: Partial<Bill>) =>
    ({ state: 'due', due_on: '2026-12-05', paid_at: null, ...more }) as Bill
  it('has a day, unless there is nothing to pay', () => {
    expect(billWhen(bill({}))).toBe('12月5日前缴纳')
    expect(billWhen(bill({ state: 'paid', paid_at: '2026-11-20T16:30:00Z' }))).toBe('11月21日缴清')
    expect(billWhen(bill({ state: 'reversed' }))).toBe('不用缴纳')
  })
})
