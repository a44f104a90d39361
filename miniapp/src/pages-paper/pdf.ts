import { fetchPaperPdf } from '@/api'
import { ApiError, type Downloaded } from '@/api/http'

const UNREADABLE = '文件没有取完整，请再试一次。'

/**
 * Opens a paper's PDF (WeChat), or saves it (a browser).
 * @returns what was done, where the person would not see it by itself
 * @throws ApiError with a sentence
 */
export async function openPdf(paperNo: string): Promise<string> {
  const file = await fetchPaperPdf(paperNo)
  // #ifdef MP-WEIXIN
  await show(file)
  return ''
  // #endif
  // #ifdef H5
  save(file, `${paperNo}.pdf`)
  return `已保存 ${paperNo}.pdf，在手机的“下载”里可以找到。`
  // #endif
}

// #ifdef MP-WEIXIN
/** WeChat's own viewer, from whose menu the file can be kept or passed on. */
function show({ path }: Downloaded): Promise<void> {
  return new Promise((resolve, reject) =>
    uni.openDocument({
      filePath: path ?? '',
      fileType: 'pdf',
      showMenu: true,
      success: () => resolve(),
      fail: () => reject(new ApiError(0, 'unreadable', UNREADABLE))
    })
  )
}
// #endif

// #ifdef H5
const KEPT_MS = 60_000

function save({ bytes }: Downloaded, name: string): void {
  if (!bytes || !isPdf(bytes)) throw new ApiError(0, 'unreadable', UNREADABLE)
  const url = URL.createObjectURL(new Blob([bytes], { type: 'application/pdf' }))
  const link = document.createElement('a')
  link.href = url
  link.download = name
  link.click()
  setTimeout(() => URL.revokeObjectURL(url), KEPT_MS)
}

/** A proxy's page in between may come with 200, and must not be kept as an invoice. */
function isPdf(bytes: ArrayBuffer): boolean {
  const head = new Uint8Array(bytes.slice(0, 5))
  return String.fromCharCode(...head) === '%PDF-'
}
// #endif
