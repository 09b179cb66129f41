// SPDX-License-Identifier: BSD-3-Clause
// page: asks /api/stats once a second while it is looked at, and shows what comes.

const POLL_MS = 1000, RETRY_MS = 2000, TIMEOUT_MS = 8000, LONG_MS = 10000, ROWS = 25;
const TIERS = [
  {id: 'l1', css: 'c-l1', name: 'L1 memory', short: 'Memory'}, {id: 'l2', css: 'c-l2', name: 'L2 disk', short: 'Disk'},
  {id: 'l3', css: 'c-l3', name: 'L3 peers', short: 'Peers'}, {id: 'origin', css: 'c-origin', name: 'Origin', short: 'Origin'},
];
const WINDOWS = ['1s', '1m', '15m'];

// Why something left a tier or was not taken, as the server calls it and as people do.
const REASONS = {memory: 'no room', expired: 'expired', flushed: 'flushed or purged', window: 'oldest on disk', oom: 'no room', size: 'too large', ttl: 'about to expire', unread: 'never read',
  admission: 'not seen before', budget: 'write budget spent', thrash: 'would come back at once', queue: 'queue full', breaker: 'failing',
  late: 'waited too long', kind: 'not of a kind kept', changed: 'written', owner: 'owner says no', dropped: 'owner or ring changed'};

// ---- frames: tiles, tabs, cards, tables ----

const tiles = {}, cards = {}, panels = {};

function makeTile(id, title) {
  const big = el('p', {class: 'big', text: NONE}), sub = el('p', {class: 'sub'}), spark = svg('svg', {'aria-hidden': 'true'});
  tiles[id] = {big, sub, spark, node: el('div', {class: 'tile', id: 'tile-' + id}, el('h2', {text: title}), big, sub, spark)};
  byId('glance').append(tiles[id].node);
}

// The last word of `text` may be a unit: it is set smaller.
function fillTile(id, text, sub, values, css, exact) {
  const t = tiles[id], at = text.search(/[^\d.,–\-−]+$/), unit = at > 0 ? text.slice(at) : '';
  if (t.text !== text) {
    t.text = text;
    t.big.replaceChildren(unit ? text.slice(0, at) : text, ...(unit ? [el('small', {text: unit.trim()})] : []));
  }
  t.big.title = exact === undefined ? '' : String(exact);
  put(t.sub, sub);
  t.sub.title = sub;
  drawSpark(t.spark, values || [], css);
}

function makePanel(id, title) {
  const tab = el('button', {type: 'button', role: 'tab', id: 'tab-' + id, 'aria-controls': 'panel-' + id, 'aria-selected': 'false', tabindex: '-1', text: title});
  const panel = el('section', {role: 'tabpanel', id: 'panel-' + id, 'aria-labelledby': 'tab-' + id, hidden: true}, el('div', {class: 'grid'}));
  tab.addEventListener('click', () => choose(id, true));
  panels[id] = {tab, panel, grid: panel.firstChild};
  byId('tabs').append(tab);
  byId('panels').append(panel);
}

function choose(id, byHand) {
  for (const [name, p] of Object.entries(panels)) {
    p.tab.setAttribute('aria-selected', String(name === id));
    p.tab.tabIndex = name === id ? 0 : -1;
    p.panel.hidden = name !== id;
  }
  if (byHand) {
    history.replaceState(null, '', '#' + id);
  }
  panels[id].tab.scrollIntoView({block: 'nearest', inline: 'nearest'});
  redrawAll();
}

byId('tabs').addEventListener('keydown', e => {
  const names = Object.keys(panels), i = names.findIndex(n => panels[n].tab === document.activeElement);
  const to = {ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0, End: names.length - 1}[e.key];
  if (i >= 0 && to !== undefined) {
    e.preventDefault();
    const name = names[(to + names.length) % names.length];
    choose(name, true);
    panels[name].tab.focus();
  }
});

function makeCard(panel, id, title, width, about) {
  const text = el('p', {class: 'about', id: 'about-' + id, hidden: true, text: about});
  const help = el('button', {type: 'button', class: 'help', 'aria-expanded': 'false', 'aria-controls': text.id, 'aria-label': 'What is this: ' + title, title: about, text: '?'});
  help.addEventListener('click', () => {
    text.hidden = !text.hidden;
    help.setAttribute('aria-expanded', String(!text.hidden));
  });
  const legend = el('div', {class: 'legend'}), body = el('div', {id: 'body-' + id});
  const node = el('section', {class: 'card ' + width, id: 'card-' + id, 'aria-labelledby': 'title-' + id},
    el('header', null, el('h2', {id: 'title-' + id, text: title}), help, legend), text, body);
  panels[panel].grid.append(node);
  return (cards[id] = {node, body, legend});
}

function makePlot(panel, id, title, width, about, options, size) {
  const card = makeCard(panel, id, title, width, about), host = el('div', {class: 'plot ' + (size || ''), id: 'plot-' + id});
  card.body.append(host);
  card.plot = new Plot(host, options);
}

function setLegend(card, entries) {
  const key = JSON.stringify(entries);
  if (card.legendKey !== key) {
    card.legendKey = key;
    card.legend.replaceChildren(...entries.map(e => el('span', null, el('i', {class: 'swatch ' + e.css}), e.name)));
  }
}

// A table whose columns sort. columns: [{name, title, css, form(value, row) -> text or node, exact}]
class Table {
  constructor(host, label, columns, empty, sortBy) {
    Object.assign(this, {host, columns, empty, sort: sortBy ? {name: sortBy, down: true} : null});
    this.body = el('tbody');
    this.heads = columns.map(c => {
      const button = c.unsorted ? c.title : el('button', {type: 'button', text: c.title, onclick: () => this.sortBy(c)});
      return el('th', {scope: 'col', class: c.css === 'n' ? 'n' : null}, button);
    });
    this.table = el('table', {'aria-label': label}, el('thead', null, el('tr', null, ...this.heads)), this.body);
    this.scroll = el('div', {class: 'scroll', role: 'region', 'aria-label': label, tabindex: '0'}, this.table);
  }

  sortBy(column) {
    const same = this.sort && this.sort.name === column.name;
    this.sort = {name: column.name, down: same ? !this.sort.down : column.css === 'n'};
    this.draw();
    put(byId('said'), `Sorted by ${column.title}, ${this.sort.down ? 'largest first' : 'smallest first'}`);
  }

  set(rows) {
    this.rows = rows;
    this.draw();
  }

  draw() {
    if (!this.rows || this.rows.length === 0) {
      this.host.replaceChildren(this.empty.cloneNode(true));
      return;
    }
    if (this.scroll.parentNode !== this.host) {
      this.host.replaceChildren(this.scroll);
    }
    let rows = [...this.rows];
    if (this.sort) {
      const {name, down} = this.sort, sign = down ? -1 : 1;
      rows.sort((a, b) => sign * (typeof a[name] === 'string' || typeof b[name] === 'string' ? String(a[name]).localeCompare(String(b[name])) : (a[name] ?? -1) - (b[name] ?? -1)));
    }
    this.columns.forEach((c, i) => {
      const mine = this.sort && this.sort.name === c.name;
      mine ? this.heads[i].setAttribute('aria-sort', this.sort.down ? 'descending' : 'ascending') : this.heads[i].removeAttribute('aria-sort');
    });
    this.body.replaceChildren(...rows.map(row => el('tr', {class: row.off ? 'off' : null}, ...this.columns.map(c => {
      const value = row[c.name], css = [c.css, value === 0 ? 'zero' : null].filter(Boolean).join(' '), made = c.form ? c.form(value, row) : shown(c.name, value);
      return el('td', {class: css || null, title: isNumber(value) ? as.exact(value) : null, 'data-field': c.name, 'data-value': isNumber(value) ? value : null}, made);
    }))));
  }
}

const number = (name, title, form) => ({name, title, css: 'n', form: form && (v => form(v))});

// A table over objects whose members we do not know beforehand.
function looseTable(host, label, given, first, empty) {
  const rows = given.map(flat), names = [...new Set(rows.flatMap(r => Object.keys(r)))], key = names.join();
  if (!host.table || host.key !== key) {
    const columns = names.map(n => ({name: n, title: titled(n), css: rows.some(r => isNumber(r[n])) ? 'n' : n === first ? 'key' : null, form: n === 'state' ? stateOf : null}));
    host.key = key;
    host.table = new Table(host, label, columns, empty, null);
  }
  host.table.set(rows);
}

const FINE = /^(up|alive|closed|ok|self|on|ready)$/i, BAD = /^(down|dead|open|failed|gone)$/i;

// The word says it; the colour only helps.
function stateOf(value) {
  const css = FINE.test(value) ? 'c-good' : BAD.test(value) ? 'c-bad' : 'c-warn';
  return el('span', {class: 'dotted'}, el('i', {class: 'swatch round ' + css}), String(value ?? NONE));
}

function drawBars(host, entries, empty, css) {
  const most = Math.max(0, ...entries.map(e => e.value));
  if (most === 0) {
    host.replaceChildren(nothing(empty));
    return;
  }
  host.replaceChildren(el('dl', {class: 'bars'}, ...entries.filter(e => e.value > 0).sort((a, b) => b.value - a.value).flatMap(e => [
    el('dt', {text: e.name}), el('dd', null, el('div', {class: 'meter ' + (e.css || css), 'aria-hidden': 'true'}, el('i', {'width%': 100 * e.value / most}))),
    el('dd', {class: 'n', text: as.count(e.value), title: as.exact(e.value), 'data-value': e.value})])));
}

function meter(value, limit, css) {
  const share = limit > 0 ? Math.min(100, 100 * value / limit) : 0;
  return el('div', {class: 'meter ' + css, role: 'meter', 'aria-valuemin': '0', 'aria-valuemax': '100', 'aria-valuenow': share.toFixed(1), 'aria-label': as.share(share / 100) + ' used'},
    el('i', {'width%': share}));
}

// ---- reading what came ----

const at = (list, i) => (list && isNumber(list[i]) ? list[i] : 0);
const moments = h => h.t || [];
const perSecond = (list, step) => (list || []).map(v => (isNumber(v) ? v / step : null));
const rateOf = w => (w && isNumber(w.hit_rate) && w.hits + w.misses > 0 ? w.hit_rate : null);

// Who answered the reads of each step, as shares of one. A step without reads is a gap.
function answers(h) {
  const n = (h.t || []).length, out = {l1: [], l2: [], l3: [], origin: [], absent: []};
  for (let i = 0; i < n; i++) {
    const l1 = at(h.l1_hits, i), reads = l1 + at(h.l1_misses, i), l2 = at(h.l2_hits, i), l3 = at(h.l3_hits, i);
    const all = Math.max(reads, l1 + l2 + l3), origin = Math.min(at(h.origin_hits, i), all - l1 - l2 - l3);
    const parts = {l1, l2, l3, origin, absent: all - l1 - l2 - l3 - origin};
    for (const k of Object.keys(out)) {
      out[k].push(all > 0 ? parts[k] / all : null);
    }
  }
  return out;
}

// Reads answered by this cache rather than by nobody or an origin, over the last so many steps.
function cacheRate(h, steps) {
  let found = 0, reads = 0;
  for (let n = (h.t || []).length, i = Math.max(0, n - steps); i < n; i++) {
    found += at(h.l1_hits, i) + at(h.l2_hits, i) + at(h.l3_hits, i);
    reads += at(h.l1_hits, i) + at(h.l1_misses, i);
  }
  return reads > 0 ? Math.min(1, found / reads) : null;
}

// Median and 99th percentile of one moment, the last one with commands; null: under a microsecond, or there is none.
function latest(h) {
  const i = (h.p99_us || []).findLastIndex(v => isNumber(v) && v > 0);
  return [at(h.p50_us, i) || null, at(h.p99_us, i) || null];
}

const last = list => (list && list.length > 0 ? list[list.length - 1] : null);
const alarmsOf = d => ((d.health || {}).alarms || []).map(a => (typeof a === 'string' ? {text: a} : {...a, text: a.text || a.message || a.name || shown('', a)}));

// ---- showing it ----

function showGlance(d) {
  const h = d.history || {}, step = h.step_s || 1, minute = Math.round(60 / step), m = d.memory || {}, c = d.clients || {}, tiers = d.tiers || {};
  const rate = cacheRate(h, minute), l1 = tiers.l1 || {};
  const rates = answers(h), hitLine = rates.l1.map((v, i) => (v === null ? null : v + rates.l2[i] + rates.l3[i]));
  fillTile('hits', as.share(rate), rate === null ? 'no reads in the last minute' : 'of reads, last minute', hitLine, 'c-l1', rate);
  fillTile('ops', as.count((d.ops || {}).per_sec) + '/s', as.count((d.ops || {}).total) + ' since start', perSecond(h.ops, step), 'c-l2', (d.ops || {}).total);
  const [p50, p99] = latest(h);
  fillTile('p99', as.us(p99), p99 === null ? 'no commands yet' : p50 === null ? 'median under ' + as.us(1) : 'median ' + as.us(p50), h.p99_us, 'c-origin', p99 === null ? '' : p99 + ' µs');
  const limit = m.maxmemory || (d.server || {}).maxmemory;
  fillTile('memory', as.bytes(m.rss_bytes), limit > 0 ? 'resident, of ' + as.bytes(limit) : 'resident, no limit', h.rss, 'c-l3', m.rss_bytes);
  const below = (tiers.l2 || {}).on ? as.count(tiers.l2.keys) + ' on disk' : 'no disk tier';
  fillTile('keys', as.count(l1.keys), below, h.l1_keys, 'c-l1', l1.keys);
  fillTile('clients', as.count(c.connected), (c.blocked > 0 ? c.blocked + ' waiting, ' : '') + 'of ' + as.count(c.max), h.clients, 'c-absent', c.connected);
}

function showAnswers(d, h, t) {
  const a = answers(h), any = a.l1.some(v => v !== null), tiers = d.tiers || {};
  const series = TIERS.filter(x => x.id === 'l1' || (tiers[x.id] || {}).on || a[x.id].some(v => v > 0))
    .map(x => ({name: x.name, css: x.css, values: a[x.id]})).concat({name: 'Nobody', css: 'c-absent', values: a.absent});
  setLegend(cards.answers, any ? series.map(s => ({name: s.name, css: s.css})) : []);
  const now = series.map(s => s.name + ' ' + as.share(last(s.values.filter(v => v !== null)))).join(', ');
  cards.answers.plot.set(any ? {t, series, label: 'Share of reads answered by each tier over time. Now: ' + now} : null, 'No reads yet. The first GET shows here.');
}

function showOps(d, h, t) {
  const step = h.step_s || 1, ops = perSecond(h.ops, step), any = ops.some(v => v > 0);
  cards.ops.plot.set(any ? {t, series: [{name: 'Operations', css: 'c-l2', values: ops, wash: true}], label: `Operations a second over time. Now ${as.count(last(ops))}` } : null,
    'No commands yet.');
}

// The buckets' bounds: bucket_us is where each ends. The last is open above, and drawn as if it were not.
function edgesOf(h) {
  const ends = h.bucket_us || [];
  return ends.length > 0 ? [ends[0] / 2, ...ends] : [];
}

function showHeat(d, h, t) {
  const rows = h.latency_buckets || [], edges = edgesOf(h), used = rows.flatMap(r => r.map((n, k) => (n > 0 ? k : -1)).filter(k => k >= 0));
  if (used.length === 0 || edges.length < 2) {
    setLegend(cards.heat, []);
    cards.heat.plot.set(null, 'No commands yet: how long they take shows here.');
    return;
  }
  const low = Math.max(0, Math.min(...used) - 1), high = Math.min(edges.length - 1, Math.max(...used) + 2);
  const blank = list => (list || []).map(v => (v > 0 ? v : null));
  const series = [{name: 'p50', css: 'c-ink', values: blank(h.p50_us), halo: true}, {name: 'p99', css: 'c-origin', values: blank(h.p99_us), halo: true}].filter(s => s.values.length === t.length);
  setLegend(cards.heat, [{name: 'few', css: 'c-heat-low'}, {name: 'many commands', css: 'c-heat-high'}, ...series.map(s => ({name: s.name, css: s.css}))]);
  cards.heat.plot.set({t, edges: edges.slice(low, high + 1), rows: rows.map(r => r.slice(low, high)), series,
    label: `How long commands took, over time. Now: half within ${as.us(last(h.p50_us))}, 99 of 100 within ${as.us(last(h.p99_us))}`});
}

function showMemoryPlot(d, h, t) {
  const limit = (d.memory || {}).maxmemory, high = Math.max(0, ...(h.rss || [])), near = limit > 0 && high > limit / 3;
  const series = [{name: 'Resident', css: 'c-l3', values: h.rss || [], wash: true}, {name: 'Keys and values', css: 'c-l1', values: h.l1_bytes || []}];
  setLegend(cards.memory, t.length > 0 ? series.map(s => ({name: s.name, css: s.css})) : []);
  cards.memory.plot.set(t.length > 0 ? {t, series, top: near ? limit : 0, marks: near ? [{y: limit, text: 'maxmemory ' + as.bytes(limit)}] : [],
    label: `Memory over time. Now ${as.bytes(last(h.rss))} resident, ${as.bytes(last(h.l1_bytes))} of keys and values`} : null, 'Nothing measured yet.');
}

function showTiers(d) {
  const tiers = d.tiers || {};
  tables.tiers.set(TIERS.map((x, i) => {
    const t = tiers[x.id] || {}, w = t.windows || {}, l = t.latency_us || {}, asked = (t.hits || 0) + (t.misses || 0);
    return {order: i, id: x.id, tier: x.name, css: x.css, off: !t.on, hits: t.hits, misses: t.misses, rate: asked > 0 ? t.hit_rate : null,
      w0: rateOf(w[WINDOWS[0]]), w1: rateOf(w[WINDOWS[1]]), w2: rateOf(w[WINDOWS[2]]), stale: t.stale, negative: t.negative, fills: t.fills,
      promotions: t.promotions, demotions: t.demotions, keys: t.keys, p50: l.count > 0 ? l.p50 : null, p99: l.count > 0 ? l.p99 : null, p9999: l.count > 0 ? l.p9999 : null};
  }));
}

function showRoom(d) {
  const m = d.memory || {}, tiers = d.tiers || {}, rows = [];
  const row = (name, css, bytes, limit, note) => rows.push(el('div', {class: 'room'}, el('p', null, el('span', {text: name}), el('b', {text: as.bytes(bytes), title: as.exact(bytes) + ' bytes', 'data-value': bytes}),
    el('small', {text: limit > 0 ? 'of ' + as.bytes(limit) : note || ''})), meter(bytes, limit > 0 ? limit : 0, css)));
  const limit = m.maxmemory || 0;
  row('Process, resident', 'c-l3', m.rss_bytes, limit, 'no limit');
  for (const x of TIERS.slice(0, 3)) {
    const t = tiers[x.id] || {};
    if (t.on && isNumber(t.bytes) && (x.id !== 'l3' || t.bytes > 0)) {
      row(x.name, x.css, t.bytes, t.limit_bytes, 'no limit');
    }
  }
  if (isNumber(m.client_bytes)) {
    row('Clients’ buffers', 'c-absent', m.client_bytes, limit);
  }
  cards.room.body.replaceChildren(...rows, el('p', {class: 'told', text: `Peak ${as.bytes(m.peak_rss_bytes)}` + (isNumber(m.fragmentation) ? ` · fragmentation ${m.fragmentation.toFixed(2)}` : '')}));
}

function showLosses(d) {
  const tiers = d.tiers || {}, list = what => TIERS.flatMap(x => Object.entries((tiers[x.id] || {})[what] || {})
    .map(([reason, n]) => ({name: `${x.short}: ${REASONS[reason] || titled(reason).toLowerCase()}`, value: n, css: x.css})));
  drawBars(cards.evictions.body, list('evictions'), 'Nothing has had to leave yet.');
  drawBars(cards.rejects.body, list('rejects'), 'Nothing has been refused yet.');
}

function showLossPlot(d, h, t) {
  const step = h.step_s || 1, values = perSecond(h.evictions, step), any = values.some(v => v > 0);
  cards.leaving.plot.set(any && values.length === t.length ? {t, series: [{name: 'Evictions', css: 'c-l3', values, wash: true}], label: `Evictions a second over time. Now ${as.count(last(values))}`} : null,
    'No evictions in this time.');
}

function showPolicies(d) {
  tables.policies.set((d.policies || []).map((p, i) => {
    const c = p.counters || {}, asked = (c.hits || 0) + (c.misses || 0);
    return {order: i, pattern: p.pattern, options: shown('', p.options), rate: asked > 0 ? p.hit_rate : null, minute: rateOf((p.windows || {})['1m']), asked, counters: c, p50: asked > 0 ? (p.latency_us || {}).p50 : null, p99: asked > 0 ? (p.latency_us || {}).p99 : null};
  }));
}

function chips(counters) {
  const entries = Object.entries(counters).filter(([k, v]) => v !== 0 && v !== null && typeof v !== 'object' && k !== 'hits' && k !== 'misses');
  return entries.length === 0 ? el('span', {text: 'nothing yet'}) : el('div', {class: 'chips'}, ...entries.map(([k, v]) =>
    el('span', {title: isNumber(v) ? as.exact(v) : null}, titled(k).toLowerCase() + ' ', el('b', {text: shown(k, v)}))));
}

function showCurve(card, part, css, name, tier, rough) {
  const points = ((part || {}).points || []).filter(p => isNumber(p.hit_rate) && p.bytes > 0).sort((a, b) => a.bytes - b.bytes);
  const now = (part || {}).size_bytes;
  if (points.length < 2) {
    card.plot.set(null, !tier.on ? `There is no ${name} tier.` : tier.limit_bytes > 0 ? 'Too few reads for an estimate yet.' : `Without a limit nothing leaves ${name} for want of room.`);
    put(card.told, '');
    return;
  }
  const gain = part.gain_per_gb, points100 = isNumber(gain) ? 100 * gain : null;
  card.plot.set({t: points.map(p => p.bytes), series: [{name: 'Hit rate', css, values: points.map(p => p.hit_rate)}], marks: now > 0 ? [{x: Math.min(Math.max(now, points[0].bytes), last(points).bytes), text: 'today ' + as.bytes(now)}] : [],
    label: `Estimated hit rate by size of ${name}: ` + points.map(p => `${as.bytes(p.bytes)} ${as.share(p.hit_rate)}`).join(', ')});
  card.told.replaceChildren(...(points100 === null ? [] : [el('b', {text: `+1${THIN}GB = ${as.points(points100)} points`}), ` of hit rate, by this curve${rough ? ' (rough: few reads so far)' : ''}.`]));
}

function showMrc(d) {
  const m = d.mrc || {}, s = m.shadow || {};
  showCurve(cards.mrc1, m.l1, 'c-l1', 'memory', {on: true, limit_bytes: 1}, m.rough);
  showCurve(cards.mrc2, m.l2, 'c-l2', 'disk', (d.tiers || {}).l2 || {}, m.rough);
  const body = cards.shadow.body;
  if (!s.policy || s.policy === 'none' || !isNumber(s.hit_rate)) {
    body.replaceChildren(nothing('No shadow policy. ', el('code', {text: 'CONFIG SET shadow-policy allkeys-lru'}), ' reports what another would give before you switch.'));
    return;
  }
  const gain = 100 * (s.hit_rate - s.live_hit_rate);
  drawRates(body, [[s.policy, s.hit_rate, 'c-l2'], [((d.server || {}).policy || 'now') + ' (in force)', s.live_hit_rate, 'c-l1']]);
  body.append(el('p', {class: 'told'}, el('b', {text: `${as.points(gain)} points`}), ` of hit rate if ${s.policy} were in force.`));
}

function drawRates(host, rows) {
  host.replaceChildren(el('dl', {class: 'bars'}, ...rows.flatMap(([name, rate, css]) => [el('dt', {text: name}), el('dd', null, el('div', {class: 'meter ' + css, 'aria-hidden': 'true'}, el('i', {'width%': 100 * rate}))), el('dd', {class: 'n', text: as.share(rate)})])));
}

const SEGMENTS = ['c-l1', 'c-l2', 'c-l3', 'c-origin', 'c-absent'];

// Each node's share of the ring.
function drawRing(nodes, version) {
  const share = n => (isNumber(n.share) ? n.share : 1 / nodes.length), all = sum(nodes.map(share)) || 1, parts = [];
  let from = 0;
  nodes.forEach((n, i) => {
    const part = share(n) / all, to = Math.min(from + part, from + 0.99999), point = (a, r) => `${(100 + r * Math.sin(2 * Math.PI * a)).toFixed(2)} ${(100 - r * Math.cos(2 * Math.PI * a)).toFixed(2)}`;
    const big = part > 0.5 ? 1 : 0, gap = nodes.length > 1 ? 0.003 : 0, a = from + gap, b = Math.max(a + 0.0005, to - gap);
    parts.push(svg('path', {class: SEGMENTS[i % SEGMENTS.length], d: `M${point(a, 92)}A92 92 0 ${big} 1 ${point(b, 92)}L${point(b, 66)}A66 66 0 ${big} 0 ${point(a, 66)}Z`, opacity: n.state && n.state !== 'alive' ? 0.4 : 1}));
    from += part;
  });
  return svg('svg', {viewBox: '0 0 200 200', role: 'img', 'aria-label': `Ring of ${nodes.length} nodes: ` + nodes.map(n => `${n.addr || n.id} ${as.share(share(n) / all)}`).join(', ')},
    ...parts, svg('text', {class: 'mid', x: 100, y: 104, text: String(nodes.length)}), svg('text', {x: 100, y: 122, text: nodes.length === 1 ? 'node' : 'nodes'}), ...(version ? [svg('text', {x: 100, y: 138, text: 'version ' + version})] : []));
}

function showPeers(d) {
  const p = d.peers || {}, nodes = p.nodes || [], body = cards.peers.body;
  if (nodes.length === 0) {
    body.replaceChildren(nothing('This server is alone: no peers are configured.'));
    return;
  }
  if (!body.table) {
    body.table = el('div');
  }
  looseTable(body.table, 'Peers', nodes.map(n => ({...n, id: n.id ? String(n.id).slice(0, 8) : n.id})), 'addr', nothing('None.'));
  body.replaceChildren(el('div', {class: 'ring'}, drawRing(nodes, p.version), body.table));
}

const pairList = pairs => el('dl', {class: 'pairs'}, ...pairs.flatMap(([k, v]) => [el('dt', {text: titled(k)}), el('dd', {text: shown(k, v), title: isNumber(v) ? as.exact(v) : null})]));

// A block for the plain members, then one for each group: its pairs, and a table of what has members itself.
function vitals(all) {
  const members = Object.entries(all).filter(([k, v]) => k !== 'alarms' && k !== 'loop_lag_us' && v !== undefined && v !== null), isGroup = v => v !== null && typeof v === 'object';
  const groups = [['Server', Object.fromEntries(members.filter(([, v]) => !isGroup(v)))], ...members.filter(([, v]) => isGroup(v))], blocks = [];
  for (const [name, value] of groups) {
    const list = Array.isArray(value) ? value : Object.entries(value).filter(([, v]) => isGroup(v)).map(([k, v]) => ({name: k, ...v}));
    const simple = Array.isArray(value) ? [] : Object.entries(value).filter(([, v]) => v !== null && !isGroup(v)), block = el('section', null, el('h3', {text: titled(name)}));
    if (simple.length > 0) {
      block.append(pairList(simple));
    }
    if (list.length > 0 && isGroup(list[0])) {
      const host = el('div');
      looseTable(host, titled(name), list, 'name', nothing('None.'));
      block.append(host);
    }
    if (block.childElementCount > 1) {
      blocks.push(block);
    }
  }
  return blocks.length > 0 ? [el('div', {class: 'vitals'}, ...blocks)] : [nothing('Nothing measured yet.')];
}

function showHealth(d) {
  const health = d.health || {}, alarms = alarmsOf(d);
  cards.alarms.body.replaceChildren(...(alarms.length === 0 ? [el('p', {class: 'good-news'}, el('span', {class: 'swatch c-good'}), 'No alarms.')] :
    alarms.map(a => el('p', {class: 'alarm'}, el('b', {text: a.name && a.name !== a.text ? titled(a.name) : 'Alarm'}), el('span', {text: a.text})))));
  drawBarsOf(cards.lag.body, (health.loop_lag_us || []).map(w => ({name: 'Loop ' + w.worker, value: w.max_us || 0})), 'No loop has been late yet.');
  tables.conns.set(health.connections || []);
  const rest = {...health, connections: undefined, net: d.net, fills: d.fills, guards: d.guards, pool: d.pool, locks: d.locks, memory: d.memory};
  cards.vitals.body.replaceChildren(...vitals(rest));
  tables.counters.set(Object.entries(d.counters || {}).map(([name, value]) => ({name, value})));
  panels.health.tab.replaceChildren('Health', ...(alarms.length > 0 ? [el('i', {class: 'dot', 'aria-hidden': 'true'}), el('span', {class: 'unseen', text: `, ${alarms.length} alarms`})] : []));
}

function drawBarsOf(host, entries, empty) {
  drawBars(host, entries, empty, 'c-l2');
  host.querySelectorAll('dd.n').forEach(n => put(n, as.us(Number(n.dataset.value))));
}

function showAlarms(d) {
  const alarms = alarmsOf(d), key = alarms.map(a => a.text).join('\n');
  if (showAlarms.key !== key) {
    showAlarms.key = key;
    byId('alarms').replaceChildren(...alarms.map(a => el('p', {class: 'alarm'}, el('b', {text: a.name && a.name !== a.text ? titled(a.name) : 'Alarm'}), el('span', {text: a.text}))));
  }
}

function showWho(d) {
  const s = d.server || {}, parts = [location.host, s.version ? 'version ' + s.version : null, isNumber(s.uptime_s) ? 'up ' + as.seconds(s.uptime_s) : null,
    s.threads ? s.threads + (s.threads === 1 ? ' thread' : ' threads') : null, s.policy || null].filter(Boolean);
  byId('who').replaceChildren(...parts.map(text => el('span', {text})));
  document.title = 'Strata ' + location.host;
}

// The first of a long list: its tail is noise, and /api/stats has it.
const mostly = (list, by) => [...(list || [])].sort((a, b) => b[by] - a[by]).slice(0, ROWS);

function show(d) {
  const h = (link.range === 'long' && link.long) || d.history || {}, t = moments(h);
  showWho(d);
  showAlarms(d);
  showGlance(d);
  showAnswers(d, h, t);
  showOps(d, h, t);
  showHeat(d, h, t);
  showMemoryPlot(d, h, t);
  showTiers(d);
  showRoom(d);
  showLosses(d);
  showLossPlot(d, h, t);
  tables.commands.set((d.commands || []).filter(c => c.calls + (c.rejected || 0) > 0).map(c => ({...c, each_us: c.calls > 0 ? c.usec / c.calls : null, rate: c.hits + c.misses > 0 ? c.hit_rate : null})));
  tables.hot.set(mostly(d.hot_keys, 'count'));
  tables.big.set(mostly(d.big_keys, 'bytes'));
  showPolicies(d);
  looseTable(cards.origins.body, 'Origins', d.origins || [], 'name', nothing('No origins. A line like ', el('code', {text: 'origin users http://127.0.0.1:9000/users/{key}'}), ' loads absent keys.'));
  showMrc(d);
  showPeers(d);
  showHealth(d);
}

// ---- what there is to see ----

const tables = {};

function build() {
  [['hits', 'Hit rate'], ['ops', 'Operations'], ['p99', 'Latency, p99'], ['memory', 'Memory'], ['keys', 'Keys in memory'], ['clients', 'Clients']].forEach(r => makeTile(...r));
  [['now', 'Now'], ['keys', 'Keys'], ['guards', 'Policies'], ['sizing', 'Sizing'], ['peers', 'Peers'], ['health', 'Health']].forEach(r => makePanel(...r));
  makePlot('now', 'answers', 'Who answered reads', 'w8', 'Of all reads in a moment, the share that each tier answered. What lies below “Nobody” and “Origin” was served from this cache. A gap is a moment without reads.',
    {kind: 'stack', form: as.share, max: 1}, 'tall');
  makePlot('now', 'ops', 'Operations a second', 'w4', 'Commands run, of all kinds and clients together.', {kind: 'lines', form: as.count}, 'tall');
  makePlot('now', 'heat', 'Latency', 'w8', 'How long commands took inside the server. Each column is a moment, each row a range of durations on a logarithmic scale; the stronger the colour, the more commands. The lines are the median and the 99th percentile.',
    {kind: 'heat', form: as.us});
  makePlot('now', 'memory', 'Memory', 'w4', 'Resident is what the system says this process takes; maxmemory bounds it. The lower line is keys and values in memory.', {kind: 'lines', form: as.bytes, binary: true});
  const tiers = makeCard('now', 'tiers', 'Tiers', '', 'Each tier is asked only for what those above it did not have, so its hit rate is of what reached it. Windows are the last second, minute and quarter of an hour.');
  makeCard('now', 'room', 'Memory and disk', 'w4', 'What each tier takes of what it may take.');
  makeCard('now', 'evictions', 'Left, by reason', 'w4', 'Why keys left a tier, since start: no room, expired, and so on.');
  makeCard('now', 'rejects', 'Not admitted, by reason', 'w4', 'Why a value was not taken into a tier, since start.');
  makePlot('now', 'leaving', 'Evictions a second', '', 'Keys that memory had to let go to stay within its limit. With a disk tier most of them stay readable.', {kind: 'lines', form: as.count}, 'low');
  const commands = makeCard('now', 'commands', 'Commands', '', 'Since start. Percentiles are of the time inside the server.');
  const hot = makeCard('keys', 'hot', 'Hot keys', 'w6', 'The keys used most of late, from a sample that is always on: counts are estimates. Share is of all commands.');
  const big = makeCard('keys', 'big', 'Big keys', 'w6', 'The largest values seen on write that are still there.');
  const policies = makeCard('guards', 'policies', 'Policies', '', 'What is done for keys of a pattern, and how often its guards stepped in: loads joined, stale values served, absent keys remembered.');
  makeCard('guards', 'origins', 'Origins', '', 'Where absent keys are loaded from.');
  for (const [id, title, name] of [['mrc1', 'Hit rate by size of memory', 'memory'], ['mrc2', 'Hit rate by size of disk', 'disk']]) {
    makePlot('sizing', id, title, 'w6', `What hit rate other sizes of ${name} would give for the reads of late: a small simulation of the policy in force runs on a sample of the keys.`, {kind: 'curve', form: as.share}, 'tall');
    cards[id].told = el('p', {class: 'told'});
    cards[id].body.append(cards[id].told);
  }
  makeCard('sizing', 'shadow', 'Another policy', '', 'What another eviction policy would give at today’s size, simulated beside the one in force.');
  makeCard('peers', 'peers', 'Peers and ring', '', 'The nodes that share the keys, and what part of them each owns.');
  makeCard('health', 'alarms', 'Alarms', 'w6', 'What the server itself thinks somebody should look at.');
  makeCard('health', 'lag', 'Longest turn of each event loop', 'w6', 'The longest that a loop was busy without looking at its clients, of late.');
  const conns = makeCard('health', 'conns', 'Outgoing connections', '', 'Connections to other nodes, origins and whom else this server asks, that are kept and used again. Reused counts requests, failed attempts.');
  makeCard('health', 'vitals', 'Vital signs', '', 'Queues, pools, locks, the allocator and the disk tier’s store, as the server watches them.');
  const counters = makeCard('health', 'counters', 'Every counter', '', 'All of them since start, or since CONFIG RESETSTAT, by the names that INFO gives them.');
  tables.conns = new Table(conns.body, 'Outgoing connections', [{name: 'name', title: 'To', css: 'key'}, number('open', 'Open'), number('idle', 'Idle'), number('opened', 'Opened'), number('reused', 'Reused'), number('failed', 'Failed')],
    nothing('None: no peers, no origins.'), null);
  tables.counters = new Table(counters.body, 'Counters', [{name: 'name', title: 'Counter', css: 'key'}, number('value', 'Count', as.exact)], nothing('Nothing counted yet.'), null);
  tables.tiers = new Table(tiers.body, 'Tiers', [
    {name: 'tier', title: 'Tier', form: (v, r) => el('span', {class: 'dotted'}, el('i', {class: 'swatch ' + (r.off ? 'c-absent' : r.css)}), v + (r.off ? ' (off)' : ''))},
    number('rate', 'Hit rate', as.share), number('w0', 'last 1 s', as.share), number('w1', '1 min', as.share), number('w2', '15 min', as.share), number('hits', 'Hits'), number('misses', 'Misses'),
    number('stale', 'Stale'), number('negative', 'Negative'), number('fills', 'Fills'), number('promotions', 'Promoted'), number('demotions', 'Demoted'), number('keys', 'Keys'),
    number('p50', 'p50', as.us), number('p99', 'p99', as.us), number('p9999', 'p99.99', as.us)], nothing('Nothing yet.'), null);
  tables.policies = new Table(policies.body, 'Policies', [{name: 'pattern', title: 'Pattern', css: 'key'}, {name: 'options', title: 'Options', css: 'key wide', unsorted: true}, number('asked', 'Reads'),
    number('rate', 'Hit rate', as.share), number('minute', '1 min', as.share), number('p50', 'p50', as.us), number('p99', 'p99', as.us), {name: 'counters', title: 'What its guards did', css: 'wide', unsorted: true, form: chips}],
    nothing('No policies. A line like ', el('code', {text: "policy 'user:*' wait=200ms grace=30s"}), ' guards keys of a pattern.'), null);
  tables.commands = new Table(commands.body, 'Commands', [{name: 'name', title: 'Command', css: 'key'}, number('calls', 'Calls'), number('each_us', 'Mean', as.us), number('p50_us', 'p50', as.us),
    number('p99_us', 'p99', as.us), number('p999_us', 'p99.9', as.us), number('p9999_us', 'p99.99', as.us), number('rate', 'Hit rate', as.share), number('stale', 'Stale'), number('failed', 'Failed'), number('rejected', 'Rejected')], nothing('No commands yet.'), 'calls');
  tables.hot = new Table(hot.body, 'Hot keys', [{name: 'key', title: 'Key', css: 'key'}, number('db', 'DB', String), number('count', 'Reads and writes'), number('per_second', 'a second'), number('share', 'Share', v => (v > 0 ? as.share(v) : NONE))], nothing('No key stands out yet.'), 'count');
  tables.big = new Table(big.body, 'Big keys', [{name: 'key', title: 'Key', css: 'key'}, number('db', 'DB', String), {name: 'type', title: 'Type'}, number('bytes', 'Size', as.bytes)], nothing('No large values yet.'), 'bytes');
}

// ---- how far back ----

const RANGES = [['fine', '10 min'], ['long', '4 h']];

function makeRange() {
  const buttons = RANGES.map(([id, text]) => el('button', {type: 'button', id: 'range-' + id, 'aria-pressed': String(id === 'fine'), text, onclick: () => {
    link.range = id;
    buttons.forEach(b => b.setAttribute('aria-pressed', String(b.id === 'range-' + id)));
    ask();
  }}));
  panels.now.panel.prepend(el('div', {class: 'range', role: 'group', 'aria-label': 'How far back the plots go'}, ...buttons));
}

// ---- asking ----

const link = {range: 'fine', long: null, longAt: 0, last: null, lastAt: 0, goneAt: 0, timer: 0, asking: false};

function say(state, text) {
  const node = byId('state');
  node.dataset.state = state;
  put(node.lastChild, text);
  document.body.classList.toggle('gone', state === 'gone');
}

// The time that goes by is not for who hears the page: it stands in the title and the footer.
function tellAge() {
  if (link.lastAt > 0) {
    put(byId('age'), link.goneAt > 0 ? `Figures of ${as.clock(link.lastAt)}, ${as.seconds((Date.now() - link.lastAt) / 1000)} ago` : `Figures of ${as.clock(link.lastAt)}, each second`);
  }
}

function lost(why) {
  if (link.goneAt === 0) {
    link.goneAt = Date.now();
  }
  say('gone', `${why} since ${as.clock(link.goneAt)}${link.last ? ', showing its last figures' : ''}`);
}

class Refused extends Error {}

async function fetchJson(path, signal) {
  const reply = await fetch(path, {signal, cache: 'no-store', credentials: 'same-origin'});
  if (!reply.ok) {
    throw new Refused(reply.status === 401 ? 'Password refused' : `Server answers ${reply.status}`);
  }
  return reply.json();
}

// True when there is something new to show.
async function fetchAll() {
  const stop = new AbortController(), late = setTimeout(() => stop.abort(), TIMEOUT_MS);
  try {
    const d = await fetchJson('/api/stats', stop.signal);
    if (link.range === 'long' && Date.now() - link.longAt > LONG_MS) {
      link.long = (await fetchJson('/api/history', stop.signal)).history;
      link.longAt = Date.now();
    }
    Object.assign(link, {last: d, lastAt: Date.now(), goneAt: 0});
    return true;
  } catch (e) {
    lost(e instanceof Refused ? e.message : 'Server gone');
    return false;
  } finally {
    clearTimeout(late);
  }
}

async function ask() {
  clearTimeout(link.timer);
  if (link.asking || document.hidden) {
    return;
  }
  link.asking = true;
  const fresh = await fetchAll();
  link.asking = false;
  link.timer = setTimeout(ask, fresh ? POLL_MS : RETRY_MS);
  tellAge();
  if (fresh) {
    const ready = (link.last.health || {}).ready !== false;
    say(ready ? 'live' : 'unready', ready ? 'Live' : 'Not ready');
    show(link.last);
  }
}

document.addEventListener('visibilitychange', () => {
  if (document.hidden) {
    clearTimeout(link.timer);
  } else {
    ask();
  }
});
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redrawAll);
window.addEventListener('hashchange', () => panels[location.hash.slice(1)] && choose(location.hash.slice(1), false));

build();
makeRange();
choose(panels[location.hash.slice(1)] ? location.hash.slice(1) : 'now', false);
ask();
