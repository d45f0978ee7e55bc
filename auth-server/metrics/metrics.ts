import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { AuditMeter } from '../audit/recorder.ts'
import { TREATMENTS, type EventCounter, type EventName } from '../events.ts'
import type { RouteClass } from './routes.ts'

/** Counts what happens, for Prometheus. No label holds an id, or anything that a stranger chooses. */
export interface Metrics extends EventCounter {
  readonly audit: AuditMeter
  /** Call it when a request arrives, and what it answers when the request is over. */
  startRequest(route: RouteClass): (status: RequestStatus) => void
  /** What is answered to Prometheus. */
  render(): Promise<{ readonly type: string; readonly text: string }>
}

/** `aborted`: whoever asked went away, or was too slow. */
export type RequestStatus = '1xx' | '2xx' | '3xx' | '4xx' | '5xx' | 'aborted'

const SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15]

/** Of the process, not of a server in it; collecting never ends. So it is begun once, by the import. */
const processRegistry = new Registry()
collectDefaultMetrics({ register: processRegistry })

export function createMetrics(): Metrics {
  const registry = new Registry()
  const registers = [registry]
  const names = Object.keys(TREATMENTS) as EventName[]
  const events = new Map(names.map((name) => [name, createEventCounter(name, registry)]))
  const requests = new Histogram({
    name: 'portreeve_http_request_duration_seconds',
    help: 'From the headers of a request to the end of its answer.',
    labelNames: ['route', 'status'],
    buckets: SECONDS,
    registers,
  })
  return {
    count: (name, labels) => events.get(name)?.inc(labels),
    audit: createAuditMeter(registry),
    startRequest(route) {
      const end = requests.startTimer({ route })
      return (status) => void end({ status })
    },
    async render() {
      const texts = await Promise.all([registry.metrics(), processRegistry.metrics()])
      return { type: registry.contentType, text: texts.join('\n') }
    },
  }
}

function createEventCounter(name: EventName, registry: Registry): Counter {
  const { event, labels } = TREATMENTS[name]
  return new Counter({
    name: `portreeve_${event}_total`,
    help: `How often the log has said ${event}.`,
    labelNames: Object.keys(labels),
    registers: [registry],
  })
}

function createAuditMeter(registry: Registry): AuditMeter {
  const registers = [registry]
  const waiting = new Gauge({
    name: 'portreeve_audit_queue_entries',
    help: 'What waits to be written to the audit log.',
    registers,
  })
  const batches = new Histogram({
    name: 'portreeve_audit_batch_entries',
    help: 'How many entries were written to the audit log at once.',
    buckets: [1, 2, 5, 10, 20, 50, 100],
    registers,
  })
  const seconds = new Histogram({
    name: 'portreeve_audit_write_duration_seconds',
    help: 'How long it took to write them.',
    buckets: SECONDS,
    registers,
  })
  const count = (name: string, help: string) =>
    new Counter({ name: `portreeve_audit_${name}_total`, help, registers })
  const failures = count('write_failures', 'How often the audit log could not be written.')
  const lost = count('lost_entries', 'What the audit log lacks because it could not be written.')
  const leftOut = count('left_out_entries', 'Refusals of strangers beyond those it takes a minute.')
  return {
    waiting: (entries) => waiting.set(entries),
    wrote(entries, duration) {
      batches.observe(entries)
      seconds.observe(duration)
    },
    failed: () => failures.inc(),
    lost: (entries) => lost.inc(entries),
    leftOut: () => leftOut.inc(),
  }
}
