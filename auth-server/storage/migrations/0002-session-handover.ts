import type { Migration } from './migration.ts'

export const sessionHandover: Migration = {
  name: '0002-session-handover',
  statements: [`alter table engine_model add column replaces text`],
}
