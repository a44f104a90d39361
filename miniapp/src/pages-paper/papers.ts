import type { Invoiceable, InvoiceWish, Paper, PaperLine, PaperState, Title } from '@/api/types'
import type { Tone } from '@/utils/bills'
import { yuan } from '@/utils/money'

/** How many lines one invoice can hold; the server says the same (cashier.papers.rules). */
export const MAX_LINES = 60
/** How many titles a household keeps; the server says the same (cashier.papers.titles). */
export const MAX_TITLES = 20

const TONES: Record<PaperState, Tone> = {
  valid: { tone: 'good', text: '有效' },
  part: { tone: 'due', text: '部分红冲' },
  reversed: { tone: '', text: '已红冲' },
  red: { tone: 'bad', text: '红字' },
  voided: { tone: '', text: '已作废' }
}
export const paperTone = (paper: Paper): Tone => TONES[paper.state]

/** What a state means for who holds the paper; '' where there is nothing to say. */
export function paperNote(paper: Paper): string {
  switch (paper.state) {
    case 'part':
      return '这张票据有一部分已由红字票据冲回，剩下的金额仍然有效。'
    case 'reversed':
      return '这张票据已由红字票据全部冲回，不能再用来报销。'
    case 'red':
      return '这是红字票据，用来冲回原来的票据。'
    case 'voided':
      return `这张票据已作废，不能再用来报销。${paper.void_reason ? `原因：${paper.void_reason}` : ''}`
    default:
      return ''
  }
}

/** "12.5 吉焦 × 44.41 元 · 9%"; '' for a line that says no more than its title. */
export function lineNote(line: PaperLine): string {
  const sum = line.quantity ? `${line.quantity} ${line.unit}`.trim() : ''
  const priced = sum && line.price ? `${sum} × ${line.price} 元` : sum
  return [priced, line.rate].filter(Boolean).join(' · ')
}

export const isInvoice = (paper: Paper) => paper.kind !== 'receipt'

/** What can be ticked: a paid bill, or a month paid ahead. */
export interface Choice {
  id: string
  title: string
  note: string
  leftFen: number
}

export const billChoice = (id: number) => `bill-${id}`
const monthChoice = (one: InvoiceWish['months'][number]) => `month-${one.utility}-${one.month}`

export function choicesOf(offer: Invoiceable): Choice[] {
  const bills = offer.bills.map((one) => ({
    id: billChoice(one.bill_id),
    title: one.title,
    note: one.left_fen < one.paid_fen ? `已缴 ${yuan(one.paid_fen)}，还可以开` : '',
    leftFen: one.left_fen
  }))
  const months = offer.months.map((one) => ({
    id: monthChoice(one),
    title: one.title,
    note:
      one.left_fen < one.deducted_fen ? `已扣 ${yuan(one.deducted_fen)}，还可以开` : '预付费已扣的',
    leftFen: one.left_fen
  }))
  return [...bills, ...months]
}

/** The ticked ones, as they are asked for. */
export function chosenOf(offer: Invoiceable, ids: string[]): Omit<InvoiceWish, 'kind' | 'title_id'> {
  return {
    bill_ids: offer.bills.map((one) => one.bill_id).filter((id) => ids.includes(billChoice(id))),
    months: offer.months
      .filter((one) => ids.includes(monthChoice(one)))
      .map(({ utility, month }) => ({ utility, month }))
  }
}

/** What a company's title still needs before a special invoice can be made to it. */
export function lacksForSpecial(title: Title | null): string {
  if (!title || title.kind !== 'company') return '专用发票只能开给企业抬头，请换一个企业抬头。'
  const missing = [
    [title.address, '地址'],
    [title.phone, '电话'],
    [title.bank, '开户行'],
    [title.bank_account, '账号']
  ].filter(([given]) => !given)
  if (!missing.length) return ''
  return `开专用发票，这个抬头还缺${missing.map(([, name]) => name).join('、')}。`
}

export type TitleField = 'name' | 'tax_id' | 'address' | 'phone' | 'bank' | 'bank_account'

/** A field of a title's form; `most` characters, as the server takes. */
export interface FieldSpec {
  name: TitleField
  label: string
  hint: string
  needed: boolean
  numeric: boolean
  most: number
}

const field = (
  name: TitleField,
  label: string,
  hint: string,
  most: number,
  more: Partial<FieldSpec> = {}
): FieldSpec => ({ name, label, hint, most, needed: false, numeric: false, ...more })

const FIELDS: Record<Title['kind'], FieldSpec[]> = {
  person: [field('name', '姓名', '发票上的姓名', 100, { needed: true })],
  company: [
    field('name', '企业名称', '营业执照上的全称', 100, { needed: true }),
    field('tax_id', '税号', '纳税人识别号', 40, { needed: true, numeric: true }),
    field('address', '地址', '注册地址', 100),
    field('phone', '电话', '注册电话', 40, { numeric: true }),
    field('bank', '开户行', '例如：工商银行某某支行', 100),
    field('bank_account', '银行账号', '对公账号', 60, { numeric: true })
  ]
}
export const fieldsOf = (kind: Title['kind']): FieldSpec[] => FIELDS[kind]

/** Why what was typed cannot be sent; the rest (check digits and the like) the server says. */
export function reasonOf(spec: FieldSpec, typed: string): string {
  if (spec.needed && !typed.trim()) return `请填写${spec.label}。`
  return ''
}
