import type { Migration } from './migration.ts'

export const initial: Migration = {
  name: '0001-initial',
  statements: [
    `create table account (
      id text primary key,
      username text not null unique,
      password_hash text,
      roles text not null,
      groups text not null,
      profile text not null,
      disabled integer not null,
      access_ended_at bigint,
      owner text not null,
      created_at bigint not null,
      updated_at bigint not null
    )`,
    `create table client (
      id text primary key,
      settings text not null,
      disabled integer not null,
      owner text not null,
      created_at bigint not null,
      updated_at bigint not null
    )`,
    `create table signing_key (
      kid text primary key,
      algorithm text not null,
      public_jwk text not null,
      sealed_private_jwk text not null,
      announced_at bigint not null,
      active_at bigint not null,
      retired_at bigint,
      purged_at bigint
    )`,
    `create table engine_model (
      model text not null,
      key text not null,
      payload text not null,
      grant_id text,
      uid text,
      user_code text,
      account_id text,
      client_id text,
      consumed_at bigint,
      expires_at bigint,
      written_at bigint not null,
      primary key (model, key)
    )`,
    `create index engine_model_grant on engine_model (grant_id) where grant_id is not null`,
    `create index engine_model_uid on engine_model (uid) where uid is not null`,
    `create index engine_model_user_code on engine_model (user_code) where user_code is not null`,
    `create index engine_model_account on engine_model (account_id) where account_id is not null`,
    `create index engine_model_client on engine_model (client_id) where client_id is not null`,
    `create index engine_model_expiry on engine_model (expires_at) where expires_at is not null`,
    `create table tombstone (
      kind text not null,
      key text not null,
      expires_at bigint not null,
      primary key (kind, key)
    )`,
    `create index tombstone_expiry on tombstone (expires_at)`,
  ],
}
