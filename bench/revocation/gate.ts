import { startProgram } from '../../test/support/program.ts'

/** How the way to the issuer is cut: connections break, or stay open and bring nothing any more. */
export type Cut = 'broken' | 'silent'

/** What the gate is told. */
export type GateOrder =
  | { readonly order: 'lead'; readonly ports: readonly number[] }
  | { readonly order: 'cut'; readonly how: Cut }
  | { readonly order: 'restore' }

/** The one address of several instances, as a balancer of TCP connections has it. */
export interface Gate extends AsyncDisposable {
  readonly port: number
  /** The ports behind it, which have connections in turn. */
  lead(ports: readonly number[]): Promise<void>
  cut(how: Cut): Promise<void>
  restore(): Promise<void>
}

/** What the other side reads. */
export interface GateAddress {
  readonly port: number
  readonly control: number
}

export async function startGate(): Promise<Gate> {
  const program = startProgram('bench/revocation/gate-process.ts', [])
  const line = await program.firstLine
  if (line === undefined) throw new Error(`the gate did not start: ${program.logged()}`)
  const { port, control } = JSON.parse(line) as GateAddress
  const tell = async (order: GateOrder) => {
    const body = JSON.stringify(order)
    const answer = await fetch(`http://127.0.0.1:${control}/`, { method: 'POST', body })
    if (!answer.ok) throw new Error(`the gate answered ${answer.status}`)
  }
  return {
    port,
    lead: (ports) => tell({ order: 'lead', ports }),
    cut: (how) => tell({ order: 'cut', how }),
    restore: () => tell({ order: 'restore' }),
    [Symbol.asyncDispose]: () => program[Symbol.asyncDispose](),
  }
}
