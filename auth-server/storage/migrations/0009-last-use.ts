import type { Migration } from './migration.ts'

export const lastUse: Migration = {
  name: '0009-last-use',
  statements: [
    `alter table engine_model add column used_at bigint`,
    `alter table engine_model add column used_from text`,
    `alter table engine_model add column used_with text`,
    `alter table api_key add column last_used_from text`,
  ],
}
