/** In this order: most browsers also call themselves what their ancestors were called. */
const BROWSERS: readonly (readonly [RegExp, string])[] = [
  [/\bEdg(?:e|A|iOS)?\//, 'Edge'],
  [/\b(?:OPR|OPiOS)\//, 'Opera'],
  [/\bSamsungBrowser\//, 'Samsung Internet'],
  [/\b(?:Firefox|FxiOS)\//, 'Firefox'],
  [/(?:\b|Headless)(?:Chrome|CriOS|Chromium)\//, 'Chrome'],
  [/\bVersion\/[\d.]+ .*\bSafari\//, 'Safari'],
]
const SYSTEMS: readonly (readonly [RegExp, string])[] = [
  [/\bAndroid\b/, 'Android'],
  [/\biPhone\b/, 'an iPhone'],
  [/\biPad\b/, 'an iPad'],
  [/\bWindows\b/, 'Windows'],
  [/\bMacintosh\b/, 'a Mac'],
  [/\bCrOS\b/, 'ChromeOS'],
  [/\bLinux\b/, 'Linux'],
]
/** What browsers send is about half as long. */
const LONGEST = 512

/**
 * What a browser calls itself, in words that people know: `Firefox on Windows`. The words are ours alone,
 * so that nothing of the header, which anybody can write anything into, is kept or shown. It helps
 * people to tell their browsers apart, and proves nothing.
 */
export function nameBrowser(userAgent: string): string {
  const text = userAgent.slice(0, LONGEST)
  const find = (names: typeof BROWSERS) => names.find(([pattern]) => pattern.test(text))?.[1]
  const [browser, system] = [find(BROWSERS), find(SYSTEMS)]
  if (browser === undefined) {
    return system === undefined ? 'An unknown browser' : `A browser on ${system}`
  }
  return system === undefined ? browser : `${browser} on ${system}`
}
