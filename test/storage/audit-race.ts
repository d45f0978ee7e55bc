export const AUDIT_SECRET: Buffer = Buffer.alloc(32, 5)
export const PER_WRITER = 400
