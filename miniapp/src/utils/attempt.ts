import type { KeyValue } from './storage'
import { uuid } from './uuid'

/** Something asked of the server that must happen once, while it is being tried. */
export interface Attempt {
  /** Its Idempotency-Key. */
  key: string
  /** All that is asked for, as text: another request is another attempt. */
  of: string
  /** What came of it so far, where that has a number. */
  order: string | null
  /** After this the key leads nowhere any more. */
  until: number
}

/**
 * The attempt of one kind which this phone is at, kept in storage under a name: sending again after
 * a lost answer, a reload or a crash carries the same key, until the attempt has ended.
 */
export class Attempts {
  constructor(
    private readonly storage: KeyValue,
    private readonly store: string,
    private readonly lifetimeMs: number
  ) {}

  current(now: number): Attempt | null {
    const kept = this.storage.read<Attempt>(this.store)
    return kept && now < kept.until ? kept : null
  }

  keyFor(of: string, now: number): string {
    const current = this.current(now)
    if (current?.of === of) return current.key
    const made: Attempt = { key: uuid(), of, order: null, until: now + this.lifetimeMs }
    this.storage.write(this.store, made)
    return made.key
  }

  ordered(order: string, until: number | null): void {
    const current = this.storage.read<Attempt>(this.store)
    if (!current) return
    this.storage.write(this.store, { ...current, order, until: until ?? current.until })
  }

  /** It is over; where an order is named, only if it is that one's. */
  ended(order?: string): void {
    const current = this.storage.read<Attempt>(this.store)
    if (!order || current?.order === order) this.storage.remove(this.store)
  }
}
