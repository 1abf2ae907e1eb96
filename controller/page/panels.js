// The figures beside the map: what is won, the chains, how well the model knows the network.

import { hue } from "./map.js";
import { change, clock, el, judge, ms, percent, watts } from "./words.js";

const RECENT_S = 60;

/** Delay, power, moves and probes as large figures. */
export function tiles(root, model) {
  const { state } = model.reading;
  if (!state) return;
  const lost = state.chains.reduce((sum, chain) => sum + chain.probes.lost, 0);
  const sent = state.chains.reduce((sum, chain) => sum + chain.probes.sent, 0);
  const failed = (state.migrations_by_status.failed ?? 0) + (state.migrations_by_status.rolled_back ?? 0);
  const refused = Object.values(state.refusals).reduce((sum, n) => sum + n, 0);
  const simulated = state.world === "simulated";
  show(root, [
    ["Mean delay", ms(state.delay_ms), versus(state.stay_delay_ms, ms), change(state.stay_delay_ms, state.delay_ms), judge(state.stay_delay_ms, state.delay_ms)],
    ["Power (modelled)", watts(state.power_w), versus(state.stay_power_w, watts), change(state.stay_power_w, state.power_w), judge(state.stay_power_w, state.power_w)],
    ["Moves", String(state.moves), `${refused} refused, ${failed} undone or failed`, "", ""],
    simulated ? ["Model error", percent(error(model)), "of the simulated delay", "", ""] : ["Probes lost", String(lost), `of ${sent} sent`, "", lost ? "loss" : "win"],
  ]);
}

const versus = (never, unit) => `never migrated: ${unit(never)}`;

function show(root, rows) {
  if (root.children.length !== rows.length) root.replaceChildren(...rows.map(() => el("div", "tile", el("span", "tile-label"), el("span", "tile-value"), el("span", "tile-note"), el("b", "tile-change"))));
  rows.forEach(([label, value, note, gain, look], i) => {
    const tile = root.children[i];
    tile.className = `tile ${look}`;
    [label, value, note, gain].forEach((text, k) => write(tile.children[k], text));
  });
}

/** Mean of |modelled - measured| / measured of the delay over the last minute. */
function error(model) {
  const last = model.rows.at(-1)?.[0] ?? 0;
  const [measured, modelled] = ["delay_ms", "expected_delay_ms"].map((name) => model.columns.indexOf(name));
  const rows = model.rows.filter((row) => row[0] > last - RECENT_S && row[measured] && row[modelled]);
  return rows.reduce((sum, row) => sum + Math.abs(row[modelled] - row[measured]) / row[measured], 0) / rows.length;
}

/** How far what the twin expects is from what is measured. */
export function twinError(root, model) {
  const { state } = model.reading;
  if (!state) return;
  write(root, `Twin’s error: cost model ${percent(error(model))} off the measured delay (last minute) · ${foretold(state.twin)}`);
}

/** The running error of a learned twin, one period ahead, beside that of foretelling no change. */
function foretold(twin) {
  if (!twin?.learned) return "nothing learned: foretells no change";
  const name = twin.name.split("/").at(-1);
  const heads = Object.entries(twin.error_ratio).filter(([, ratio]) => Number.isFinite(ratio));
  if (!heads.length) return `twin ${name}: not judged yet`;
  const said = heads.map(([head, ratio]) => `${head.replaceAll("_", " ")} ${percent(ratio)}`).join(", ");
  const shares = Object.values(twin.share);
  const heard = shares.reduce((sum, share) => sum + share, 0) / shares.length;
  return `twin ${name}: ${percent(heard)} of the forecast is its; one period ahead, where foretelling no change is 100 %: ${said}`;
}

/** A row for every chain: where it runs, its traffic, its delay against what it may have. */
export class ChainTable {
  constructor(root, model, { chosen, pointed }) {
    Object.assign(this, { root, model, chosen, pointed, rows: new Map() });
  }

  /** Rows are made once per topology. */
  arrange() {
    this.rows.clear();
    this.root.replaceChildren(...this.model.topology.chains.map((chain, i) => this.#row(chain, i)));
  }

  #row(chain, i) {
    const vnfs = chain.vnfs.map((vnf) => {
      const button = el("button", "vnf", vnf.type, el("small"));
      button.addEventListener("click", () => this.chosen({ vnf: vnf.id }));
      button.setAttribute("data-vnf", vnf.id);
      return button;
    });
    const cells = ["offered", "delay", "stay", "loss"].map((name) => el("td", name));
    const meter = el("span", "meter", el("i"));
    cells[1].append(el("span", "number"), meter);
    const row = el("tr", "", el("th", "", el("i", "swatch"), chain.id), el("td", "vnfs", ...vnfs), ...cells);
    row.style.setProperty("--hue", hue(i));
    row.addEventListener("pointerenter", () => this.pointed(chain.id));
    row.addEventListener("pointerleave", () => this.pointed(""));
    row.addEventListener("focusin", () => this.pointed(chain.id));
    row.addEventListener("focusout", () => this.pointed(""));
    this.rows.set(chain.id, { row, vnfs, cells, number: cells[1].firstChild, meter: meter.firstChild, most: chain.max_delay_ms });
    return row;
  }

  update() {
    for (const chain of this.model.reading.state?.chains ?? []) {
      const shown = this.rows.get(chain.id);
      chain.vnfs.forEach((vnf, i) => write(shown.vnfs[i].lastChild, this.model.host(vnf)));
      shown.row.classList.toggle("changing", chain.changing);
      write(shown.cells[0], chain.offered_mbps.toFixed(2));
      write(shown.number, ms(chain.delay_ms));
      shown.meter.style.width = percent(Math.min(1, (chain.delay_ms ?? 0) / shown.most)).replace(" ", "");
      shown.meter.className = (chain.delay_ms ?? 0) > shown.most ? "over" : "";
      shown.meter.parentNode.title = `at most ${ms(shown.most)}`;
      write(shown.cells[2], ms(chain.stay_delay_ms));
      write(shown.cells[3], percent(chain.loss));
    }
  }
}

function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** What runs here and how the connection is. */
export function headline(model, connected) {
  const { state } = model.reading;
  const text = (id, value) => write(document.getElementById(id), value);
  text("scenario", model.topology.name);
  text("world", state.world === "simulated" ? "simulated" : "live");
  text("policy", `policy ${state.policy}`);
  text("uptime", clock(state.uptime_s));
  text("waiting", state.waiting_for ? `waiting for ${state.waiting_for}` : "");
  document.getElementById("connection").className = connected ? "open" : "lost";
  text("connection", connected ? "connected" : "connection lost, trying again");
}
