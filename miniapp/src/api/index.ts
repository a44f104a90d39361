import { del, download, get, post, put } from './http'
import type {
  Account,
  BillPage,
  BillWithLines,
  ColdReport,
  ColdTerms,
  ColdVisit,
  Config,
  Consumption,
  Door,
  Explanation,
  Home,
  Household,
  Invoiceable,
  InvoiceWish,
  Me,
  MeasurementInput,
  Order,
  OrderCreated,
  PaperPage,
  PaperWithLines,
  ReaderDay,
  ReadingAccepted,
  ReadingInput,
  ResidentSession,
  StaffSession,
  TemperatureHistory,
  Title,
  TitleInput,
  TopupOffer,
  TopupWish,
  Utility
} from './types'

export type WechatVia = 'mini_program' | 'official_account'

export const fetchConfig = () => get<Config>('/config')

export const signInWechat = (code: string, via: WechatVia) =>
  post<ResidentSession>('/session/wechat', { code, via })
export const signInStaff = (login: string, password: string) =>
  post<StaffSession>('/session/staff', { login, password })
export const signOut = () => del('/session')
export const fetchMe = () => get<Me>('/me')

export interface HouseholdProof {
  account_no: string
  owner_name: string
  phone_last4: string
}
export const bindHousehold = (proof: HouseholdProof) => post<Household>('/me/households', proof)
export const unbindHousehold = (id: number) => del(`/me/households/${id}`)
export const subscribe = (template: string, accepted: boolean) =>
  post<{ remaining: number }>('/me/subscriptions', { template, accepted })

export const fetchHome = (household: number) => get<Home>(`/households/${household}/home`)
/** At most 31 days. */
export const fetchTemperature = (household: number, day_from: string, day_to: string) =>
  get<TemperatureHistory>(`/households/${household}/temperature`, { day_from, day_to })
/** At most 400 days. */
export const fetchConsumption = (
  household: number,
  utility: Utility,
  day_from: string,
  day_to: string
) => get<Consumption>(`/households/${household}/consumption`, { utility, day_from, day_to })

export const fetchAccount = (household: number) =>
  get<Account>(`/households/${household}/account`)

export const fetchColdTerms = (household: number) =>
  get<ColdTerms>(`/households/${household}/cold-reports`)
export const reportCold = (household: number, room: string, note: string, visit_at: string | null) =>
  post<ColdReport>(`/households/${household}/cold-reports`, { room, note, visit_at })

export const fetchBills = (household: number, before: number | null = null, limit = 20) =>
  get<BillPage>(`/households/${household}/bills`, { before, limit })
export const fetchBill = (id: number) => get<BillWithLines>(`/bills/${id}`)
export const fetchExplanation = (id: number) => get<Explanation>(`/bills/${id}/explain`)

export const createOrder = (bill_ids: number[], door: Door, idempotencyKey: string) =>
  post<OrderCreated>(
    '/orders',
    { bill_ids, ...door },
    { 'Idempotency-Key': idempotencyKey }
  )
export const fetchTopup = (household: number) => get<TopupOffer>(`/households/${household}/topup`)
export const createTopup = (wish: TopupWish, door: Door, idempotencyKey: string) =>
  post<OrderCreated>('/topups', { ...wish, ...door }, { 'Idempotency-Key': idempotencyKey })
export const fetchOrder = (outTradeNo: string) => get<Order>(`/orders/${outTradeNo}`)

export const fetchPapers = (household: number, before: number | null = null, limit = 20) =>
  get<PaperPage>(`/households/${household}/papers`, { before, limit })
export const fetchPaper = (paperNo: string) => get<PaperWithLines>(`/papers/${paperNo}`)
export const fetchPaperPdf = (paperNo: string) => download(`/papers/${paperNo}/pdf`)
/** The receipt of a payment, issued now where it is not there yet. */
export const fetchReceipt = (outTradeNo: string) =>
  post<PaperWithLines>(`/orders/${outTradeNo}/receipt`, {})
export const fetchInvoiceable = (household: number) =>
  get<Invoiceable>(`/households/${household}/invoiceable`)
export const issueInvoice = (household: number, wish: InvoiceWish, idempotencyKey: string) =>
  post<PaperWithLines>(`/households/${household}/invoices`, wish, {
    'Idempotency-Key': idempotencyKey
  })

export const fetchTitles = (household: number) =>
  get<{ titles: Title[] }>(`/households/${household}/titles`)
export const addTitle = (household: number, title: TitleInput) =>
  post<Title>(`/households/${household}/titles`, title)
export const editTitle = (household: number, id: number, title: TitleInput) =>
  put<Title>(`/households/${household}/titles/${id}`, title)
export const makeDefaultTitle = (household: number, id: number) =>
  post<{ titles: Title[] }>(`/households/${household}/titles/${id}/default`, {})
export const dropTitle = (household: number, id: number) =>
  del(`/households/${household}/titles/${id}`)

export const fetchReaderDay = () => get<ReaderDay>('/reader/today')
export const sendReading = (reading: ReadingInput) =>
  post<ReadingAccepted>('/reader/readings', reading)

export const fetchColdVisits = () => get<{ visits: ColdVisit[] }>('/reader/cold-reports')
export const sendMeasurement = (report: number, measured: MeasurementInput) =>
  post<ColdReport>(`/staff/cold-reports/${report}/measurement`, { ...measured })
