import type { Migration } from './migration.ts'

export const revocationFeed: Migration = {
  name: '0008-revocation-feed',
  statements: [
    `create table revocation_feed (
      single bigint not null primary key,
      id text not null
    )`,
    `create table revocation_receiver (
      client_id text not null,
      receiver text not null,
      place bigint not null,
      reported_at bigint not null,
      seen_at bigint not null,
      primary key (client_id, receiver)
    )`,
    `create index revocation_receiver_seen on revocation_receiver (seen_at)`,
  ],
}
