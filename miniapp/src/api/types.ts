/** Shapes of the JSON API. Money in fen, energy in Wh, volume in litres, temperature in 1/100 °C. */

export type Role = 'resident' | 'reader'
export type Unit = 'wh' | 'l'
export type Utility = 'heat' | 'water' | 'gas' | 'electricity'

export interface Config {
  wechat_appid: string
  oauth_url: string
  /** A sandbox's script that defines WeixinJSBridge in a plain browser; null in production. */
  bridge_url: string | null
  overdue_template: string
  low_balance_template: string
  company: string
  channels: Channel[]
}

export type Channel = 'wechat' | 'alipay' | 'unionpay'

/** Through which door a payment goes. */
export interface Door {
  channel: Channel
  way: 'mini' | 'official' | 'qr' | 'wap'
}

export interface Household {
  id: number
  account_no: string
  address: string
  unit_no: string
  area_m2: string
  suspended: boolean
}

export interface ResidentSession {
  token: string
  role: 'resident'
  expires_at: string
  households: Household[]
}

export interface StaffSession {
  token: string
  /** 'reader', or what a member of staff who reads no meters is. */
  role: string
  name: string
  expires_at: string
}

export interface Me {
  role: Role
  name: string | null
  households: Household[]
}

export interface Comparison {
  used_wh: number
  previous_wh: number
  pct: number
}

export interface Home {
  household: Household
  warmth: {
    room_cdeg: number | null
    at: string | null
    state: 'warm' | 'cool' | 'cold' | 'unknown'
    text: string
  }
  season: {
    name: string
    day_from: string
    day_to: string
    used_wh: number
    as_of: string
    cost_fen: number
    cost_note: string
  }
  compare: {
    last_month: Comparison | null
    last_year: Comparison | null
    similar: {
      used_wh_per_m2: number
      mine_wh_per_m2: number
      pct: number
      homes: number
    } | null
  }
  owed: {
    amount_fen: number
    bills: number
    overdue_fen: number
    overdue_bills: number
    next_due_on: string | null
  }
  balance_fen: number
  utilities: { utility: Utility; unit: Unit; month_used: number; register: number | null }[]
  latest_bill: Bill | null
}

export interface TemperatureHistory {
  interval_s: number
  target_cdeg: number
  days: TemperatureDay[]
  stats: {
    min_cdeg: number | null
    max_cdeg: number | null
    mean_cdeg: number | null
    below_target_s: number
  }
}

export interface TemperatureDay {
  day: string
  room_cdeg: (number | null)[]
  supply_cdeg: (number | null)[]
  return_cdeg: (number | null)[]
}

export interface Consumption {
  utility: Utility
  unit: Unit
  provisional: boolean
  days: { day: string; used: number | null; flags: string[] }[]
  total: number
  previous_total: number | null
}

export type BillState = 'due' | 'overdue' | 'paid' | 'reversed'

export interface Bill {
  id: number
  bill_no: string
  utility: Utility
  title: string
  period_from: string
  /** The first day no longer billed. */
  period_to: string
  amount_fen: number
  paid_fen: number
  due_on: string
  issued_at: string
  paid_at: string | null
  state: BillState
}

/** What a household's money stands at besides its bills. */
export interface ColdReport {
  id: number
  room: string
  note: string
  reported_at: string
  visit_at: string | null
  state: 'open' | 'measured' | 'decided'
  measured_at: string | null
  measured_cdeg: number | null
  finding: { sentences?: string[]; refund_fen?: number }
}

export interface ColdTerms {
  sentences: string[]
  visits: string[]
  reports: ColdReport[]
}

export interface ColdVisit {
  id: number
  place: string
  account_no: string
  room: string
  note: string
  reported_at: string
  visit_at: string | null
  measure_by: string
}

export interface MeasurementInput {
  measured_at: string
  measured_cdeg: number
  resident_signature: string
  staff_signature: string
}

export interface Account {
  balance_fen: number
  prepaid: {
    utility: Utility
    through: string
    balance_fen: number
    marks: string[]
    waiting: string | null
    daily_fen: number | null
    lasts_days: number | null
  }[]
  credits: { kind: string; credit_fen: number; reason: string; at: string; sentences: string[] }[]
  late_fees: { bill_id: number; accrued_fen: number; sentence: string }[]
}

/** What a household may top up, and what it has. */
export interface TopupOffer {
  balance_fen: number
  prepaid: Account['prepaid']
  due_fen: number
  min_fen: number
  max_fen: number
  day_left_fen: number
  chips_fen: number[]
  channels: string[]
}

/** What a resident wants topped up: the household's balance (wallet) or a prepaid utility. */
export interface TopupWish {
  household_id: number
  into: string
  amount_fen: number
}

export interface BillLine {
  code: string
  title: string
  quantity: string
  unit: string
  price: string
  amount_fen: number
  explanation: string
}

export type BillWithLines = Bill & { lines: BillLine[] }

export interface BillPage {
  bills: Bill[]
  next_before: number | null
}

export interface Flag {
  code: string
  text: string
}

export interface HeatShare {
  method: string
  method_title: string
  building_wh: number
  building_from_register_wh: number | null
  building_to_register_wh: number | null
  building_reading_ids: number[]
  share_percent: string
  own_wh: number
  own_weight: number | string
  others_weight: number | string
  others: number
  formula: string
  flags: Flag[]
  coverage: number | string | null
}

export interface ReadingProof {
  id: number
  meter_address: string
  read_at: string
  register: number | null
  unit: Unit
  source: string
  /** What came over the wire, hexadecimal; null where a person typed it. */
  frame: string | null
}

export interface Explanation {
  bill: BillWithLines
  sentences: string[]
  heat: HeatShare | null
  tariff: {
    id: number
    name: string
    effective_from: string
    params: Record<string, unknown>
  } | null
  readings: ReadingProof[]
  comparison: {
    previous_bill: Bill | null
    /** Wh or litres. */
    previous_used: number | null
    last_year_used: number | null
    last_year_corrected_wh: number | null
    similar: SimilarHomes | null
  } | null
}

/** The home's usage beside the middle half of those like it; `unit` is wh_per_m2, wh or l. */
export interface SimilarHomes {
  unit: string
  mine: number
  median: number
  low: number
  high: number
  homes: number
  of_zh: string
}

export type OrderState = 'created' | 'paying' | 'paid' | 'closed' | 'parked' | 'refunded'

export interface Order {
  out_trade_no: string
  state: OrderState
  amount_fen: number
  /** wallet, or the utility of a prepaid account, where the order tops a balance up */
  topup_into: string | null
  bill_ids: number[]
  created_at: string
  expires_at: string
  paid_at: string | null
}

/** What WeChat's own client is called with. */
export interface WechatPay {
  appId: string
  timeStamp: string
  nonceStr: string
  package: string
  signType: string
  paySign: string
}

/** Where a browser goes to pay; `form`, where there is one, is posted there (JSON of its fields). */
export interface BrowserPay {
  url: string
  form?: string
}

export type ClientPay = WechatPay | BrowserPay

export interface OrderCreated {
  order: Order
  client_pay: ClientPay
}

export type PaperKind = 'receipt' | 'invoice' | 'special'
export type PaperState = 'valid' | 'part' | 'reversed' | 'red' | 'voided'

/** A receipt or an invoice. */
export interface Paper {
  id: number
  paper_no: string
  kind: PaperKind
  title: string
  state: PaperState
  account_no: string
  place: string
  buyer: string
  buyer_tax_id: string
  /** Below zero for a red-letter paper. */
  amount_fen: number
  tax_fen: number
  /** What has not been taken back. */
  left_fen: number
  day: string
  issued_at: string
  method: string
  reason: string | null
  voided_at: string | null
  void_reason: string | null
  /** The tax platform's number (数电票). */
  platform_no: string | null
}

export interface PaperLine {
  title: string
  quantity: string
  unit: string
  price: string
  rate: string
  amount_fen: number
  tax_fen: number
}

export interface PaperWithLines extends Paper {
  capitals: string
  lines: PaperLine[]
  /** The papers that take it back. */
  reds: string[]
  /** What it takes back. */
  about_no: string | null
}

export interface PaperPage {
  papers: Paper[]
  next_before: number | null
}

/** A paid bill of which something has not been invoiced yet. */
export interface InvoiceableBill {
  bill_id: number
  bill_no: string
  title: string
  utility: Utility
  paid_fen: number
  left_fen: number
}

/** A month of prepaid deductions of which something has not been invoiced yet. */
export interface InvoiceableMonth {
  utility: Utility
  /** "2026-10" */
  month: string
  title: string
  deducted_fen: number
  left_fen: number
}

export interface Invoiceable {
  bills: InvoiceableBill[]
  months: InvoiceableMonth[]
}

export type InvoiceKind = 'invoice' | 'special'

/** `title_id` null: the default title, or else the owner in person. */
export interface InvoiceWish {
  bill_ids: number[]
  months: { utility: Utility; month: string }[]
  kind: InvoiceKind
  title_id: number | null
}

export interface TitleInput {
  kind: 'person' | 'company'
  name: string
  tax_id: string
  address: string
  phone: string
  bank: string
  bank_account: string
  is_default: boolean
}

/** 抬头: whom invoices are made to. */
export interface Title extends TitleInput {
  id: number
}

export interface ReaderMeter {
  id: number
  kind: Utility
  address: string
  place: string
  account_no: string
  state: 'read' | 'missing' | 'failed'
  last_read_at: string | null
  register: number | null
  unit: Unit
  error: string | null
  owes_fen: number
}

export interface ReaderDay {
  day: string
  total: number
  read: number
  missing: number
  meters: ReaderMeter[]
}

export interface ReadingInput {
  /** Made on the phone; makes resending harmless. */
  client_id: string
  meter_id: number
  register: number
  read_at: string
  note?: string
  confirm?: boolean
}

export interface ReadingAccepted {
  reading_id: number
  flags: Flag[]
  usage_since_last: number | null
}
