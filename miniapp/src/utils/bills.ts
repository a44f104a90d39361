import type { Bill, BillLine } from '@/api/types'
import { addDays, dayOf, dayText, dueText, periodText } from './dates'

export interface Tone {
  /** A class of base.scss's .chip */
  tone: 'good' | 'bad' | 'due' | ''
  text: string
}

export const isPayable = (bill: Bill) => bill.state === 'due' || bill.state === 'overdue'
/** A bill's `period_to` is the first day no longer billed; people are told the last one. */
export const billPeriod = (bill: Bill) =>
  periodText(bill.period_from, addDays(bill.period_to, -1))

export const owedFen = (bill: Bill) => Math.max(0, bill.amount_fen - bill.paid_fen)
export const sumOwedFen = (bills: Bill[]) => bills.reduce((sum, bill) => sum + owedFen(bill), 0)

export function billTone(bill: Bill, today: string): Tone {
  switch (bill.state) {
    case 'paid':
      return { tone: 'good', text: '已缴清' }
    case 'overdue':
      return { tone: 'bad', text: dueText(bill.due_on, today) }
    case 'due':
      return { tone: 'due', text: dueText(bill.due_on, today) }
    default:
      return { tone: '', text: '已冲销' }
  }
}

/** When it was paid, or until when it can be. */
export function billWhen(bill: Bill): string {
  if (bill.paid_at) return `${dayText(dayOf(Date.parse(bill.paid_at)))}缴清`
  if (bill.state === 'reversed') return '不用缴纳'
  return `${dayText(bill.due_on)}前缴纳`
}

/** How a line's amount comes about; the title stands above it and is not said again. */
export function lineSum(line: BillLine): string {
  if (!line.explanation) return `${line.quantity} ${line.unit} × ${line.price} 元`
  const title = `${line.title}：`
  return line.explanation.startsWith(title)
    ? line.explanation.slice(title.length)
    : line.explanation
}
