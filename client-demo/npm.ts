const LOOK_EVERY_MS = 500

/**
 * Calls `end` once the npm that has started us is gone. It passes a SIGTERM on to the shell between us, which
 * ends without a word: we would run on, and so would our servers. Whoever starts us without npm may leave.
 */
export function endWithNpm(end: () => void): void {
  if (process.env['npm_lifecycle_event'] === undefined) return
  const { ppid } = process
  const look = setInterval(() => {
    if (process.ppid === ppid) return
    clearInterval(look)
    end()
  }, LOOK_EVERY_MS)
  look.unref()
}
