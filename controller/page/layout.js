// Where things are on the map: computed once from the topology alone, so that it never jumps.
//
// Switches: stress minimisation by stochastic gradient descent (Zheng, Pawar, Goodman, "Graph Drawing by Stochastic
// Gradient Descent", 2018): pairs are pulled to their distance in hops. Servers and endpoints: each to the freest place
// around its switch.

const EPOCHS = 30;
const MOST_PAIRS = 400_000;

/** Positions of the switches in [0, 1] x [0, 1], the longer extent along x. */
export function placeSwitches(switches, links) {
  const n = switches.length;
  const index = new Map(switches.map((s, i) => [s.id, i]));
  const near = switches.map(() => []);
  for (const link of links) {
    const [a, b] = [index.get(link.a), index.get(link.b)];
    near[a].push(b);
    near[b].push(a);
  }
  const random = generator(7);
  const points = switches.map((_, i) => [Math.cos((2 * Math.PI * i) / n) + 0.1 * random(), Math.sin((2 * Math.PI * i) / n)]);
  relax(points, allPairs(near, random), random);
  return normalised(turned(points));
}

/** [i, j, hops] of all pairs, or of as many as can be afforded. */
function allPairs(near, random) {
  const n = near.length;
  const share = Math.min(1, MOST_PAIRS / Math.max(1, (n * n) / 2));
  const pairs = [];
  for (let i = 0; i < n; i += 1) {
    const hops = distances(near, i);
    for (let j = 0; j < i; j += 1) {
      const far = hops[j] < 0 ? Math.ceil(Math.sqrt(n)) : hops[j]; // another island of the network
      if (far === 1 || share === 1 || random() < share) pairs.push([i, j, far]);
    }
  }
  return pairs;
}

function distances(near, start) {
  const hops = new Int32Array(near.length).fill(-1);
  const queue = [start];
  hops[start] = 0;
  for (let head = 0; head < queue.length; head += 1) {
    for (const next of near[queue[head]]) {
      if (hops[next] < 0) {
        hops[next] = hops[queue[head]] + 1;
        queue.push(next);
      }
    }
  }
  return hops;
}

function relax(points, pairs, random) {
  const longest = pairs.reduce((most, pair) => Math.max(most, pair[2]), 1);
  const [first, last] = [longest * longest, 0.05];
  for (let epoch = 0; epoch < EPOCHS; epoch += 1) {
    const rate = first * (last / first) ** (epoch / (EPOCHS - 1));
    shuffle(pairs, random);
    for (const [i, j, hops] of pairs) {
      const [p, q] = [points[i], points[j]];
      const [dx, dy] = [p[0] - q[0], p[1] - q[1]];
      const apart = Math.hypot(dx, dy) || 1e-9;
      const pull = (Math.min(1, rate / (hops * hops)) * (apart - hops)) / 2 / apart;
      p[0] -= pull * dx;
      p[1] -= pull * dy;
      q[0] += pull * dx;
      q[1] += pull * dy;
    }
  }
}

/** Turned so that the longest extent (the first principal axis) lies along x. */
function turned(points) {
  const n = points.length;
  const [mx, my] = [0, 1].map((k) => points.reduce((sum, p) => sum + p[k], 0) / n);
  let [xx, xy, yy] = [0, 0, 0];
  for (const [x, y] of points) {
    xx += (x - mx) ** 2;
    xy += (x - mx) * (y - my);
    yy += (y - my) ** 2;
  }
  const angle = -Math.atan2(2 * xy, xx - yy) / 2;
  const [c, s] = [Math.cos(angle), Math.sin(angle)];
  return points.map(([x, y]) => [c * (x - mx) - s * (y - my), s * (x - mx) + c * (y - my)]);
}

function normalised(points) {
  const spans = [0, 1].map((k) => {
    const values = points.map((p) => p[k]);
    return [Math.min(...values), Math.max(...values)];
  });
  const scaled = (value, [low, high]) => (high - low < 1e-6 ? 0.5 : (value - low) / (high - low));
  return points.map((p) => [scaled(p[0], spans[0]), scaled(p[1], spans[1])]);
}

/**
 * The freest centre for a box [width, height] around `hub`: the candidate that overlaps least what is there.
 * `boxes` are {x, y, w, h} (centres), `lines` the other ends of the hub's links, `bounds` [width, height] of the map.
 */
export function placeAround(hub, size, boxes, lines, bounds) {
  let best = null;
  for (const stretch of [1, 1.35, 1.8, 2.4]) {
    for (let k = 0; k < 32; k += 1) {
      const angle = (2 * Math.PI * (k + 0.5)) / 32;
      const reach = [24 + size[0] / 2, 22 + size[1] / 2];
      const box = { x: hub[0] + stretch * reach[0] * Math.cos(angle), y: hub[1] + stretch * reach[1] * Math.sin(angle) };
      Object.assign(box, { w: size[0], h: size[1] });
      const price = cost(box, hub, boxes, lines, bounds) + 6 * stretch;
      if (!best || price < best.price - 1e-9) best = { ...box, price };
    }
  }
  return best;
}

function cost(box, hub, boxes, lines, bounds) {
  const dx = Math.max(0, box.w / 2 + 4 - box.x, box.x + box.w / 2 + 4 - bounds[0]);
  const dy = Math.max(0, box.h / 2 + 4 - box.y, box.y + box.h / 2 + 4 - bounds[1]);
  let price = 40 * (dx + dy);
  for (const other of boxes) {
    const ox = (box.w + other.w) / 2 + 10 - Math.abs(box.x - other.x);
    const oy = (box.h + other.h) / 2 + 8 - Math.abs(box.y - other.y);
    if (ox > 0 && oy > 0) price += 4 * Math.min(ox, oy) + 20;
  }
  for (const end of lines) {
    const off = distanceToLine(box, hub, end);
    const clear = (box.w + box.h) / 4 + 8;
    if (off < clear) price += 1.5 * (clear - off);
  }
  return price;
}

function distanceToLine(point, a, b) {
  const [vx, vy] = [b[0] - a[0], b[1] - a[1]];
  const along = ((point.x - a[0]) * vx + (point.y - a[1]) * vy) / (vx * vx + vy * vy || 1);
  const t = Math.max(0, Math.min(1, along));
  return Math.hypot(point.x - a[0] - t * vx, point.y - a[1] - t * vy);
}

function shuffle(items, random) {
  for (let i = items.length - 1; i > 0; i -= 1) {
    const j = Math.floor(random() * (i + 1));
    [items[i], items[j]] = [items[j], items[i]];
  }
}

/** The same numbers in [0, 1) every time (mulberry32). */
function generator(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
