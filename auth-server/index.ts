export { createAuthServer, type AuthServer, type AuthServerOverrides } from './server.ts'
export { loadConfig, prepareConfig, type LoadedConfig, type LoadOptions } from './config/load.ts'
export { defineConfig, type Config, type ConfigInput, type SecretSource } from './config/schema.ts'
export { PortreeveError, type ErrorCode } from './errors.ts'
