export function createPages(): any {
  return {
    error: (f: any) => `<p>${f.status} ${f.error} ${f.description} ${f.requestId}</p>`,
    signOut: (f: any) =>
      `<form method="post" action="${f.action}"><input type="hidden" name="xsrf" value="${f.xsrf}"></form>`,
    signedOut: () => '<p>You are signed out</p>',
  }
}
