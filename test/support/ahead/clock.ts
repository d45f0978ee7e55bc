/** Loaded before a program (`node --import`), gives it a clock that is so many ms ahead: `?by=2500`. */
const by = Number(new URL(import.meta.url).searchParams.get('by'))
const now = Date.now.bind(Date)
Date.now = () => now() + by
