/** How long to wait before asking again, in ms: quick at first, then every 5 s, two minutes in all. */
export const POLL_WAITS_MS = [500, 1_000, 1_000, 2_000, 2_000, 3_000, ...Array(22).fill(5_000)]

/**
 * Asks until `settled` or until the waits are used up or `stopped`. A failed ask is only a missed
 * turn: the money does not depend on it.
 */
export async function poll<T>(
  ask: () => Promise<T>,
  settled: (answer: T) => boolean,
  stopped: () => boolean,
  waits: number[] = POLL_WAITS_MS
): Promise<T | null> {
  let last: T | null = null
  for (const wait of [0, ...waits]) {
    if (wait) await new Promise((resolve) => setTimeout(resolve, wait))
    if (stopped()) return last
    last = await ask().catch(() => last)
    if (last !== null && settled(last)) return last
  }
  return last
}
