import { issueInvoice } from '@/api'
import { ApiError } from '@/api/http'
import type { InvoiceWish, PaperWithLines } from '@/api/types'
import { Attempts } from '@/utils/attempt'
import { DAY_MS } from '@/utils/dates'
import type { KeyValue } from '@/utils/storage'

const attempts = (storage: KeyValue) => new Attempts(storage, 'invoice.attempt', DAY_MS)

/** Not answers to the request itself: whether it had been carried out before is not known. */
const SAYS_NOTHING = [401, 408, 429]

interface Asked {
  household: number
  wish: InvoiceWish
}

const nameOf = ({ utility, month }: InvoiceWish['months'][number]) => `${utility}/${month}`

/** One spelling of a request, whichever way the bills were tapped. */
const textOf = (household: number, wish: InvoiceWish) =>
  JSON.stringify({
    household,
    wish: {
      bill_ids: [...wish.bill_ids].sort((a, b) => a - b),
      months: [...wish.months]
        .sort((a, b) => nameOf(a).localeCompare(nameOf(b)))
        .map(({ utility, month }) => ({ utility, month })),
      kind: wish.kind,
      title_id: wish.title_id
    }
  } satisfies Asked)

/** What this household last asked for without hearing what came of it. */
export function unanswered(storage: KeyValue, household: number, now: number): InvoiceWish | null {
  const current = attempts(storage).current(now)
  if (!current) return null
  const asked = JSON.parse(current.of) as Asked
  return asked.household === household ? asked.wish : null
}

/** The person no longer wants it; what was already issued stands among the papers. */
export const forget = (storage: KeyValue) => attempts(storage).ended()

/**
 * An invoice, once: until an answer has come, the same request goes out under the same key.
 * @throws ApiError
 */
export async function issue(
  storage: KeyValue,
  household: number,
  wish: InvoiceWish,
  now: number
): Promise<PaperWithLines> {
  const kept = attempts(storage)
  try {
    const made = await issueInvoice(household, wish, kept.keyFor(textOf(household, wish), now))
    kept.ended()
    return made
  } catch (thrown) {
    if (thrown instanceof ApiError && isAnswer(thrown)) kept.ended()
    throw thrown
  }
}

const isAnswer = (error: ApiError) => !error.retriable && !SAYS_NOTHING.includes(error.status)
