// Curves of delay and power beside what they would have been had nothing ever moved. Drawn by uPlot (vendor/).

/* global uPlot */

const SHOWN_S = 300;

const LINES = [
  // column, what it is, colour, dashes
  { suffix: "", label: "now", colour: "--accent", width: 2, fill: true },
  { prefix: "stay_", label: "never migrated", colour: "--muted", width: 1.5, dash: [6, 4] },
  { prefix: "advised_", label: "had every proposal been accepted", colour: "--good", width: 1.5, dash: [2, 3] },
];

export class Curve {
  /** `quantity` is "delay_ms" or "power_w"; `unit` stands at the newest values. */
  constructor(root, quantity, unit) {
    Object.assign(this, { root, quantity, unit, plot: null });
    this.columns = LINES.map((line) => (line.prefix ?? "") + quantity);
    new ResizeObserver(() => this.plot?.setSize(this.#size())).observe(root);
  }

  update(model) {
    if (!model.rows.length) return;
    const last = model.rows.at(-1)[0];
    const from = model.rows.findIndex((row) => row[0] > last - SHOWN_S);
    const rows = model.rows.slice(from);
    const data = ["run_s", ...this.columns].map((name) => rows.map((row) => row[model.columns.indexOf(name)]));
    if (!this.plot) this.plot = new uPlot(this.#options(), data, this.root);
    else this.plot.setData(data);
  }

  /** Colours are read anew: the theme has changed. */
  restyle(model) {
    this.plot?.destroy();
    this.plot = null;
    this.update(model);
  }

  #size() {
    return { width: Math.max(120, this.root.clientWidth), height: Math.max(80, this.root.clientHeight) };
  }

  #options() {
    const colour = (name) => resolved(this.root, name);
    const axis = {
      stroke: colour("--muted"),
      font: "11px system-ui, sans-serif",
      grid: { stroke: colour("--grid"), width: 1 },
      ticks: { show: false },
    };
    return {
      ...this.#size(),
      padding: [8, 6, 0, 0],
      legend: { show: false },
      cursor: { y: false, points: { size: 6 } },
      scales: { x: { time: false }, y: { range: (_, low, high) => spread(low, high) } },
      series: [
        {},
        ...LINES.map((line, i) => ({
          label: line.label,
          stroke: colour(line.colour),
          width: line.width,
          dash: line.dash,
          fill: line.fill ? colour("--accent-soft") : undefined,
          points: { show: false },
          spanGaps: i === 0,
        })),
      ],
      axes: [
        { ...axis, size: 22, space: 70, values: (_, ticks) => ticks.map((t) => `${Math.floor(t / 60)}:${String(Math.floor(t % 60)).padStart(2, "0")}`) },
        { ...axis, size: 44, space: 28 },
      ],
      hooks: { setCursor: [(plot) => this.#say(plot)] },
    };
  }

  /** The values under the cursor, in words. */
  #say(plot) {
    const { idx } = plot.cursor;
    const at = plot.cursor.left >= 0 && idx !== null ? idx : plot.data[0].length - 1;
    const values = LINES.map((line, i) => [line.label, plot.data[i + 1][at]]).filter(([, value]) => value !== null && value !== undefined);
    this.root.title = values.map(([label, value]) => `${label}: ${value.toFixed(1)} ${this.unit}`).join("\n");
  }
}

/** A colour of the style sheet as it is in the present theme. */
function resolved(root, name) {
  root.style.color = `var(${name})`;
  const colour = getComputedStyle(root).color;
  root.style.color = "";
  return colour;
}

/** From zero, so that a gain looks as large as it is. */
function spread(low, high) {
  return [0, high === null || high <= 0 ? 1 : high * 1.12];
}
