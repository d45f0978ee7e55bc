import { defineConfig, type ViteUserConfig } from 'vitest/config'

/** What waits for much, or starts many servers: `npm test` is to be over soon. */
const SLOW = [
  'test/conformance/ciba.test.ts',
  'test/conformance/cimd-life.test.ts',
  'test/conformance/cimd.test.ts',
  'test/conformance/oidc-backchannel-logout.test.ts',
  'test/conformance/revocation-feed.test.ts',
  'test/conformance/rfc7591-outbound.test.ts',
  'test/conformance/rfc8705-mtls.test.ts',
  'test/integration/ended-access.test.ts',
  'test/integration/own-access.test.ts',
  'test/integration/resource-server-demo-hello.test.ts',
  'test/integration/web-demo-attacks.test.ts',
  'test/integration/web-demo-flow.test.ts',
]

const config: ViteUserConfig = defineConfig({
  test: {
    // The tests wait for processes and the disk as much as for the processor.
    maxWorkers: '100%',
    // What the programs print belongs to a test that failed.
    silent: 'passed-only',
    projects: [
      {
        test: {
          name: 'unit',
          include: ['{auth-server,resource-server,client-demo,tools}/**/*.test.ts'],
          // No module of ours keeps a state: loading them for each file would be a third of the work.
          isolate: false,
          testTimeout: 20_000,
        },
      },
      {
        test: {
          name: 'integration',
          include: ['test/{integration,conformance}/**/*.test.ts'],
          exclude: SLOW,
          isolate: false,
          testTimeout: 30_000,
          hookTimeout: 30_000,
        },
      },
      {
        test: {
          name: 'process',
          // Whole programs, several servers at once, many random inputs: what takes seconds each.
          include: ['test/{process,fuzz}/**/*.test.ts', ...SLOW],
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
      {
        test: {
          name: 'fault',
          include: ['test/fault/**/*.test.ts'],
          testTimeout: 300_000,
          fileParallelism: false,
        },
      },
      {
        test: {
          name: 'engines',
          include: ['test/engines/**/*.test.ts'],
          testTimeout: 120_000,
          hookTimeout: 60_000,
          fileParallelism: false,
        },
      },
      {
        test: {
          // Minutes each: run by `npm run test:all`, not by `.ci/run`.
          name: 'slow',
          include: ['test/slow/**/*.test.ts'],
          testTimeout: 900_000,
          fileParallelism: false,
        },
      },
      {
        test: {
          name: 'e2e',
          include: ['test/e2e/**/*.test.ts'],
          testTimeout: 60_000,
          fileParallelism: false,
        },
      },
    ],
  },
})

export default config
