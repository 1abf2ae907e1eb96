// Everything the page knows, as the controller told it: a snapshot first, then what is new.

const ROWS_KEPT = 1800;
const LISTED = 400;
const FINAL = new Set(["done", "rolled_back", "failed"]);
const SWAPPED = ["SwapEntry", "Restore"]; // from here on new packets meet the new instance

export class Model {
  constructor() {
    this.topology = null;
    this.reading = { state: null, servers: [], links: [], endpoints: {} };
    this.columns = [];
    this.rows = [];
    this.decisions = new Map();
    this.migrations = new Map();
    this.proposals = [];
    this.#forget();
  }

  /** Takes one event in. Events may come twice: all but readings are known by their ids. */
  take(kind, body) {
    const takes = {
      snapshot: () => this.#begin(body),
      reading: () => this.#read(body),
      decision: () => keep(this.decisions, body),
      migration: () => keep(this.migrations, body),
      proposals: () => (this.proposals = body),
    };
    takes[kind]?.();
    this.#forget();
  }

  /** What is derived from events is derived anew when it is next asked for, once for all who ask. */
  #forget() {
    Object.assign(this, { open: null, hosts: null, byServer: null });
  }

  #begin(body) {
    const same = JSON.stringify(body.topology) === JSON.stringify(this.topology); // after a gap: what is drawn may stay
    Object.assign(this, { topology: same ? this.topology : body.topology, columns: body.columns, rows: body.history, reading: body.reading });
    this.decisions = new Map(body.decisions.map((d) => [d.id, d]));
    this.migrations = new Map(body.migrations.map((m) => [m.id, m]));
    this.proposals = body.proposals;
  }

  #read(body) {
    this.reading = body;
    if (!body.row) return;
    this.rows.push(body.row);
    if (this.rows.length > ROWS_KEPT) this.rows.shift();
  }

  /** Migrations that have not come to their end. */
  get underWay() {
    return (this.open ??= [...this.migrations.values()].filter((m) => !FINAL.has(m.status)));
  }

  get openProposal() {
    return this.proposals.findLast((p) => p.status === "open") ?? null;
  }

  /** Where a VNF's packets go now: a move changes that before the next reading says so. */
  host(vnf) {
    this.hosts ??= { ...this.reading.state?.placement, ...Object.fromEntries(this.underWay.filter(hasSwapped).map((m) => [m.vnf, m.target])) };
    return this.hosts[vnf];
  }

  /** VNFs by the server that their packets go to. */
  get hosted() {
    const vnfs = () => this.topology.chains.flatMap((chain) => chain.vnfs.map((vnf) => vnf.id));
    return (this.byServer ??= Map.groupBy(vnfs(), (vnf) => this.host(vnf)));
  }

  column(name) {
    const index = this.columns.indexOf(name);
    return this.rows.map((row) => row[index]);
  }
}

function keep(map, body) {
  map.set(body.id, body);
  if (map.size > LISTED) map.delete(map.keys().next().value);
}

const hasSwapped = (m) => m.steps.some((s, i) => SWAPPED.includes(s.name) && !s.undone && i < m.steps.length - 1);
