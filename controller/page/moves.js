// Moves under way, drawn step by step: the new instance appears, state flows over, the way swaps, the old one goes.

import { stepWords } from "./words.js";
import { svg } from "./map.js";

const CARRYING = new Set(["CopyState", "TakeOver", "Checkpoint", "Restore"]);
const SHOWN_AFTER_MS = 2500;

export class Moves {
  constructor(layer, map) {
    Object.assign(this, { layer, map, drawn: new Map(), ended: new Map() });
  }

  /** The map was drawn anew. */
  reset() {
    for (const timer of this.ended.values()) clearTimeout(timer);
    this.drawn.clear();
    this.ended.clear();
  }

  update() {
    const now = new Map(this.map.model.underWay.map((move) => [move.id, move]));
    for (const [id, shown] of this.drawn) {
      if (now.has(id) || this.ended.has(id)) continue;
      shown.classList.add("done");
      this.ended.set(id, setTimeout(() => this.#forget(id), SHOWN_AFTER_MS));
    }
    for (const move of now.values()) this.#draw(move);
  }

  #forget(id) {
    this.drawn.get(id)?.remove();
    this.drawn.delete(id);
    this.ended.delete(id);
  }

  #draw(move) {
    const step = move.steps.at(-1)?.name ?? "StartVnf";
    let group = this.drawn.get(move.id);
    if (!group) {
      group = svg("g", { class: "move" }, svg("path", { class: "arc" }), svg("g", { class: "ghosts" }), svg("g", { class: "tag" }));
      group.style.setProperty("--hue", this.map.hues.get(this.map.vnfs.get(move.vnf).chain));
      this.drawn.set(move.id, group);
      this.layer.append(group);
      this.#place(group, move);
    }
    group.classList.toggle("carrying", CARRYING.has(step));
    group.querySelector(".tag text").textContent = `${move.vnf} · ${stepWords(step)}`;
  }

  #place(group, move) {
    const [from, to] = [this.map.chipAt(move.vnf, move.source), this.map.chipAt(move.vnf, move.target)];
    group.querySelector(".arc").setAttribute("d", arc(from, to));
    const ghost = this.map.chip(move.vnf, to, "ghost");
    group.querySelector(".ghosts").append(ghost);
    const middle = bow(from, to);
    const tag = group.querySelector(".tag");
    const label = svg("text", { y: 4 });
    const width = 22 + 6.6 * (move.vnf.length + 14);
    tag.append(svg("rect", { x: -width / 2, y: -12, width, height: 24, rx: 12 }), label);
    const x = Math.max(width / 2 + 4, Math.min(this.map.bounds[0] - width / 2 - 4, middle[0]));
    tag.setAttribute("transform", `translate(${x} ${Math.max(16, middle[1])})`);
  }

  /** An arrow for the move that a person thinks of. */
  preview(vnf, server) {
    this.layer.querySelector(".preview")?.remove();
    if (!vnf || !server || this.map.model.host(vnf) === server) return;
    const path = svg("path", { class: "preview", d: arc(this.map.chipAt(vnf), this.map.chipAt(vnf, server)) });
    path.style.setProperty("--hue", this.map.hues.get(this.map.vnfs.get(vnf).chain));
    this.layer.append(path);
  }
}

/** The top of the bow from one point to another. */
function bow(from, to) {
  const [dx, dy] = [to[0] - from[0], to[1] - from[1]];
  const side = dx >= 0 ? 1 : -1;
  return [(from[0] + to[0]) / 2 + side * 0.16 * dy, (from[1] + to[1]) / 2 - side * 0.16 * dx];
}

function arc(from, to) {
  const [mx, my] = bow(from, to);
  const control = [2 * mx - (from[0] + to[0]) / 2, 2 * my - (from[1] + to[1]) / 2];
  return `M${from.join(" ")} Q${control.join(" ")} ${to.join(" ")}`;
}
