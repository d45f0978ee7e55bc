// The name of the DOM that the types of @hono/node-server mention; see test/e2e/dom.d.ts. Those of its
// version 2 mention some that cannot be given so, which is why it is version 1 here.
type RequestInfo = Parameters<typeof fetch>[0]
