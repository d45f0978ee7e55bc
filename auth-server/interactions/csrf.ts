export const createCsrf = (key: Buffer): any => key
