// SPDX-License-Identifier: BSD-3-Clause
// plot: lines, stacked areas and heat maps over time, and curves over size; drawn as SVG, the heat as a canvas below it. The
// arrow keys move the same cross-hair that the pointer does.

const niceStep = (span, most) => {
  const raw = span / Math.max(1, most), mag = 10 ** Math.floor(Math.log10(raw)), norm = raw / mag - 1e-9;
  return (norm <= 1 ? 1 : norm <= 2 ? 2 : norm <= 5 ? 5 : 10) * mag;
};

function niceTicks(lo, hi, most, binary) {
  if (!(hi > lo)) {
    return [lo];
  }
  let step = niceStep(hi - lo, most);
  if (binary) {
    const unit = 1024 ** Math.floor(Math.log(Math.max(hi, 1)) / Math.log(1024));
    step = unit * niceStep((hi - lo) / unit, most);
  }
  const out = [];
  for (let v = Math.ceil(lo / step - 1e-9) * step; v <= hi + step * 1e-9; v += step) {
    out.push(Math.abs(v) < step * 1e-9 ? 0 : v);
  }
  return out;
}

const TIME_STEPS = [10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400, 43200, 86400].map(s => s * 1000);

function timeTicks(from, to, most) {
  const step = TIME_STEPS.find(s => (to - from) / s <= most) || 86400000, zone = new Date(to).getTimezoneOffset() * 60000, out = [];
  for (let t = Math.ceil((from - zone) / step) * step + zone; t <= to; t += step) {
    out.push(t);
  }
  return out;
}

const timeText = (ms, fine) => new Date(ms).toLocaleTimeString('en-GB', fine ? {} : {hour: '2-digit', minute: '2-digit'});
const PLOTS = new Set(), LEAST_MS = 60000;

class Plot {
  // options: kind stack|lines|heat|curve, form (values as text), label (for who cannot see it), binary, max
  constructor(host, options) {
    this.host = host;
    this.options = options;
    this.at = null;
    this.tip = el('div', {class: 'tip', hidden: true, 'aria-hidden': 'true'});
    this.canvas = options.kind === 'heat' ? el('canvas', {'aria-hidden': 'true'}) : null;
    this.svg = svg('svg', {'aria-hidden': 'true'});
    host.addEventListener('pointermove', e => this.point(e));
    host.addEventListener('pointerdown', e => this.point(e));
    host.addEventListener('pointerleave', () => this.leave());
    host.addEventListener('blur', () => this.leave());
    host.addEventListener('keydown', e => this.key(e));
    new ResizeObserver(() => this.draw()).observe(host);
    PLOTS.add(this);
  }

  // data: t[] (ms, or sizes for a curve), series [{name, css, values, wash, halo}], top (a value to keep in sight), marks, label;
  // for heat: edges[] (us), rows[step][bucket]. Null: there is nothing yet, and `why` says so.
  set(data, why) {
    this.data = data;
    this.why = why;
    this.draw();
  }

  draw() {
    if (this.host.clientWidth === 0) {
      return; // its panel is not shown
    }
    const d = this.data;
    if (!d) {
      this.host.replaceChildren(nothing(this.why || 'Nothing yet.'));
      this.host.removeAttribute('tabindex');
      this.host.setAttribute('role', 'group');
      this.host.removeAttribute('aria-label');
      return;
    }
    if (this.svg.parentNode !== this.host) {
      this.host.replaceChildren(...[this.canvas, this.svg, this.tip].filter(Boolean));
      this.host.setAttribute('tabindex', '0');
      this.host.setAttribute('role', 'img');
    }
    this.host.setAttribute('aria-label', d.label || '');
    this.frame();
    const parts = [];
    this.axes(parts);
    this[this.options.kind](parts);
    this.marks(parts);
    this.cross(parts);
    this.svg.replaceChildren(...parts);
    this.svg.setAttribute('viewBox', `0 0 ${this.w} ${this.h}`);
    this.tell();
  }

  // ---- where things are ----

  frame() {
    const d = this.data, o = this.options;
    this.w = this.host.clientWidth;
    this.h = this.host.clientHeight;
    this.box = {left: this.w < 420 ? 44 : 52, right: this.w - (o.kind === 'curve' ? 14 : 6), top: 10, bottom: this.h - 24};
    this.x0 = d.t[0];
    this.x1 = d.t[d.t.length - 1];
    if (o.kind !== 'curve') {
      this.x0 = Math.min(this.x0, this.x1 - LEAST_MS); // a young server's first seconds are not all there is
    }
    if (o.kind === 'heat') {
      this.y0 = Math.log(d.edges[0]);
      this.y1 = Math.log(d.edges[d.edges.length - 1]);
      return;
    }
    const values = d.series.flatMap(s => s.values).filter(isNumber);
    let low = o.kind === 'curve' ? Math.min(...values) : 0;
    let high = o.max || Math.max(d.top || 0, ...values, 0);
    if (o.kind === 'curve') { // a quarter of room around what is there, within what can be
      const room = Math.max((high - low) / 4, 0.01);
      low = Math.max(0, low - room);
      high = Math.min(1, high + room);
    }
    this.y0 = low;
    this.y1 = high > low ? high * (o.max || o.kind === 'curve' ? 1 : d.top > 0 ? 1.16 : 1.06) : low + 1;
  }

  x(v) {
    const b = this.box;
    if (this.options.kind === 'curve') {
      return b.left + (b.right - b.left) * Math.log(v / this.x0) / Math.log(this.x1 / this.x0);
    }
    return b.left + (b.right - b.left) * (v - this.x0) / (this.x1 - this.x0);
  }

  y(v) {
    const b = this.box, scaledTo = this.options.kind === 'heat' ? Math.log(Math.max(0.1, v)) : v;
    return b.bottom - (b.bottom - b.top) * Math.min(1, Math.max(0, (scaledTo - this.y0) / (this.y1 - this.y0)));
  }

  axes(parts) {
    const b = this.box, o = this.options, d = this.data;
    const rows = o.kind === 'heat' ? [0.1, 1, 10, 100, 1e3, 1e4, 1e5, 1e6, 1e7].filter(v => Math.log(v) >= this.y0 - 1e-9 && Math.log(v) <= this.y1)
      : niceTicks(this.y0, this.y1, Math.max(2, Math.floor((b.bottom - b.top) / 44)), o.binary);
    for (const v of rows) {
      const y = Math.round(this.y(v)) + 0.5;
      parts.push(svg('line', {class: 'rule', x1: b.left, x2: b.right, y1: y, y2: y}));
      parts.push(svg('text', {x: b.left - 7, y: y + 4, 'text-anchor': 'end', text: o.form(v)}));
    }
    const span = this.x1 - this.x0;
    const columns = o.kind === 'curve' ? d.t : timeTicks(this.x0, this.x1, Math.max(2, Math.floor((b.right - b.left) / 90)));
    let free = -Infinity;
    for (const v of columns) {
      const x = this.x(v), text = o.kind === 'curve' ? as.bytes(v) : timeText(v, span < 300000), half = text.length * 3.3;
      const middle = Math.min(Math.max(x, b.left + half), this.w - half - 1);
      if (middle - half > free + 6) {
        parts.push(svg('text', {x: middle, y: this.h - 6, 'text-anchor': 'middle', text}));
        free = middle + half;
      }
    }
  }

  // ---- the kinds ----

  // Runs of steps that have a value: [first, behind the last].
  runs(values) {
    const out = [];
    values.forEach((v, i) => {
      if (isNumber(v)) {
        if (out.length > 0 && out[out.length - 1][1] === i) {
          out[out.length - 1][1]++;
        } else {
          out.push([i, i + 1]);
        }
      }
    });
    return out;
  }

  way(values, from, to) {
    const points = [];
    for (let i = from; i < to; i++) {
      points.push(this.x(this.data.t[i]).toFixed(1) + ' ' + this.y(values[i]).toFixed(1));
    }
    return points;
  }

  lines(parts) {
    for (const s of this.data.series) {
      for (const [from, to] of this.runs(s.values)) {
        const points = this.way(s.values, from, to), end = this.box.bottom;
        if (s.wash) {
          parts.push(svg('path', {class: 'wash ' + s.css, d: `M${this.x(this.data.t[from])} ${end}L${points.join('L')}L${this.x(this.data.t[to - 1])} ${end}Z`}));
        }
        const d = `M${points.join('L')}${points.length === 1 ? 'h1' : ''}`;
        if (s.halo) {
          parts.push(svg('path', {class: 'line halo', d}));
        }
        parts.push(svg('path', {class: 'line ' + s.css, d}));
      }
    }
  }

  curve(parts) {
    this.lines(parts);
    for (const s of this.data.series) {
      s.values.forEach((v, i) => isNumber(v) && parts.push(svg('circle', {class: s.css, cx: this.x(this.data.t[i]), cy: this.y(v), r: 2.75})));
    }
  }

  stack(parts) {
    const {t, series} = this.data, n = t.length;
    let below = new Array(n).fill(0);
    for (const s of series) {
      const above = s.values.map((v, i) => (isNumber(v) ? below[i] + v : null));
      for (const [from, to] of this.runs(above)) {
        const up = this.way(above, from, to), down = this.way(below, from, to).reverse();
        const wide = to - from > 1 ? '' : 'h2';
        parts.push(svg('path', {class: 'area ' + s.css, d: `M${up.join('L')}${wide}L${down.join('L')}Z`}));
      }
      below = above.map((v, i) => (v === null ? below[i] : v));
    }
  }

  heat(parts) {
    const {rows, edges} = this.data, ratio = window.devicePixelRatio || 1, c = this.canvas, ink = c.getContext('2d'), b = this.box;
    const ramp = getComputedStyle(document.documentElement).getPropertyValue('--heat').trim().split(/\s+/);
    const most = Math.max(1, ...rows.map(r => Math.max(0, ...r))), steps = 48, shades = [];
    for (let i = 0; i <= steps; i++) {
      shades.push(blend(ramp, i / steps));
    }
    c.width = Math.round(this.w * ratio);
    c.height = Math.round(this.h * ratio);
    ink.scale(ratio, ratio);
    const step = rows.length > 1 ? (this.x1 - this.data.t[0]) / (rows.length - 1) : 1000, wide = (b.right - b.left) * step / (this.x1 - this.x0);
    rows.forEach((row, i) => {
      const left = Math.round((this.x(this.data.t[i]) - wide) * ratio) / ratio, right = Math.round(this.x(this.data.t[i]) * ratio) / ratio;
      row.forEach((n, k) => {
        if (n > 0 && k + 1 < edges.length) {
          const top = Math.round(this.y(edges[k + 1]) * ratio) / ratio, end = Math.round(this.y(edges[k]) * ratio) / ratio;
          ink.fillStyle = shades[Math.max(1, Math.round(steps * Math.log1p(n) / Math.log1p(most)))];
          ink.fillRect(Math.max(b.left, left), top, Math.max(1 / ratio, right - Math.max(b.left, left)), Math.max(1 / ratio, end - top));
        }
      });
    });
    this.lines(parts);
  }

  marks(parts) {
    const b = this.box;
    for (const m of this.data.marks || []) {
      if (isNumber(m.x)) {
        const x = Math.round(this.x(m.x)) + 0.5, left = x > (b.left + b.right) / 2;
        parts.push(svg('line', {class: 'mark', x1: x, x2: x, y1: b.top, y2: b.bottom}));
        parts.push(svg('text', {class: 'over', x: x + (left ? -7 : 7), y: b.bottom - 8, 'text-anchor': left ? 'end' : 'start', text: m.text}));
      } else if (m.y <= this.y1) {
        const y = Math.round(this.y(m.y)) + 0.5;
        parts.push(svg('line', {class: 'mark', x1: b.left, x2: b.right, y1: y, y2: y}));
        parts.push(svg('text', {class: 'over', x: b.right - 4, y: y - 5, 'text-anchor': 'end', text: m.text}));
      }
    }
  }

  // ---- the cross-hair ----

  point(e) {
    if (!this.data) {
      return;
    }
    const x = e.clientX - this.host.getBoundingClientRect().left;
    let best = 0;
    this.data.t.forEach((v, i) => {
      best = Math.abs(this.x(v) - x) < Math.abs(this.x(this.data.t[best]) - x) ? i : best;
    });
    this.at = this.data.t[best];
    this.draw();
  }

  leave() {
    if (this.at !== null) {
      this.at = null;
      this.draw();
    }
  }

  key(e) {
    const t = this.data ? this.data.t : [], i = this.index(), big = Math.max(1, Math.round(t.length / 10));
    const to = {ArrowLeft: i < 0 ? t.length - 1 : i - 1, ArrowRight: i < 0 ? 0 : i + 1, PageUp: i - big, PageDown: i + big, Home: 0, End: t.length - 1}[e.key];
    if (e.key === 'Escape') {
      this.leave();
    } else if (to !== undefined && t.length > 0) {
      e.preventDefault();
      this.at = t[Math.min(t.length - 1, Math.max(0, to))];
      this.draw();
      put(byId('said'), this.tip.innerText.replace(/\n+/g, ', '));
    }
  }

  // The step nearest to where the cross-hair was put: it stays with its moment while steps go by.
  index() {
    if (this.at === null || !this.data) {
      return -1;
    }
    let best = 0;
    this.data.t.forEach((v, i) => {
      best = Math.abs(v - this.at) < Math.abs(this.data.t[best] - this.at) ? i : best;
    });
    return best;
  }

  cross(parts) {
    const i = this.index();
    if (i >= 0) {
      const x = Math.round(this.x(this.data.t[i])) + 0.5;
      parts.push(svg('line', {class: 'cross', x1: x, x2: x, y1: this.box.top, y2: this.box.bottom}));
    }
  }

  tell() {
    const i = this.index(), d = this.data;
    this.tip.hidden = i < 0;
    if (i < 0) {
      return;
    }
    const curve = this.options.kind === 'curve';
    const rows = (curve ? d.series : [...d.series].reverse()).map(s => el('div', null, el('i', {class: 'swatch ' + s.css}), el('span', {text: s.name}),
      el('span', {text: this.options.form(s.values[i])})));
    this.tip.replaceChildren(el('b', {text: curve ? as.bytes(d.t[i]) : timeText(d.t[i], true)}), ...rows);
    const x = this.x(d.t[i]), wide = this.tip.offsetWidth;
    this.tip.style.left = Math.max(0, x + 12 + wide > this.w ? x - wide - 12 : x + 12) + 'px';
    this.tip.style.top = '8px';
  }
}

// A colour between those of the ramp, at 0 to 1.
function blend(ramp, at) {
  const place = at * (ramp.length - 1), i = Math.min(ramp.length - 2, Math.floor(place)), rest = place - i;
  const part = (hex, k) => parseInt(hex.slice(1 + 2 * k, 3 + 2 * k), 16);
  return 'rgb(' + [0, 1, 2].map(k => Math.round(part(ramp[i], k) + (part(ramp[i + 1], k) - part(ramp[i], k)) * rest)).join(' ') + ')';
}

function redrawAll() {
  PLOTS.forEach(p => p.draw());
}

// A line without axes, for a tile.
function drawSpark(host, values, css) {
  const have = values.filter(isNumber), w = 200, h = 30;
  host.setAttribute('viewBox', `0 0 ${w} ${h}`);
  host.setAttribute('preserveAspectRatio', 'none');
  if (have.length < 2) {
    host.replaceChildren(svg('line', {x1: 0, x2: w, y1: h - 1, y2: h - 1, class: 'rule', 'vector-effect': 'non-scaling-stroke'}));
    return;
  }
  const high = Math.max(...have), low = Math.min(...have, high * 0.8), span = high - low || 1; // what hardly moves is to look so
  const runs = [[]]; // of points; where there is nothing, there is no line
  values.forEach((v, i) => (isNumber(v) ? runs[0].push((w * i / (values.length - 1)).toFixed(1) + ' ' + (high === low ? h / 2 : h - 2 - (h - 4) * (v - low) / span).toFixed(1)) : runs[0].length > 0 && runs.unshift([])));
  const drawn = runs.filter(r => r.length > 0).reverse(), x = point => point.split(' ')[0];
  host.replaceChildren(
    svg('path', {class: css, d: drawn.map(r => `M${x(r[0])} ${h}L${r.join('L')}L${x(r[r.length - 1])} ${h}Z`).join(''), opacity: 0.13}),
    svg('path', {class: 'line ' + css, d: drawn.map(r => 'M' + r.join('L')).join(''), 'vector-effect': 'non-scaling-stroke'}));
}
