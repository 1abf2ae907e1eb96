// What was decided and done, the newest first, with the reason of each; what was predicted beside what came of it.

import { change, clock, el, isRefusal, joules, judge, ms, pair, reasonWords, stepWords, watts } from "./words.js";

const SHOWN = 60;
const ICONS = { done: "✓", running: "▸", pending: "▸", rolled_back: "↶", failed: "!", refused: "✕", stay: "=", open: "?", dismissed: "–", withdrawn: "–", accepted: "✓" };

export class Timeline {
  constructor(root, model) {
    Object.assign(this, { root, model, nodes: new Map() });
  }

  update() {
    const entries = this.#entries().slice(0, SHOWN);
    const seen = new Set();
    entries.forEach((entry, i) => {
      seen.add(entry.key);
      const mark = JSON.stringify(entry);
      let shown = this.nodes.get(entry.key);
      if (shown?.mark !== mark) {
        const node = draw(entry);
        shown?.node.replaceWith(node);
        shown = { node, mark };
        this.nodes.set(entry.key, shown);
      }
      if (this.root.children[i] !== shown.node) this.root.insertBefore(shown.node, this.root.children[i] ?? null);
    });
    for (const [key, shown] of this.nodes) {
      if (!seen.has(key)) {
        shown.node.remove();
        this.nodes.delete(key);
      }
    }
  }

  /** Moves, refusals, proposals, and runs of decisions to stay. */
  #entries() {
    const entries = [...this.model.migrations.values()].slice(-SHOWN).map((move) => this.#move(move));
    entries.push(...this.model.proposals.slice(-SHOWN).map(proposal));
    let run = null; // decisions with one outcome and one reason, one after another
    for (const decision of this.model.decisions.values()) {
      if (decision.migration || (decision.decision === "move" && decision.allowed)) {
        run = null;
        continue;
      }
      const same = run && run.reason === decision.reason && run.vnf === decision.vnf && run.target === decision.target;
      if (same) {
        run.times += 1;
        run.until_s = decision.run_s;
      } else {
        run = notMoved(decision);
        entries.push(run);
      }
    }
    return entries.sort((a, b) => b.at_s - a.at_s || (a.key < b.key ? 1 : -1));
  }

  #move(move) {
    const { predicted, observed } = move;
    const entry = {
      key: move.id, at_s: move.run_s, status: move.status, title: `${move.vnf}  ${move.source} → ${move.target}`,
      reason: move.error || reasonWords(move.reason), mode: move.mode, took_ms: move.ended_s === null ? null : move.took_ms,
      steps: move.steps.filter((s) => !s.undone).map((s) => [s.name, s.took_ms]),
      lost: move.probes_lost, silence_ms: move.silence_ms,
    };
    if (predicted) {
      entry.predicted = [predicted.delay_now_ms, predicted.delay_after_ms, predicted.power_now_w, predicted.power_after_w];
    }
    if (observed) entry.observed = [observed.delay_before_ms, observed.delay_after_ms, observed.power_before_w, observed.power_after_w];
    return entry;
  }
}

function notMoved(decision) {
  const refused = decision.decision === "move";
  const entry = {
    key: `d${decision.id}`, at_s: decision.run_s, until_s: decision.run_s, times: 1, status: refused ? "refused" : "stay",
    vnf: decision.vnf, target: decision.target, reason: decision.reason,
    title: refused ? `${decision.vnf} → ${decision.target} refused` : "stay",
  };
  const p = decision.prediction;
  if (p) entry.predicted = [p.delay_now_ms, p.delay_after_ms, p.power_now_w, p.power_after_w];
  return entry;
}

function proposal(p) {
  const { prediction: g } = p;
  return {
    key: p.id, at_s: p.run_s + 0.001, status: p.status, title: `proposed: ${p.vnf}  ${p.source} → ${p.target}`,
    reason: reasonWords(p.reason), predicted: [g.delay_now_ms, g.delay_after_ms, g.power_now_w, g.power_after_w],
    missed: p.status === "open" ? null : [p.missed_ms_s, p.missed_j, (p.ended_s ?? p.proposed_s) - p.proposed_s],
  };
}

function draw(entry) {
  const item = el("li", `entry ${entry.status}`);
  const head = el("div", "entry-head", el("span", "entry-time", clock(entry.at_s)), el("span", "entry-title", entry.title));
  if (entry.times > 1) head.append(el("span", "entry-times", `${entry.times}×, until ${clock(entry.until_s)}`));
  if (entry.took_ms) head.append(el("span", "entry-took", `${(entry.took_ms / 1000).toFixed(2)} s`));
  const icon = el("span", "entry-icon", ICONS[entry.status] ?? "•");
  icon.setAttribute("aria-label", entry.status.replace("_", " "));
  const body = el("div", "entry-body", head, reason(entry));
  if (entry.predicted) body.append(effect("predicted", entry.predicted));
  if (entry.observed) body.append(effect("observed", entry.observed));
  if (entry.missed && entry.status !== "accepted") body.append(missed(entry.missed));
  if (entry.steps?.length) body.append(steps(entry));
  item.append(icon, body);
  return item;
}

function reason(entry) {
  const words = isRefusal(entry.reason) ? `${reasonWords(entry.reason)} (${entry.reason})` : entry.reason;
  const parts = [words];
  if (entry.mode) parts.push(`by ${entry.mode.replace("_", " ")}`);
  if (entry.lost) parts.push(`${entry.lost} ${entry.lost === 1 ? "probe" : "probes"} lost`);
  return el("div", "entry-reason", parts.filter(Boolean).join(" · "));
}

function effect(label, [delayNow, delayAfter, powerNow, powerAfter]) {
  const part = (from, to, unit) => el("span", `effect-part ${judge(from, to)}`, `${pair(from, to, unit)} `, el("b", "", change(from, to)));
  return el("div", "effect", el("span", "effect-label", label), part(delayNow, delayAfter, ms), part(powerNow, powerAfter, watts));
}

function missed([ms_s, j, waited_s]) {
  const mean = waited_s > 0 ? ms_s / waited_s : 0;
  return el("div", "missed", `waiting ${waited_s.toFixed(0)} s cost ${ms(mean)} and ${joules(j)} (predicted)`);
}

/** A bar of a move's steps, each as wide as it took. */
function steps(entry) {
  const bar = el("div", "steps");
  const total = entry.steps.reduce((sum, [, took]) => sum + took, 0) || 1;
  entry.steps.forEach(([name, took]) => {
    const part = el("span", `step step-${name}`);
    part.style.flexGrow = Math.max(took / total, 0.004);
    part.title = `${stepWords(name)}: ${took.toFixed(1)} ms`;
    bar.append(part);
  });
  const long = entry.steps.filter(([, took]) => took / total > 0.15).map(([name, took]) => `${stepWords(name)} ${took.toFixed(0)} ms`);
  bar.setAttribute("role", "img");
  bar.setAttribute("aria-label", entry.steps.map(([name, took]) => `${stepWords(name)} ${took.toFixed(0)} ms`).join(", "));
  return el("div", "steps-row", bar, el("span", "steps-text", long.join(", ")));
}
