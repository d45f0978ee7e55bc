-- A small database as it was after 0010-unusable-revocations. Made by hand; it never changes.
-- checksum raLEDNzlt2wwz-Bhq3hQ68iInFrSFYk-sL5IXAbfjYE

insert into account
  (id, username, password_hash, roles, groups, profile, disabled, access_ended_at, owner, created_at, updated_at)
values
  ('acc_AAAAAAAAAAAAAAAAAAAAAA', 'ann',
   '$argon2id$v=19$m=19456,t=2,p=1$dha0i7ajqBNFXuwEaetKFw$chQX8AWw/FBiQpeIx6H2o57hD7vzjgAglXCnAm0t+0Y',
   '["editor","reader"]', '["staff","crew of \"one\""]',
   '{"name":"Ann O''Hara","givenName":"Ann","familyName":"O''Hara","preferredUsername":"annie","email":"ann@example.org","emailVerified":true,"picture":"https://example.org/ann.png","locale":"en-GB"}',
   0, 1750000000001, 'operator', 1749000000000, 1750000000002),
  ('acc_BBBBBBBBBBBBBBBBBBBBBA', 'bén',
   null, '[]', '[]', '{}', 1, null, 'file', 1749000000003, 1750000000004);

insert into client (id, settings, disabled, owner, created_at, updated_at)
values
  ('web',
   '{"name":"The Web App","applicationType":"web","grants":["authorization_code","refresh_token"],"authMethod":"client_secret_basic","redirectUris":["https://app.example/callback?a=1&b=2"],"postLogoutRedirectUris":["https://app.example/bye"],"scopes":["openid","offline_access","notes:read"],"defaultScopes":["openid"],"defaultResource":"https://notes.example/","firstParty":true,"pkce":"exempt","claimsInIdToken":true,"origins":["https://app.example"],"secretHash":"$argon2id$v=19$m=19456,t=2,p=1$RuI0oXBtT93PUl+Vz1NvEw$fk0PvNkKLwi75zTiqrin7QTL8CjxtqbNfp7AkPUPAKA"}',
   0, 'file', 1749000000010, 1750000000010),
  ('spa',
   '{"name":"Die Äpp","applicationType":"web","grants":["authorization_code","refresh_token"],"authMethod":"none","redirectUris":["https://spa.example/"],"postLogoutRedirectUris":[],"scopes":["openid","notes:read"],"defaultScopes":[],"firstParty":false,"pkce":"required","claimsInIdToken":false,"origins":["https://spa.example"]}',
   0, 'operator', 1749000000011, 1750000000011),
  ('tool',
   '{"name":"tool","applicationType":"native","grants":["authorization_code"],"authMethod":"none","redirectUris":["http://127.0.0.1/callback","com.example.tool:/callback"],"postLogoutRedirectUris":[],"scopes":["openid"],"defaultScopes":[],"firstParty":false,"pkce":"required","claimsInIdToken":false,"origins":[]}',
   0, 'operator', 1749000000012, 1750000000012),
  ('robot',
   '{"name":"robot","applicationType":"web","grants":["client_credentials"],"authMethod":"client_secret_post","redirectUris":[],"postLogoutRedirectUris":[],"scopes":["notes:read"],"defaultScopes":[],"firstParty":false,"pkce":"required","claimsInIdToken":false,"origins":[],"secretHash":"sha256:UWESoihWr7YgZXsoPJvBqjxxg8Gb49jMXHbIaMVtxPQ"}',
   1, 'operator', 1749000000013, 1750000000013);

insert into signing_key
  (kid, algorithm, public_jwk, sealed_private_jwk, announced_at, active_at, retired_at, purged_at)
values
  ('U-wxIjUsKPC_nnEa6G6f_cmTt8-ApEIrpF6zU4F7ha8', 'ES256',
   '{"kty":"EC","x":"6gBAouRm3F7k6z7xpM30w5nHBqsTIJHZ1N6bY-bAhoM","y":"z9IcpVPxU3GLrqXW8XueOuVl94ZiGN2OMM8lX71SnG0","crv":"P-256","alg":"ES256","use":"sig","kid":"U-wxIjUsKPC_nnEa6G6f_cmTt8-ApEIrpF6zU4F7ha8"}',
   'v1.Tuv27dud97DU4-8RV1Aj1jk4Xj1lBdcPWC7-xz2E7N2UI1YyCJlrSDNjI20wsVm9uRwuGv1ha63rJHXmC-KIIS_QCDdz47E4EhTTJJYF-cs4BK5czYBH-DfEVD4EkxgizdMuv1JJcX1zMLd948n2PptGIIfTYaehEu87NC_DXfCyzbT3xMmzzDX6sgo8aRvdrEh-hgQdf0YSOMRnPdt7oQyufn3lGfDoDCyzejMrFfPPukXYC6zCqp4Auomv-DgqXE-3k4tpXJrZA-psUZcgKB5VwTUu3iMJLJMuCrhZ4gvFs8Aj0W7snr1l8sMAdmirKYwNFibvCmhtQ0fGFLZHJ8SEd40eDwYO2-JTDJjC-HVsIIplDxdQnLfu',
   1750000000000, 1750000000000, null, null),
  ('a-key-that-is-gone', 'RS256', '{"kty":"RSA","n":"AQAB","e":"AQAB","alg":"RS256","use":"sig","kid":"a-key-that-is-gone"}',
   'v1.sealed', 1740000000000, 1740000000001, 1740000000002, 1740000000003);

insert into engine_model
  (model, key, payload, grant_id, uid, user_code, account_id, client_id, consumed_at, expires_at, written_at, replaces)
values
  ('Session', 'next-session-of-ann',
   '{"iat":1750000000,"exp":1751209600,"kind":"Session","uid":"uid-of-ann","accountId":"acc_AAAAAAAAAAAAAAAAAAAAAA","loginTs":1750000000,"amr":["pwd"]}',
   null, 'uid-of-ann', null, 'acc_AAAAAAAAAAAAAAAAAAAAAA', null, null, 1751209600000, 1750000000200, 'session-of-ann'),
  ('Session', 'session-of-ann',
   '{"iat":1750000000,"exp":1751209600,"kind":"Session","uid":"uid-of-ann","accountId":"acc_AAAAAAAAAAAAAAAAAAAAAA","loginTs":1750000000,"amr":["pwd"],"authorizations":{"web":{"sid":"sid-of-web","grantId":"grant-of-web"}}}',
   null, 'uid-of-ann', null, 'acc_AAAAAAAAAAAAAAAAAAAAAA', null, null, 1751209600000, 1750000000100, null),
  ('Session', 'session-of-nobody', '{"iat":1750000000,"exp":1751209600,"kind":"Session","uid":"uid-of-nobody"}',
   null, 'uid-of-nobody', null, null, null, null, 1751209600000, 1750000000101, null),
  ('Grant', 'grant-of-web',
   '{"iat":1750000000,"exp":1751209600,"accountId":"acc_AAAAAAAAAAAAAAAAAAAAAA","clientId":"web","kind":"Grant","openid":{"scope":"openid offline_access"},"resources":{"https://notes.example/":"notes:read"}}',
   'grant-of-web', null, null, 'acc_AAAAAAAAAAAAAAAAAAAAAA', 'web', null, 1751209600000, 1750000000102, null),
  ('AuthorizationCode', 'code-of-web',
   '{"iat":1750000000,"exp":1750000060,"accountId":"acc_AAAAAAAAAAAAAAAAAAAAAA","codeChallenge":"n7ahrym-QvPtrvGFJjKjlCP7dpygE3301yZLDYc99cQ","codeChallengeMethod":"S256","redirectUri":"https://app.example/callback?a=1&b=2","scope":"openid notes:read","kind":"AuthorizationCode","clientId":"web"}',
   'grant-of-web', null, null, 'acc_AAAAAAAAAAAAAAAAAAAAAA', 'web', 1750000000500, 1750000060000, 1750000000103, null),
  ('RefreshToken', 'refresh-token-that-was-used',
   '{"iat":1750000000,"exp":1751209600,"accountId":"acc_AAAAAAAAAAAAAAAAAAAAAA","gty":"authorization_code","rotations":0,"scope":"openid notes:read","kind":"RefreshToken","clientId":"web"}',
   'grant-of-web', null, null, 'acc_AAAAAAAAAAAAAAAAAAAAAA', 'web', 1750000000600, 1751209600000, 1750000000104, null),
  ('RefreshToken', 'refresh-token-that-is-next',
   '{"iat":1750000000,"exp":1751209600,"accountId":"acc_AAAAAAAAAAAAAAAAAAAAAA","gty":"authorization_code refresh_token","rotations":1,"scope":"openid notes:read","kind":"RefreshToken","clientId":"web"}',
   'grant-of-web', null, null, 'acc_AAAAAAAAAAAAAAAAAAAAAA', 'web', null, 1751209600000, 1750000000105, null),
  ('AccessToken', 'token-of-web',
   '{"iat":1750000000,"exp":1750000600,"accountId":"acc_AAAAAAAAAAAAAAAAAAAAAA","gty":"authorization_code","kind":"AccessToken","clientId":"web","scope":"openid"}',
   'grant-of-web', null, null, 'acc_AAAAAAAAAAAAAAAAAAAAAA', 'web', null, 1750000600000, 1750000000106, null),
  ('ClientCredentials', 'token-of-robot', '{"iat":1750000000,"exp":1750000600,"kind":"ClientCredentials","clientId":"robot","scope":"notes:read"}',
   null, null, null, null, 'robot', null, 1750000600000, 1750000000107, null),
  ('Interaction', 'interaction-of-spa',
   '{"iat":1750000000,"exp":1750003600,"returnTo":"https://id.example/auth/{uid}","prompt":{"name":"login","reasons":["no_session"],"details":{}},"params":{"client_id":"spa","state":"a ''state''; -- ü"},"kind":"Interaction"}',
   null, null, null, null, null, null, 1750003600000, 1750000000108, null),
  ('DeviceCode', 'device-code-of-tool', '{"iat":1750000000,"exp":1750000600,"kind":"DeviceCode","clientId":"tool","scope":"openid"}',
   null, null, 'user-code-of-tool', null, 'tool', null, 1750000600000, 1750000000109, null),
  ('PushedAuthorizationRequest', 'request-of-web', '{"iat":1750000000,"exp":1750000060,"kind":"PushedAuthorizationRequest","request":"a.b.c"}',
   null, null, null, null, null, null, 1750000060000, 1750000000110, null),
  ('ReplayDetection', 'assertion-of-robot', '{"iat":1750000000,"kind":"ReplayDetection","iss":"robot"}',
   null, null, null, null, null, null, null, 1750000000111, null);

insert into tombstone (kind, key, expires_at)
values
  ('Session', 'session-that-ended', 1750172800000),
  ('Session uid', 'uid-that-ended', 1750172800001);

insert into revocation (sequence, kind, subject, reason, revoked_at, expires_at)
values
  (4, 'token', 'jti-of-a-token', 'grant_revoked', 1750000000000, 1750172800000),
  (5, 'session', 'sid-that-ended', 'signed_out', 1750000000001, 1750172800001),
  (6, 'grant', 'grant-that-was-revoked', 'credential_reused', 1750000000002, 1750172800002),
  (7, 'user', 'acc_BBBBBBBBBBBBBBBBBBBBBA', 'user_changed', 1750000000003, 1750172800003),
  (8, 'user', 'acc_BBBBBBBBBBBBBBBBBBBBBA', 'user_changed', 1750000000004, 1750172800004),
  (9, 'client', 'an-app-that-is-gone', 'client_removed', 1750000000005, 1750172800005),
  (10, 'key', 'a-key-that-is-gone', 'key_withdrawn', 1750000000006, 1750172800006);

insert into audit_entry
  (sequence, happened_at, event, actor, account_id, client_id, request_id, facts, previous, hash)
values
  (1, 1750000000000, 'object_changed', 'operator', 'acc_AAAAAAAAAAAAAAAAAAAAAA', null, null, '{"action":"added","kind":"user"}',
   '', 'r603F_hx.ctKMa6fvdeII557TBmex-Kw3Piowu6dH4Y6xpAGSFEA'),
  (2, 1750000000100, 'signed_in', 'user', 'acc_AAAAAAAAAAAAAAAAAAAAAA', 'web', 'request-1', '{"name":"Ann O''Hara"}',
   'r603F_hx.ctKMa6fvdeII557TBmex-Kw3Piowu6dH4Y6xpAGSFEA', 'r603F_hx.uIs2pbYEeYCNzfBYkCFmI3OtboIXQiXil3VDCMzlMd0');

insert into api_key
  (id, account_id, name, hash, resource, scopes, created_at, expires_at, last_used_at, revoked_at)
values
  ('key_AAAAAAAAAAAAAAAAAAAAAA', 'acc_AAAAAAAAAAAAAAAAAAAAAA', 'Bäckup of "the notes"',
   'BlhDiyTWNMRa-xZQ1YRT_eMr-tWFvL2AgHLVoTlhbMg', 'https://notes.example/', '["notes:read","notes:write"]',
   1750000000300, null, 1750000000400, null),
  ('key_BBBBBBBBBBBBBBBBBBBBBA', 'acc_BBBBBBBBBBBBBBBBBBBBBA', 'revoked',
   'ULQ9LJnTnUKJS6VN0PjRS_ASh0Wg3dV_kyVIzcVKk1Y', 'https://notes.example/', '["notes:read"]',
   1750000000301, 1757776000301, null, 1750000000500);

insert into logout_delivery
  (id, client_id, account_id, sid, queued_at, due_at, attempts)
values
  ('logout-that-was-tried', 'web', 'acc_AAAAAAAAAAAAAAAAAAAAAA', 'sid-that-ended',
   1750000000002, 1750000000002, 3),
  ('logout-of-the-spa', 'spa', 'acc_BBBBBBBBBBBBBBBBBBBBBA', 'another-sid-that-ended',
   1750000000004, 1760000000000, 0);

insert into registration_invite (id, hash, label, uses_left, created_at, expires_at)
values
  ('inv_AAAAAAAAAAAAAAAAAAAAAA', 'BlhDiyTWNMRa-xZQ1YRT_eMr-tWFvL2AgHLVoTlhbMg', 'The "crew"', 3,
   1750000000600, 1760000000000);

insert into client_registration (client_id, token_hash, registered_at, used_at)
values
  ('web', 'ULQ9LJnTnUKJS6VN0PjRS_ASh0Wg3dV_kyVIzcVKk1Y', 1750000000601, 1750000000602),
  ('tool', 'hash-of-the-token-of-the-tool', 1750000000603, null);

insert into revocation_feed (single, id)
values
  (1, 'AAAAAAAAAAAAAAAAAAAAAA');

insert into revocation_receiver (client_id, receiver, place, reported_at, seen_at)
values
  ('robot', 'replica.1', 2, 1750000000700, 1750000000701);

update engine_model
set used_at = 1750000000800, used_from = '2001:db8::7', used_with = 'Firefox on Linux'
where model = 'Session' and uid = 'uid-of-ann';

update engine_model
set used_at = 1750000000801, used_from = '192.0.2.7'
where model = 'Grant' and key = 'grant-of-web';

update api_key
set last_used_from = '192.0.2.8'
where id = 'key_AAAAAAAAAAAAAAAAAAAAAA';

update revocation_receiver
set unusable = '[{"from":1,"through":2,"expiresAt":1750172800900}]'
where client_id = 'robot';
