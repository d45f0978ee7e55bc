import Router from '@koa/router'
import { bodyParser } from '@koa/bodyparser'
export const createAssetRoutes = (): any => async (_c: any, n: any) => n()
export function createInteractionRoutes({ interactions, signIn, clientAddress }: any): any {
  const r = new Router()
  const show = (p: any) =>
    p.prompt === 'login'
      ? `<form action="/interaction/${p.uid}/sign-in"></form><form action="/interaction/${p.uid}/cancel"></form>`
      : `${p.client.name} ${p.returnTo} ${JSON.stringify([p.asked, p.leftOut])}<form action="/interaction/${p.uid}/consent"></form><form action="/interaction/${p.uid}/cancel"></form>`
  r.get('/interaction/:uid', async (ctx: any) => {
    const p = await interactions.find(ctx.req, ctx.res)
    if (!p) {
      ctx.status = 404
      return
    }
    ctx.type = 'html'
    ctx.body = show(p)
  })
  r.post('/interaction/:uid/:what', bodyParser(), async (ctx: any) => {
    const p = await interactions.find(ctx.req, ctx.res)
    if (!p) {
      ctx.status = 404
      return
    }
    if (ctx.params.what === 'cancel') ctx.redirect(await interactions.cancel(ctx.req, ctx.res))
    else if (ctx.params.what === 'consent')
      ctx.redirect(await interactions.finishConsent(ctx.req, ctx.res))
    else {
      const x = await signIn({ ...ctx.request.body, address: clientAddress(ctx) })
      if (!x.ok) {
        ctx.status = 401
        ctx.type = 'html'
        ctx.body = show(p)
        return
      }
      ctx.redirect(await interactions.finishSignIn(ctx.req, ctx.res, x.value.id, ['pwd']))
    }
    ctx.status = 303
  })
  return r.routes()
}
