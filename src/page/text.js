// SPDX-License-Identifier: BSD-3-Clause
// text: figures as people read them, and the making of elements. Text only ever becomes a text node: names of keys are anybody's.
'use strict';

const THIN = '\u202f', NONE = '–';
const isNumber = v => typeof v === 'number' && isFinite(v);
const places = v => (Math.abs(v) >= 100 ? 0 : Math.abs(v) >= 10 ? 1 : 2);
const trim = text => (text.includes('.') ? text.replace(/\.?0+$/, '') : text);

function scaled(v, units, step) {
  let u = 0;
  while (Math.abs(v) >= step && u < units.length - 1) {
    v /= step;
    u++;
  }
  if (u < units.length - 1 && Math.abs(v) >= step - 0.5) {
    v /= step;
    u++;
  }
  return trim(v.toFixed(u === 0 && Number.isInteger(v) ? 0 : places(v))) + units[u];
}

const as = {
  count: v => (isNumber(v) ? scaled(v, ['', 'k', 'M', 'G', 'T'], 1000) : NONE),
  exact: v => (isNumber(v) ? v.toLocaleString('en-US', {maximumFractionDigits: 3}) : NONE),
  bytes: v => (isNumber(v) ? scaled(v, ['B', 'KB', 'MB', 'GB', 'TB'].map(u => THIN + u), 1024) : NONE),
  share: v => (isNumber(v) ? trim((100 * v).toFixed(v > 0.9995 && v < 1 ? 3 : v > 0 && v < 0.001 ? 4 : 1)) + '%' : NONE),
  us: v => (!isNumber(v) ? NONE : Math.abs(v) < 1e6 ? scaled(v, [THIN + 'µs', THIN + 'ms'], 1000) : as.seconds(v / 1e6)),
  seconds(v) {
    if (!isNumber(v)) {
      return NONE;
    }
    if (v < 60) {
      return trim(v.toFixed(v < 10 && !Number.isInteger(v) ? 1 : 0)) + THIN + 's';
    }
    const d = Math.floor(v / 86400), h = Math.floor(v / 3600) % 24, m = Math.floor(v / 60) % 60, s = Math.floor(v) % 60;
    const two = d > 0 ? [[d, 'd'], [h, 'h']] : h > 0 ? [[h, 'h'], [m, 'min']] : [[m, 'min'], [s, 's']];
    return two.filter(p => p[0] > 0).map(p => p[0] + THIN + p[1]).join(' ');
  },
  clock: ms => new Date(ms).toLocaleTimeString('en-GB'),
  points: v => (isNumber(v) ? (v >= 0 ? '+' : '−') + trim(Math.abs(v).toFixed(Math.abs(v) < 1 ? 2 : 1)) : NONE),
};

// How a field's name says what its value is: [ending, form]. The first that fits.
const ENDINGS = [
  [/_bytes$|^bytes$|^maxmemory$/, as.bytes], [/^(in|out)_per_sec$/, v => as.bytes(v) + '/s'], [/_us$|^usec$/, as.us], [/_ms$/, v => as.us(v * 1000)], [/_s$/, as.seconds],
  [/(_rate|share|ratio_of_all)$/, as.share], [/(^fragmentation|_ratio)$/, v => (isNumber(v) ? v.toFixed(2) : NONE)],
];

function shown(name, value) {
  if (typeof value === 'boolean') {
    return value ? 'yes' : 'no';
  }
  if (isNumber(value)) {
    const row = ENDINGS.find(e => e[0].test(name));
    return row ? row[1](value) : as.count(value);
  }
  if (value === null || value === undefined || value === '') {
    return NONE;
  }
  return typeof value === 'object' ? Object.entries(value).map(([k, v]) => k + ' ' + shown(k, v)).join(', ') : String(value);
}

const WORDS = {rss: 'RSS', id: 'ID', url: 'URL', rtt: 'round trip', addr: 'address', rocksdb: 'RocksDB', l1: 'L1', l2: 'L2', l3: 'L3', cpu: 'CPU', ttl: 'time to live',
  oom: 'no memory', max: 'at most', sec: 'second', net: 'network'};

// "loop_lag_us" is "Loop lag".
function titled(name) {
  const text = name.replace(/_(us|ms|s|bytes)$/, '').split(/[_\s-]+/).map(w => WORDS[w.toLowerCase()] ?? w).join(' ').trim();
  return /^p\d/.test(text) ? text : text.charAt(0).toUpperCase() + text.slice(1);
}

// {latency_us: {p99: 5}} as {latency_p99_us: 5}: a row for a table.
function flat(row) {
  const out = {};
  for (const [name, value] of Object.entries(row)) {
    if (value && typeof value === 'object' && !Array.isArray(value)) {
      const unit = (name.match(/_(us|ms|s|bytes)$/) || [''])[0];
      Object.entries(value).forEach(([k, v]) => (out[name.slice(0, name.length - unit.length) + '_' + k + unit] = v));
    } else {
      out[name] = Array.isArray(value) ? value.join(' ') : value;
    }
  }
  return out;
}

const SVG = 'http://www.w3.org/2000/svg';

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name === 'text') {
      node.textContent = value;
    } else if (name.startsWith('on')) {
      node.addEventListener(name.slice(2), value);
    } else if (name === 'width%') {
      node.style.width = value + '%';
    } else if (value !== null && value !== undefined && value !== false) {
      node.setAttribute(name, value === true ? '' : value);
    }
  }
  node.append(...children.filter(c => c !== null && c !== undefined));
  return node;
}

const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
const byId = id => document.getElementById(id);

// Changes a text only when it differs: what is selected or read aloud stays.
function put(node, text) {
  if (node.textContent !== text) {
    node.textContent = text;
  }
}

const nothing = (...parts) => el('p', {class: 'nothing'}, el('span', null, ...parts));
const sum = list => (list || []).reduce((a, b) => a + (isNumber(b) ? b : 0), 0);
const total = object => sum(Object.values(object || {}));
