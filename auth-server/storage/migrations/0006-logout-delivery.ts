import type { Migration } from './migration.ts'

export const logoutDelivery: Migration = {
  name: '0006-logout-delivery',
  statements: [
    `create table logout_delivery (
      id text not null primary key,
      client_id text not null,
      account_id text not null,
      sid text not null,
      queued_at bigint not null,
      due_at bigint not null,
      attempts bigint not null
    )`,
    `create index logout_delivery_due on logout_delivery (client_id, due_at)`,
  ],
}
