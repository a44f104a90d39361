import { useSession } from '@/stores/session'
import type { Role } from '@/api/types'
import { HOME, leaveForSignIn, READER_HOME } from './routes'

/** Whether this page may open; when not, the person is already on the way to the right one. */
export function admit(role: Role): boolean {
  const session = useSession()
  if (!session.signedIn) {
    leaveForSignIn()
    return false
  }
  if (session.role !== role) {
    uni.reLaunch({ url: session.role === 'reader' ? READER_HOME : HOME })
    return false
  }
  return true
}

/** As `admit`, for pages that show a household: without one, to the page that binds one. */
export function admitHousehold(): number | null {
  if (!admit('resident')) return null
  const household = useSession().household
  if (household) return household.id
  uni.reLaunch({ url: '/pages/bind/index' })
  return null
}
